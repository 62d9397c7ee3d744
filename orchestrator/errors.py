"""Every error the product raises on purpose, each with a stable code; the problems it may list.

The docstring of a class is its default message; `web/responses/errors.py` maps a code to an HTTP
status once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ClassVar

#: The most problems that are told of one document; of the others only how many there are.
MAX_PROBLEMS = 200
#: Problems of one document that come with a suggestion, and names compared for all of them:
#: a comparison takes up to 0.3 ms.
MAX_SUGGESTIONS = 20
_MAX_COMPARED = 2_000
_MORE = "more_problems"


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding. All findings of a document are reported together, never the first only."""

    #: `nodes[3].data.config.url`; empty for the document as a whole.
    path: str
    #: Stable and snake_case: clients branch on it.
    code: str
    #: Names the remedy, for a person.
    message: str
    #: The node it belongs to, where there is one.
    node: str | None = None


def gathered(problems: Iterable[Problem]) -> list[Problem]:
    """The first problems, and one more that says how many follow; none is kept of those."""
    found: list[Problem] = []
    more = 0
    for problem in problems:
        if problem.code == _MORE:
            more += int(problem.message.split()[1].replace(",", ""))
        elif len(found) < MAX_PROBLEMS:
            found.append(problem)
        else:
            more += 1
    if more:
        found.append(Problem("", _MORE, f"and {more:,} more; correct these first"))
    return found


class _Suggestions:
    """What may still be spent on suggestions."""

    def __init__(self) -> None:
        self.left = MAX_SUGGESTIONS
        self.compared = _MAX_COMPARED

    def take(self, names: int) -> bool:
        if self.left < 1 or self.compared < names:
            return False
        self.left -= 1
        self.compared -= names
        return True


_SUGGESTIONS: ContextVar[_Suggestions | None] = ContextVar("suggestions", default=None)


@contextmanager
def one_document() -> Iterator[None]:
    """Make suggestions for the first problems only; within another one, that one's count."""
    if _SUGGESTIONS.get() is not None:
        yield
        return
    held = _SUGGESTIONS.set(_Suggestions())
    try:
        yield
    finally:
        _SUGGESTIONS.reset(held)


def did_you_mean(word: str, known: Collection[str]) -> str:
    """`; did you mean 'x'?` for a near miss, else an empty string."""
    allowed = _SUGGESTIONS.get()
    if len(known) > 1000 or (allowed is not None and not allowed.take(len(known))):
        return ""
    from difflib import get_close_matches

    near = get_close_matches(word[:100], list(known), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


class ZQError(Exception):
    """Something went wrong."""

    #: Stable: clients branch on it. Never reuse one for another meaning.
    code: ClassVar[str] = "error"

    def __init__(self, detail: str | None = None, **extra: Any) -> None:
        self.detail = detail or (type(self).__doc__ or "").strip()
        self.extra = extra
        super().__init__(self.detail)


class SettingsError(ZQError):
    """A ZQ_ setting is missing or wrong."""

    code = "bad_settings"


class NotFound(ZQError):
    """There is no such thing, or it is not yours to see."""

    code = "not_found"


class Conflict(ZQError):
    """The request does not fit the present state."""

    code = "conflict"


class IllegalMove(Conflict):
    """The run or task is in a state that does not allow this move."""

    code = "illegal_move"


class NameTaken(Conflict):
    """Another workflow has this name."""

    code = "name_taken"


class IdempotencyMismatch(Conflict):
    """This Idempotency-Key was used before with another request; use a new key."""

    code = "idempotency_mismatch"


class VersionMismatch(ZQError):
    """Somebody changed it since you read it; read it again and repeat your change."""

    code = "version_mismatch"


class Unauthorized(ZQError):
    """Send `Authorization: Bearer <key>`."""

    code = "unauthorized"


class Forbidden(ZQError):
    """Whoever asks may not do this."""

    code = "forbidden"


class LastOwner(Conflict):
    """A tenant keeps at least one active owner; make another one first."""

    code = "last_owner"


class TooManyAttempts(ZQError):
    """Too many attempts; wait before the next one. `retry_after_s` in `extra` says how long."""

    code = "too_many_attempts"


class RateLimited(ZQError):
    """Too many requests; wait before the next one. `retry_after_s` in `extra` says how long."""

    code = "rate_limited"


class QuotaExceeded(ZQError):
    """The tenant uses as much as it may. `retry_after_s` in `extra` says when to try again."""

    code = "quota_exceeded"


class BadRequest(ZQError):
    """The request could not be read."""

    code = "bad_request"


class TooLarge(ZQError):
    """The request body is larger than this server accepts."""

    code = "too_large"


class UnsupportedMedia(ZQError):
    """Send the body as application/json."""

    code = "unsupported_media"


class InvalidDefinition(ZQError):
    """The definition or input has problems; each one names the place and the remedy."""

    code = "invalid"

    def __init__(self, problems: Sequence[Problem], detail: str | None = None) -> None:
        super().__init__(detail)
        self.problems = tuple(gathered(problems))

    def __str__(self) -> str:
        lines = "; ".join(f"{p.path or '$'}: {p.message}" for p in self.problems[:5])
        return f"{self.detail} {lines}"


class ExpressionError(ZQError):
    """An expression could not be compiled or evaluated."""

    code = "expression_error"


class ServiceUnavailable(ZQError):
    """A service this needs is not reachable just now; try again in a moment."""

    code = "unavailable"


class StoreUnavailable(ServiceUnavailable):
    """Postgres is not reachable just now; nothing was changed."""

    code = "store_unavailable"


class ChannelUnavailable(ServiceUnavailable):
    """Redis is not reachable just now."""

    code = "channel_unavailable"


class EmbeddedUnavailable(ServiceUnavailable):
    """No embedded server for this platform; set ZQ_DATABASE__URL and ZQ_REDIS__URL."""

    code = "embedded_unavailable"


class SecretsUnavailable(ServiceUnavailable):
    """The place where secrets are kept is not reachable just now."""

    code = "secrets_unavailable"


class SecretUnreadable(ZQError):
    """A secret is there but cannot be opened; set it again."""

    code = "secret_unreadable"


class HandlerError(ZQError):
    """A node's work failed; `code` of the instance says how, and retry rules look at it."""

    def __init__(self, error_code: str, detail: str, *, retryable: bool = True) -> None:
        super().__init__(detail)
        self.error_code = error_code
        self.retryable = retryable


class EgressBlocked(ZQError):
    """The address is not public, and ZQ_EGRESS__ALLOW does not name it."""

    code = "egress_blocked"
