"""The one way a request body is read: as JSON by `models.strict_json`, or as text in UTF-8.

How large a body may be is told by `web.access.bodies`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from flask import Request
from werkzeug.exceptions import RequestEntityTooLarge

from orchestrator.errors import BadRequest, Problem, TooLarge, UnsupportedMedia
from orchestrator.models.strict_json import BOM, parse

#: Where the server leaves a function to call when the body has been read.
BODY_READ = "zq.body_read"
#: Where a function stands that is told of each piece of a body, in bytes, and may refuse it.
BODY_TAKES = "zq.body_takes"


def read_object(request: Request, *, optional: bool = False) -> dict[str, Any]:
    """Return the body, which must be one JSON object.

    UnsupportedMedia (415), TooLarge (413), BadRequest (400) with the problem. With `optional`, no
    body at all is an empty object.
    """
    if (
        optional
        and not request.content_type
        and not request.content_length
        and not _chunked(request)
    ):
        return {}
    _check_media(request, {"application/json"})
    raw = _body(request)
    if not raw:
        raise _bad("empty", "the body is empty; send a JSON object")
    value = parse(raw)
    if not isinstance(value, dict):
        raise _bad("not_an_object", f"the body is {_kind(value)}; send a JSON object, as in {{…}}")
    return value


def read_text(request: Request, media: Collection[str]) -> str:
    """Return the body as text in UTF-8, which must be of one of the media types."""
    _check_media(request, media)
    raw = _body(request)
    if raw.startswith(BOM):
        raise _bad("bom", "the body starts with a byte order mark; send plain UTF-8")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise _bad("malformed", f"byte {error.start} is no UTF-8; send UTF-8") from None
    if "\0" in text:
        raise _bad("nul", "NUL cannot be stored; remove it")
    return text


def _chunked(request: Request) -> bool:
    return "transfer-encoding" in request.headers


def _check_media(request: Request, media: Collection[str]) -> None:
    if request.mimetype not in media:
        given, wanted = request.mimetype or "missing", " or ".join(sorted(media))
        raise UnsupportedMedia(f"the Content-Type is {given[:100]}; send {wanted}")
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if charset not in {"utf-8", "utf8"}:
        raise UnsupportedMedia(f"the charset is {charset[:40]}; send UTF-8")
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding != "identity":
        raise UnsupportedMedia(f"the Content-Encoding is {encoding[:40]}; send it uncompressed")


def _body(request: Request) -> bytes:
    try:
        # In pieces: read as a whole, werkzeug cuts a chunked body off at the limit without a word.
        takes = request.environ[BODY_TAKES]
        pieces = []
        while piece := request.stream.read(65_536):
            takes(len(piece))
            pieces.append(piece)
        raw = b"".join(pieces)
    except RequestEntityTooLarge:
        limit = request.max_content_length
        raise TooLarge(f"the body is larger than {limit} bytes; send less") from None
    arrived = request.environ.get(BODY_READ)
    if arrived is not None:
        arrived()
    return raw


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    names = {list: "a list", str: "a string", bool: "a boolean"}
    return names.get(type(value), "a number")


def _bad(code: str, message: str, path: str = "") -> BadRequest:
    return BadRequest(message, problems=[Problem(path, code, message)])
