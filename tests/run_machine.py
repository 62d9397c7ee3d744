"""Random lives of random runs, for any store: Hypothesis makes messages late, doubled and lost,
kills children and workers, lets zombies settle, and a model says which claim is the current one.

After each step the promises must hold; at the end a fair worker must bring every run to its end.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    rule,
)

from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.models.runs.run import RunState
from orchestrator.models.runs.task import MARKABLE, Claim
from orchestrator.ports.moves import Ending, LogLine, Mark, Moved, Owner, Release, Take
from tests.contract.rigs import Rig
from tests.factories import Node, PlanJson, beat, node, plan, start

RULES = (
    "all_success", "all_success", "all_done", "all_failed", "none_failed",
    "none_failed_min_one_success", "none_skipped",
)  # fmt: skip
ERROR = {"code": "boom", "message": "it broke"}
MAX_RUNS = 10
LEASE_S = 0.01
#: What happens how often.
WEIGHTS = (
    *["deliver"] * 6, *["succeed"] * 3, *["park"] * 3, *["upkeep"] * 4, *["zombie"] * 3,
    *["time_passes"] * 2, *["go_on"] * 2, "end_badly", "child_dies", "worker_dies", "lose_message",
    "pause_or_resume", "cancel", "mark",
)  # fmt: skip
pick = st.integers(0, 10**6)


def _key(claim: Claim) -> tuple[UUID, int]:
    return claim.run_id, claim.task_no


def _fence(claim: Claim | None) -> object:
    return (claim.attempt, claim.claim_id) if claim else None


@st.composite
def dags(draw: st.DrawFn) -> PlanJson:
    """Return a small plan with branches, rules and limits of every kind."""
    nodes: list[Node] = []
    for no in range(draw(st.integers(2, 7))):
        needs = draw(st.lists(st.integers(0, no - 1), unique=True, max_size=3)) if no else []
        handles = [draw(st.sampled_from(["", "", ":x", ":y", ":x,y"])) for _ in needs]
        nodes.append(
            node(
                f"n{no}",
                *(f"n{i}{h}" for i, h in zip(needs, handles, strict=True)),
                rule=draw(st.sampled_from(RULES)),
                queue=draw(st.sampled_from(["default", "default", "io"])),
                priority=draw(st.integers(0, 9)),
                max_losses=draw(st.integers(0, 2)),
                timeout_s=30.0,
            )
        )
    return plan(
        *nodes,
        output=draw(st.sampled_from([None, None, None, "1"])),
        timeout_s=draw(st.sampled_from([None, None, 600.0])),
    )


class RunMachine(RuleBasedStateMachine):
    """The rules. A subclass says which rig it plays on."""

    def make_rig(self) -> Rig:
        """Return a rig whose store is empty."""
        raise AssertionError("a subclass makes the rig")

    def close_rig(self) -> None:
        """Give the rig back."""
        self.rig.close()

    def __init__(self) -> None:
        super().__init__()
        self.rig = self.make_rig()
        self.store = self.rig.store
        self.runs: list[UUID] = []
        #: Announcements under way; one may be delivered again, or never.
        self.mail: list[Release] = []
        #: Every claim there ever was: all but the current ones are zombies.
        self.claims: list[Claim] = []
        self.current: dict[tuple[UUID, int], Claim] = {}
        self.workers = [self._new_worker(), self._new_worker()]

    def _new_worker(self) -> UUID:
        sign = beat(children=(1, 2), queues=("default", "io"), slots=3)
        assert self.store.fleet.beat(sign).alive
        return sign.id

    def _owner(self, at: int) -> Owner:
        return Owner(worker_id=self.workers[at % len(self.workers)], pid=1 + at % 2)

    def _told(self, moved: Moved | None) -> None:
        if moved is None:
            return
        self.mail += moved.queued
        for claim in moved.claimed:
            # A settle that found less than it was told to end names what its claim holds besides.
            if _fence(self.current.get(_key(claim))) == _fence(claim):
                continue
            assert _key(claim) not in self.current, "claimed while it was held"
            self.current[claim.run_id, claim.task_no] = claim
            self.claims.append(claim)

    def _settle(self, claim: Claim, state: str, at: int = 0, **more: Any) -> None:
        key = claim.run_id, claim.task_no
        mine = _fence(self.current.get(key)) == _fence(claim)
        lines = [LogLine(task_no=claim.task_no, level="info", message="x", age_s=0.1)] * (at % 3)
        take = Take(owner=self._owner(at), queues=("default",), limit=at % 3)
        moved = self.store.moves.settle_attempts(
            claim.run_id,
            claim.claim_id,
            [Ending(task_no=claim.task_no, attempt=claim.attempt, state=state, **more)],
            logs=lines,
            take=take,
            room=at % 4,
        )
        assert moved is not None
        assert moved.accepted == ((claim.task_no,) if mine else ()), "the fence is broken"
        if mine:
            del self.current[key]
        else:
            assert moved.events == (), "a zombie left a trace"
        self._told(moved)

    # One rule with weights: Hypothesis would switch off whole rules, and with them whole lives.
    @rule(
        dag=dags(),
        room=st.integers(0, 3),
        kinds=st.lists(st.sampled_from(WEIGHTS), min_size=5, max_size=15),
        at=pick,
    )
    def live_on(self, dag: PlanJson, room: int, kinds: list[str], at: int) -> None:
        """Start a run, and let some things happen, one after the other."""
        if len(self.runs) < MAX_RUNS:
            self._begin(dag, room)
        for no, kind in enumerate(kinds):
            getattr(self, kind)(at // (no + 1))
            assert self.rig.broken() == [], kind

    def _begin(self, dag: PlanJson, room: int) -> None:
        started = start(self.store, dag, room=room)
        self.runs.append(started.run_id)
        self._told(started)

    def deliver(self, at: int) -> None:
        """Bring a message to a worker; some come again later."""
        if self.mail:
            release = self.mail[at % len(self.mail)]
            if at % 3:
                self.mail.remove(release)
            self._claim(release, at)

    def _claim(self, release: Release, at: int) -> None:
        claim_id, wanted = uuid4(), [(release.task_no, release.attempt)]
        for _ in range(1 + (at % 4 == 0)):
            # Twice: the answer to the first was lost.
            moved = self.store.moves.claim_attempts(
                release.run_id, wanted, claim_id=claim_id, owner=self._owner(at)
            )
        self._told(moved)

    def lose_message(self, at: int) -> None:
        """Drop a message."""
        if self.mail:
            self.mail.pop(at % len(self.mail))

    def succeed(self, at: int) -> None:
        """Settle a current claim with a value."""
        taken: list[str] | None = [None, [], ["x"], ["x", "y"]][at % 4]
        output = None if taken is None else {"taken": taken}
        if self.current:
            self._settle(self._held(at), "succeeded", at, output=output)

    def end_badly(self, at: int) -> None:
        """Settle a current claim in another end state."""
        if self.current:
            state = ("failed", "timed_out", "skipped")[at % 3]
            self._settle(self._held(at), state, at, error=ERROR)

    def park(self, at: int) -> None:
        """Let a current claim wait, or be tried again."""
        if self.current:
            waits = at % 2 == 0
            self._settle(
                self._held(at), "waiting" if waits else "retrying", at,
                error=None if waits else ERROR, output={"page": at} if waits else None,
                delay_s=float(at % 3 * 5),
            )  # fmt: skip

    def _held(self, at: int) -> Claim:
        return list(self.current.values())[at % len(self.current)]

    def zombie(self, at: int) -> None:
        """Settle a claim that is no longer current, best of all one of a task held by another."""
        gone = [c for c in self.claims if _fence(self.current.get(_key(c))) != _fence(c)]
        robbed = [c for c in gone if _key(c) in self.current]
        if found := robbed or gone:
            state = ("succeeded", "failed", "lost", "waiting")[at % 4]
            self._settle(found[at % len(found)], state, at, delay_s=1.0)

    def child_dies(self, at: int) -> None:
        """A supervisor settles what its dead child held."""
        owner = self._owner(at)
        for held in self.store.fleet.of_child(owner.worker_id, owner.pid):
            self._settle(held.claim, "lost")

    def worker_dies(self, at: int) -> None:
        """A worker stops, in order or in silence; a new one comes."""
        gone = self.workers.pop(at % len(self.workers))
        if at % 2:
            self.store.fleet.leave(gone)
        self.workers.append(self._new_worker())

    def time_passes(self, at: int) -> None:
        """Let time pass, with or without signs of life."""
        self.rig.pass_time((1, 6, 20, 400)[at % 4])
        if at % 3:
            self._beat()

    def go_on(self, at: int) -> None:
        """Let every timer come and every message arrive: what was parked has an owner again."""
        self.rig.pass_time(21)
        self._beat()
        self.upkeep(1)
        while self.mail:
            self._claim(self.mail.pop(0), at)

    def _beat(self) -> None:
        for no, worker_id in enumerate(self.workers):
            sign = beat(worker_id, children=(1, 2), queues=("default", "io"), slots=3)
            if not self.store.fleet.beat(sign).alive:
                self.workers[no] = self._new_worker()

    def upkeep(self, at: int) -> None:
        """Do what upkeep does, once."""
        fleet = self.store.fleet
        if at % 4 == 0:
            fleet.expire(LEASE_S)
        for held in fleet.ownerless(100):
            timeout = held.verdict == "timeout"
            self._settle(held.claim, "timed_out" if timeout else "lost", error=ERROR)
        for found in (fleet.due(100), *(fleet.backlog(q, 2) for q in fleet.ready_queues())):
            for run_id, task_nos in found.items():
                self._told(self.store.moves.queue_tasks(run_id, task_nos))
        self.mail += fleet.unclaimed(fleet.waiting_queues(), 6.0, 100)
        for run_id in fleet.overdue_runs(100):
            self.store.moves.cancel_run(run_id, RunState.TIMED_OUT)
        for run_id, _, _ in fleet.settled_runs(100):
            assert self.store.moves.end_run(run_id, {"n": 1}, None)

    def cancel(self, at: int) -> None:
        """Cancel a run, in whatever state it is."""
        to = RunState.CANCELLED if at % 2 else RunState.TIMED_OUT
        self.store.moves.cancel_run(self.runs[at % len(self.runs)], to)

    def mark(self, at: int) -> None:
        """Settle a task by hand; who held it is a zombie from now on."""
        run_id = self.runs[at % len(self.runs)]
        run = self.store.reads.run(DEFAULT_TENANT, run_id)
        tasks = self.store.reads.tasks(run_id)
        may = [t for t in tasks if t.state in MARKABLE]
        task = (may or tasks)[at % len(may or tasks)]
        how = Mark(
            task_no=task.task_no, node_id=task.node_id, by="me",
            state=("succeeded", "failed", "skipped")[at % 3],
            output={"taken": ["x"]} if at % 3 == 0 and at % 2 else None,
        )  # fmt: skip
        moved = self.store.moves.mark_task(run_id, how, at % 4)
        assert run is not None
        assert moved is not None
        assert moved.was == task.state
        marked = bool(may) and run.state in {RunState.RUNNING, RunState.PAUSED}
        assert bool(moved.events) == marked
        if marked:
            self.current.pop((run_id, task.task_no), None)
        self._told(moved)

    def pause_or_resume(self, at: int) -> None:
        """Pause a running run, or let a paused one go on."""
        run_id, steer = self.runs[at % len(self.runs)], self.store.moves.steer_run
        moved = steer(run_id, RunState.RUNNING, RunState.PAUSED)
        if moved is not None and moved.was == RunState.PAUSED:
            self._told(steer(run_id, RunState.PAUSED, RunState.RUNNING))

    def teardown(self) -> None:
        """Let a fair worker end every run: nothing may be stuck, whatever happened before."""
        try:
            for _ in range(60):
                if self.store.fleet.next_due_s() is None:
                    break
                self._fair_round()
            assert self.store.fleet.next_due_s() is None, "a run never ends"
            assert self.rig.broken() == []
        finally:
            self.close_rig()

    def _fair_round(self) -> None:
        for run_id in self.runs:
            self._told(self.store.moves.steer_run(run_id, RunState.PAUSED, RunState.RUNNING))
        self.rig.pass_time(44)
        self.go_on(0)
        for claim in list(self.current.values()):
            self._settle(claim, "succeeded", 1)
