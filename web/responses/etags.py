"""ETags: of a thing without a version a digest of what a change can change, else its version."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import orjson
from flask import Response, jsonify, request

from orchestrator.errors import VersionMismatch
from web.responses.compression import ENCODINGS


def tag_of(shown: Any) -> str:
    """Return the tag of a thing as it is shown."""
    return sha256(orjson.dumps(shown, option=orjson.OPT_SORT_KEYS, default=str)).hexdigest()[:32]


def answer(shown: Any, tag: str, *, status: int = 200) -> Response:
    """Return a thing with its tag, as 304 where the client has it; nobody may store it."""
    made = jsonify(shown)
    made.status_code = status
    made.set_etag(tag)
    made.headers["Cache-Control"] = "no-store"
    return conditional(made) if request.method in {"GET", "HEAD"} else made


def expect(tag: str) -> None:
    """Raise VersionMismatch where the request has read something else."""
    if "If-Match" not in request.headers or request.if_match.star_tag:
        return
    # A compressed answer's tag names its encoding too.
    fitting = {tag, *(f"{tag}:{encoding}" for encoding in ENCODINGS)}
    if fitting.isdisjoint(request.if_match.as_set()):
        raise VersionMismatch


def tagged(answer: Response, cache: str = "private, no-cache") -> Response:
    """Return the answer with an ETag of its content, as 304 where the client has it already."""
    answer.set_etag(sha256(answer.get_data()).hexdigest()[:32])
    answer.headers["Cache-Control"] = cache
    return conditional(answer)


def conditional(answer: Response) -> Response:
    """Return the answer, as 304 where the client has this ETag already."""
    answer.make_conditional(request)
    return answer


def expected_versions() -> frozenset[int] | None:
    """Return the versions that If-Match names, of which the newest must be one (RFC 9110, 13.1.1).

    None where any will do. Weak tags and other texts fit nothing.
    """
    if "If-Match" not in request.headers or request.if_match.star_tag:
        return None
    found = frozenset(filter(None, map(_version, request.if_match.as_set())))
    if not found:
        raise VersionMismatch("If-Match must carry the ETag of the workflow as you read it")
    return found


def _version(tag: str | None) -> int:
    """Return the version that a tag stands for; 0 for none."""
    # A compressed answer's tag names its encoding too: "3:gzip".
    number, _, encoding = (tag or "").partition(":")
    fits = number.isascii() and number.isdigit() and len(number) < 10
    return int(number) if fits and encoding in ("", *ENCODINGS) else 0
