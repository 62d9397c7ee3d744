"""Idempotency-Key: the same key and request twice create one thing; with another request, 409."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import orjson
from flask import request

from orchestrator.errors import BadRequest, Problem

MAX_LENGTH = 200


def key_of(body: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return (key, digest of the request), or None when no key was sent.

    The digest covers method, path and the body's meaning: the order of keys does not count.
    """
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not 1 <= len(key) <= MAX_LENGTH or not (key.isascii() and key.isprintable()):
        message = f"the Idempotency-Key must be 1 to {MAX_LENGTH} printable ASCII characters"
        raise BadRequest(message, problems=[Problem("Idempotency-Key", "bad_key", message)])
    canonical = orjson.dumps(body, default=str, option=orjson.OPT_SORT_KEYS)
    text = b"\n".join([request.method.encode(), request.path.encode(), canonical])
    return key, sha256(text).hexdigest()
