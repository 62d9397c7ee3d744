"""On whose behalf this thread works just now: set once a request, read by the record.

Nobody acting means the engine itself: workers and the scheduler see every tenant. The web layer
never works without one. What an acting request writes is told to the audit log in the same commit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from uuid import UUID

from orchestrator.models.access import Principal


@dataclass(slots=True, kw_only=True)
class Acting:
    """A request on its way. Services fill in what it changes, with `note`."""

    principal: Principal
    address: str = ""
    request_id: str = ""
    #: Its name in the audit log, such as `runs.cancel_run`; None where nothing may be written.
    action: str | None = None
    resource: str = ""
    resource_id: str = ""
    #: Digests (hex SHA-256) of the resource as it was, and as it is now.
    before: str | None = None
    after: str | None = None
    #: How many audit entries its transactions have recorded.
    recorded: int = field(default=0)

    @property
    def tenant_id(self) -> UUID:
        """Whose rows it sees."""
        return self.principal.tenant_id


_ACTING: ContextVar[Acting | None] = ContextVar("acting", default=None)


def acting() -> Acting | None:
    """Return on whose behalf this thread works; None: the engine's own."""
    return _ACTING.get()


@contextmanager
def acting_as(one: Acting | None) -> Iterator[None]:
    """Work on somebody's behalf inside the block; with None, as the engine itself."""
    token = _ACTING.set(one)
    try:
        yield
    finally:
        _ACTING.reset(token)


def note(
    resource: str, resource_id: object, *, before: str | None = None, after: str | None = None
) -> None:
    """Say what the acting request is about to change; call it inside the transaction."""
    one = _ACTING.get()
    if one is not None:
        one.resource, one.resource_id = resource, str(resource_id)
        one.before, one.after = before, after
