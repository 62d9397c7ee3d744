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

from orchestrator.models.access.permissions import Principal


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One resource that a transaction changes; digests are hex SHA-256 of before and after."""

    resource: str
    resource_id: str
    before: str | None = None
    after: str | None = None


@dataclass(slots=True, kw_only=True)
class Acting:
    """A request on its way. Services fill in what it changes, with `note`."""

    principal: Principal
    address: str = ""
    request_id: str = ""
    #: Its name in the audit log, such as `runs.cancel_run`; None where nothing may be written.
    action: str | None = None
    #: Why, in a word or two, where the action alone does not say it.
    detail: str = ""
    #: What the open transaction changes. Whoever opens one clears it, `audit.record` empties it.
    changes: list[Change] = field(default_factory=list)

    @property
    def tenant_id(self) -> UUID:
        """Whose rows it sees."""
        return self.principal.tenant_id


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request comes from, and what it is called: known before anybody is."""

    address: str = ""
    request_id: str = ""


_NOWHERE = Origin()
_ORIGIN: ContextVar[Origin | None] = ContextVar("origin", default=None)
_ACTING: ContextVar[Acting | None] = ContextVar("acting", default=None)


def acting() -> Acting | None:
    """Return on whose behalf this thread works; None: the engine's own."""
    return _ACTING.get()


def origin() -> Origin:
    """Return where the request that this thread answers comes from; empty: there is none."""
    return _ORIGIN.get() or _NOWHERE


def come_from(one: Origin) -> None:
    """Say where the request of this context comes from: for whoever gave it one of its own."""
    _ORIGIN.set(one)


def act(one: Acting) -> None:
    """Work on somebody's behalf to the end of this context: for whoever gave it one of its own."""
    _ACTING.set(one)


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
    """Say what the acting request is about to change; call it inside the transaction.

    A second note of the same resource joins the first: one entry a resource and transaction.
    """
    one = _ACTING.get()
    if one is None:
        return
    named = str(resource_id)
    for earlier in tuple(one.changes):
        if (earlier.resource, earlier.resource_id) == (resource, named):
            one.changes.remove(earlier)
            before = earlier.before
    one.changes.append(Change(resource=resource, resource_id=named, before=before, after=after))
