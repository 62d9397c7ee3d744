"""An Idempotency-Key for what is shown once: a repetition is refused, and makes nothing twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from orchestrator.errors import Conflict
from orchestrator.models.ids import uuid7
from orchestrator.ports.acting import Acting, acting_as
from web.context import core, principal, tenant_id
from web.responses.idempotency import key_of


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
