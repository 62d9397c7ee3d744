"""What a request reaches: the core, who asks, and what all requests of a process share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast
from uuid import UUID

from flask import current_app, g, request

from orchestrator.bootstrap.core import Core
from orchestrator.models.access.permissions import Principal
from orchestrator.process.stop_signal import StopSignal
from web.access.shares import OneEach, Shares

_KEY = "zq"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """One process's web layer."""

    core: Core
    #: Room for sockets; a thread each.
    sockets: Shares
    #: Room for requests that wait for their run to end.
    waiters: Shares
    #: Room for previews of expressions: the API's own time.
    previews: OneEach = field(default_factory=OneEach)
    #: Told of each run this process has started.
    run_started: Callable[[], None]
    #: Told +1 and -1 as watchers come and go.
    watching: Callable[[int], None]
    #: Set when the process is asked to stop: sockets and waiting requests end early.
    stopping: StopSignal = field(default_factory=StopSignal)


def keep(extensions: dict[str, object], shared: Shared) -> None:
    """Put the shared part where requests of this application find it."""
    extensions[_KEY] = shared


def shared() -> Shared:
    """Return what the requests of this process share."""
    return cast("Shared", current_app.extensions[_KEY])


def core() -> Core:
    """Return the core."""
    return shared().core


def principal() -> Principal:
    """Return who asks. The guard has set it before any route that is not public."""
    return cast("Principal", g.principal)


def address() -> str:
    """Return the caller's address, past the proxies that are trusted."""
    return request.remote_addr or ""


def tenant_id() -> UUID:
    """Return the tenant of whoever asks."""
    return principal().tenant_id
