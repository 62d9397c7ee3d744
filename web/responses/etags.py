"""ETags of things that have no version: a digest of what a change can change."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import orjson
from flask import Response, jsonify, request

from orchestrator.errors import VersionMismatch
from web.responses.compression import ENCODINGS
from web.responses.headers import conditional


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
