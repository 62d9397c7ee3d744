"""Idempotency-Key: the same key and request twice create one thing; with another request, 409."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from typing import Any

import orjson
from flask import request

from orchestrator.errors import BadRequest, Conflict, Problem
from orchestrator.models.ids import uuid7
from orchestrator.ports.acting import Acting, acting_as
from web.context import core, principal, tenant_id

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
    try:
        canonical = orjson.dumps(body, default=str, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        # What nobody stores: whoever reads the body next refuses it.
        canonical = json.dumps(body, default=str, sort_keys=True).encode()
    text = b"\n".join([request.method.encode(), request.path.encode(), canonical])
    return key, sha256(text).hexdigest()


@contextmanager
def once(body: Mapping[str, Any]) -> Iterator[None]:
    """Hold the request's Idempotency-Key, if it has one, while the block makes something.

    Conflict where it was used before with this request, IdempotencyMismatch with another one.
    An error inside gives the key back.
    """
    key = key_of(body)
    if key is None:
        yield
        return
    with ExitStack() as stack:
        # What the block makes is recorded in its own transaction; a key taken is no change.
        with acting_as(Acting(principal=principal())):
            unit = stack.enter_context(core().store.begin())
        if unit.keys.take(tenant_id(), *key, uuid7(core().clock.now())) is not None:
            raise Conflict(
                "this Idempotency-Key has made something whose secret was shown then: look at the"
                " list, remove it, and use a new key"
            )
        yield
