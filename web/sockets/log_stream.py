"""WS /logs/ws: live log lines of all runs of the tenant that fit the filters in the query.

It follows the notifications, not the record: where lines may have been missed it says so with
`{"kind": "gap"}`, and `GET /logs/history` has them. The first frame repeats the filters.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from flask import g, request

from orchestrator.errors import NotFound, StoreUnavailable
from orchestrator.models.access.permissions import Permission, Principal
from orchestrator.models.runs.event import rfc3339
from orchestrator.models.runs.run import ENDS
from orchestrator.ports.live import Subscription
from orchestrator.services.runs.log_search import LineMatcher, Wanted, from_level
from web.access.narrowing import among, demand_run
from web.access.needs import needs
from web.context import Shared, shared, tenant_id
from web.openapi.document import StrictParser
from web.schemas.logs import LogStreamQuery
from web.sockets.admission import (
    FLOODED,
    NORMAL,
    QUERIES,
    RESTARTING,
    TICKET,
    TRY_LATER,
    AccessRecheck,
    routes,
    sock,
)
from web.sockets.run_stream import NO_SUCH_RUN, QUIET_S, TOO_SLOW
from web.sockets.sender import SendFailed, SocketSender, TooSlow

#: A run that is followed is looked at this often: its end may not be heard, seconds.
_LOOK_S = 5.0


def _query() -> Mapping[str, Any]:
    found: Mapping[str, Any] = StrictParser().parse(LogStreamQuery(), request, location="query")
    if found["run_id"] is not None and among(Permission.LOGS_READ) is not None:
        demand_run(Permission.LOGS_READ, found["run_id"])
    return {name: value for name, value in found.items() if name != TICKET}


QUERIES["stream.log_stream"] = _query


@sock.route("/logs/ws", bp=routes)  # type: ignore[untyped-decorator]
@needs(Permission.LOGS_READ, narrowed=True)
def log_stream(ws: Any) -> None:
    """Send live log lines until the client goes, or the one run it follows has ended."""
    web = shared()
    sender = SocketSender(ws)
    web.watching(1)
    try:
        code, reason = Listener(web, sender, g.query).listen()
        sender.close(code, reason)
    except TooSlow:
        sender.close(TOO_SLOW, "too slow: read GET /logs/history", hurry=True)
    except SendFailed:
        sender.drop()
    finally:
        web.watching(-1)


class Listener:
    """One client that listens to log lines."""

    def __init__(self, web: Shared, sender: SocketSender, query: Mapping[str, Any]) -> None:
        self._web = web
        self._sender = sender
        self._query = query
        self._tenant_id = tenant_id()
        self._among = among(Permission.LOGS_READ)
        self._recheck = AccessRecheck(self._may_listen)
        wanted = Wanted(
            tenant_id=self._tenant_id,
            run_id=query["run_id"],
            workflow_id=query["workflow_id"],
            among=self._among,
            node_id=query["node"],
            levels=from_level(query["level"]),
            text=query["q"],
        )
        self._matcher = LineMatcher(web.core.store.reads, wanted)
        self._looked = time.monotonic()

    def listen(self) -> tuple[int, str]:
        """Send until there is a reason to close; return it as (code, reason)."""
        with self._subscription() as heard:
            try:
                ended = self._ended()
            except NotFound:
                return NO_SUCH_RUN, "no such run"
            except StoreUnavailable:
                return TRY_LATER, "the record is away: try again"
            self._sender.send([self._first()])
            while not ended:
                if self._sender.flooded:
                    return FLOODED, "this socket only sends: do not write to it"
                if self._web.stopping.is_set():
                    return RESTARTING, "stopping: connect again"
                if (reason := self._recheck.objection()) is not None:
                    return reason
                frames = heard.get(QUIET_S)
                self._sender.check()
                self._pass_on(frames or [], dropped=heard.overflowed)
                ended = self._heard_end(frames or []) or self._looked_up_end()
        return NORMAL, "the run has ended"

    def _may_listen(self, who: Principal) -> bool:
        """Tell whether all that was let in at the start still is."""
        if who.may(Permission.LOGS_READ):
            return True
        return self._among is not None and self._among <= who.somewhere(Permission.LOGS_READ)

    def _subscription(self) -> AbstractContextManager[Subscription]:
        channel, run_id = self._web.core.channel, self._query["run_id"]
        return channel.subscribe_all() if run_id is None else channel.subscribe(run_id)

    def _first(self) -> dict[str, Any]:
        filters = {
            name: value if value is None or isinstance(value, str) else str(value)
            for name, value in self._query.items()
        }
        now = rfc3339(self._web.core.clock.now())
        return {"kind": "listening", "filters": filters, "at": now}

    def _pass_on(self, frames: list[dict[str, Any]], *, dropped: bool) -> None:
        try:
            fitting = self._matcher.fitting(frames)
        except StoreUnavailable:
            # Whose run this is cannot be told now, so its lines are as good as missed.
            fitting, dropped = [], True
        if dropped:
            fitting.append({"kind": "gap", "at": rfc3339(self._web.core.clock.now())})
        if fitting:
            self._sender.send(fitting)

    def _heard_end(self, frames: list[dict[str, Any]]) -> bool:
        return self._query["run_id"] is not None and any(
            frame.get("kind") == "run" and frame.get("state") in ENDS for frame in frames
        )

    def _looked_up_end(self) -> bool:
        if time.monotonic() - self._looked < _LOOK_S:
            return False
        self._looked = time.monotonic()
        try:
            return self._ended()
        except (NotFound, StoreUnavailable):
            return False

    def _ended(self) -> bool:
        """True when the one run that is followed has ended. NotFound where there is none."""
        run_id = self._query["run_id"]
        return run_id is not None and self._web.core.engine.run(self._tenant_id, run_id).state.ended
