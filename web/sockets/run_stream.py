"""WS /runs/{id}/stream?after=: every event of a run once, in `seq` order, then a close.

The record is the truth; the channel only saves reading it. Of log lines whoever may not read them
gets that they are there, and no word. Before the upgrade: 401 without a key,
403 for a foreign Origin, 400 for a bad `after`, 503 when no socket is free. After it, close codes.
"""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

from flask import g, request

from orchestrator.errors import BadRequest, NotFound, Problem, StoreUnavailable
from orchestrator.models.access.permissions import Permission, Principal
from orchestrator.models.runs.event import withheld
from orchestrator.models.runs.run import ENDS, Run
from orchestrator.ports.live import Subscription
from web.access.needs import needs
from web.context import Shared, principal, shared, tenant_id
from web.schemas.fields import MAX_SEQ
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
from web.sockets.sender import SendFailed, SocketSender, TooSlow

BAD_AFTER, NO_SUCH_RUN, TOO_SLOW = 4400, 4404, 4408
#: The record is read this often while nothing is heard, seconds.
QUIET_S = 1.0
#: Quiet rounds until the run itself is looked at: its end may have been dropped by retention.
_ROUNDS = 5
#: How long a socket outlives the record, seconds.
_PATIENCE_S = 30.0
_PAGE = 1000


def _after() -> int:
    """Read the query: `after` and nothing else."""
    text = request.args.get("after", "0")
    unknown = set(request.args) - {"after", TICKET}
    if unknown or not (text.isascii() and text.isdigit() and len(text) < 17):
        path = min(unknown, default="after")[:100]
        message = "give ?after= the `seq` of the last event you have, 0 or more, and nothing else"
        raise BadRequest(message, problems=[Problem(path, "bad_value", message)])
    return min(int(text), MAX_SEQ)


QUERIES["stream.run_stream"] = _after


@sock.route("/runs/<uuid:run_id>/stream", bp=routes)  # type: ignore[untyped-decorator]
@needs(Permission.RUNS_READ)
def run_stream(ws: Any, run_id: UUID) -> None:
    """Follow a run from `after` to its end."""
    web = shared()
    sender = SocketSender(ws)
    web.watching(1)
    try:
        code, reason = Follower(web, sender, run_id, g.query).follow(tenant_id())
        sender.close(code, reason)
    except TooSlow:
        sender.close(TOO_SLOW, "too slow: resume with after", hurry=True)
    except SendFailed:
        sender.drop()
    finally:
        web.watching(-1)


class Follower:
    """One watcher of one run. `at` is the last `seq` it was sent."""

    def __init__(self, web: Shared, sender: SocketSender, run_id: UUID, after: int) -> None:
        self._web = web
        self._recheck = AccessRecheck(self._may_watch)
        self._reads = web.core.store.reads
        self._sender = sender
        self._run_id = run_id
        self._workflow_id: UUID | None = None
        self._reads_lines = False
        self.at = after
        self._ended = False
        self._away_since: float | None = None

    def follow(self, tenant_id: UUID) -> tuple[int, str]:
        """Send until there is a reason to close; return it as (code, reason)."""
        try:
            run = self._web.core.engine.run(tenant_id, self._run_id)
        except NotFound:
            return NO_SUCH_RUN, "no such run"
        except StoreUnavailable:
            return TRY_LATER, "the record is away: resume with after"
        self._workflow_id = run.workflow_id
        self._may_watch(principal())
        if self.at >= run.seq and run.state.ended:
            # Nothing can follow, so there is nothing to listen for, be Redis there or not.
            return NORMAL, "the run has ended"
        if self.at > run.seq:
            return BAD_AFTER, "after is beyond the run's last event"
        with self._web.core.channel.subscribe(self._run_id) as heard:
            self._read_on()
            if run.state.ended:
                self._conclude(run)
            quiet = 0
            while not self._ended:
                if (reason := self._hindered()) is not None:
                    return reason
                before = self.at
                self._listen(heard)
                quiet = 0 if self.at > before else quiet + 1
                if quiet % _ROUNDS == _ROUNDS - 1:
                    self._look_at_run(tenant_id)
        return NORMAL, "the run has ended"

    def _may_watch(self, who: Principal) -> bool:
        """Tell whether it still may; and see anew whether it may read log lines."""
        self._reads_lines = who.may(Permission.LOGS_READ, self._workflow_id)
        return who.may(Permission.RUNS_READ, self._workflow_id)

    def _hindered(self) -> tuple[int, str] | None:
        """Return why the socket must close although the run goes on."""
        if self._sender.flooded:
            return FLOODED, "this socket only sends: do not write to it"
        if self._web.stopping.is_set():
            return RESTARTING, "stopping: resume with after"
        if self._away_since and time.monotonic() - self._away_since > _PATIENCE_S:
            return TRY_LATER, "the record is away: resume with after"
        return self._recheck.objection()

    def _listen(self, heard: Subscription) -> None:
        frames = heard.get(QUIET_S)
        self._sender.check()
        if frames is None or heard.overflowed or self._away_since:
            self._read_on()
            return
        fresh = [f for f in frames if f["seq"] > self.at]
        if not fresh:
            return
        if [f["seq"] for f in fresh] == list(range(self.at + 1, self.at + 1 + len(fresh))):
            self._send(fresh)
        else:
            self._read_on()

    def _read_on(self) -> None:
        """Send what the record has after `at`, with one gap where retention has dropped rows."""
        try:
            while not self._ended:
                events = self._reads.events(self._run_id, after=self.at, limit=_PAGE)
                if not events:
                    break
                self._bridge(events[0].seq - 1)
                self._send([event.frame() for event in events])
            self._away_since = None
        except StoreUnavailable:
            self._away_since = self._away_since or time.monotonic()

    def _look_at_run(self, tenant_id: UUID) -> None:
        """Notice an end, or a history, that has no rows any more."""
        try:
            run = self._web.core.engine.run(tenant_id, self._run_id)
        except NotFound:
            self._ended = True
            return
        except StoreUnavailable:
            return
        self._read_on()
        if run.state.ended:
            self._conclude(run)

    def _conclude(self, run: Run) -> None:
        """End the stream of a run that ended before the record was read to its end."""
        if not self._ended and self._away_since is None:
            self._bridge(run.seq)
            self._ended = True

    def _bridge(self, upto: int) -> None:
        if upto > self.at:
            self._sender.send([{"kind": "gap", "from": self.at + 1, "to": upto}])
            self.at = upto

    def _send(self, frames: list[dict[str, Any]]) -> None:
        self._sender.send(frames if self._reads_lines else [withheld(f) for f in frames])
        self.at = frames[-1]["seq"]
        self._ended = any(f["kind"] == "run" and f.get("state") in ENDS for f in frames)
