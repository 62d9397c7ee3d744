"""Moves made twice because the answer to the first was lost: the claim's work is told again."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from orchestrator.errors import StoreUnavailable
from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.models.runs.event import Event
from orchestrator.models.runs.run import RunState
from orchestrator.ports.moves import Moved, Take
from tests.api.conftest import build_core
from tests.contract.player import OWNER, Player
from tests.contract.rigs import PostgresRig, Rig
from tests.factories import chain, join_of, node, plan
from workers.child.runtime import Runtime
from workers.identity import Identity


def work(moved: Moved | None) -> list[tuple[int, int, UUID]]:
    """Return what a move gave its caller to do."""
    assert moved is not None
    return sorted((c.task_no, c.attempt, c.claim_id) for c in moved.claimed)


@pytest.mark.parametrize("width", [1, 3])
def test_a_claim_again_brings_the_same_and_changes_nothing(rig: Rig, width: int) -> None:
    player = Player(rig.store, join_of(3), input={"x": 1})
    claim_id, wanted = uuid4(), [(no, 1) for no in range(width)]
    first, again = (
        rig.store.moves.claim_attempts(player.run_id, wanted, claim_id=claim_id, owner=OWNER)
        for _ in range(2)
    )
    assert work(again) == work(first)
    assert len(work(first)) == width
    assert again is not None
    assert (again.events, again.input) == ((), {"x": 1})
    assert len(player.events()) == player.run().seq == 4 + 1 + width
    other = rig.store.moves.claim_attempts(player.run_id, wanted, claim_id=uuid4(), owner=OWNER)
    assert other is None


@pytest.mark.parametrize("state", [RunState.PAUSED, RunState.CANCELLING])
def test_a_claim_again_brings_the_same_in_a_run_that_starts_nothing(
    rig: Rig, state: RunState
) -> None:
    player = Player(rig.store, join_of(2))
    first = player.claim("w0", "w1")
    if state is RunState.PAUSED:
        rig.store.moves.steer_run(player.run_id, RunState.RUNNING, state)
    else:
        player.cancel()
    again = rig.store.moves.claim_attempts(
        player.run_id, [(0, 1), (1, 1)], claim_id=player.claims["w0"], owner=OWNER
    )
    assert work(again) == work(first)
    assert again is not None
    assert again.events == ()


def test_a_claim_again_brings_only_what_nobody_took_away(rig: Rig) -> None:
    player = Player(rig.store, join_of(2))
    player.claim("w0", "w1")
    claim_id, wanted = player.claims["w0"], [(0, 1), (1, 1)]
    player.end("w0", "lost")
    again = rig.store.moves.claim_attempts(player.run_id, wanted, claim_id=claim_id, owner=OWNER)
    assert [no for no, _, _ in work(again)] == [1]
    player.end("w1")
    again = rig.store.moves.claim_attempts(player.run_id, wanted, claim_id=claim_id, owner=OWNER)
    assert again is None


@pytest.mark.parametrize("state", ["succeeded", "failed"])
def test_a_settle_again_brings_what_the_first_one_took(rig: Rig, state: str) -> None:
    rule = "all_done"
    player = Player(
        rig.store,
        plan(
            node("a"), node("other"), node("late", priority=1),
            node("b", "a", rule=rule), node("c", "a", rule=rule, priority=9),
        ),
    )  # fmt: skip
    player.claim("a")
    take = Take(owner=OWNER, queues=("default",), limit=8, next=((1, 1),))
    ending, claim_id = player.ending("a", state), player.claims["a"]
    line = player.line("a", "said once")
    first = player.settle([ending], claim_id=claim_id, take=take, logs=[line])
    assert [no for no, _, _ in work(first)] == [1, 3, 4]
    seq = player.run().seq
    again = player.settle([ending], claim_id=claim_id, take=take, logs=[line])
    assert work(again) == work(first)
    assert (again.accepted, again.settled, again.events) == ((), (), ())
    assert player.run().seq == seq
    player.end("b")
    assert [no for no, _, _ in work(player.settle([ending], claim_id=claim_id, take=take))] == [
        1,
        4,
    ]


def test_who_settles_for_an_owner_gets_nothing_of_his(rig: Rig) -> None:
    player = Player(rig.store, join_of(2))
    player.claim("w0", "w1")
    player.end("w0", "lost")
    late = player.settle([player.ending("w0", attempt=1)], claim_id=player.claims["w0"])
    assert (late.accepted, late.claimed) == ((), ())


class LosingMoves:
    """Moves that lose the answer to each of a claim and a settle, after its commit, twice."""

    def __init__(self, moves: Any) -> None:
        self._moves = moves
        self._seen: dict[str, int] = {}

    def _lost(self, name: str, answer: Moved | None) -> Moved | None:
        seen = self._seen[name] = self._seen.get(name, 0) + 1
        if seen <= 2:
            raise StoreUnavailable("the connection broke before the answer")
        return answer

    def claim_attempts(self, *given: Any, **more: Any) -> Moved | None:
        return self._lost("claim", self._moves.claim_attempts(*given, **more))

    def settle_attempts(self, *given: Any, **more: Any) -> Moved | None:
        return self._lost("settle", self._moves.settle_attempts(*given, **more))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._moves, name)


class Losing:
    """A store in front of another one."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.moves = LosingMoves(store.moves)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class Deaf:
    """An observer that fails when it is told of an end."""

    def notify(self, events: Sequence[Event]) -> None:
        if any(e.state == "succeeded" for e in events):
            raise RuntimeError("a bug")


def started(store: Any, tmp_path: Path, **more: Any) -> tuple[Player, Runtime]:
    """Start a -> b -> c, claimed one after the other in place, and a worker of threads."""
    core = build_core(store=store, **more)
    player = Player(store, chain(3, max_losses=3))
    definition = {
        "name": "w",
        "nodes": [{"id": f"n{i}", "type": "noop"} for i in range(3)],
        "edges": [{"source": f"n{i}", "target": f"n{i + 1}"} for i in range(2)],
    }
    player.run_id, _ = core.engine.execute(DEFAULT_TENANT, definition)
    made: list[Runtime] = []
    me = Identity(id=OWNER.worker_id, name="w", host="h", folder=tmp_path)
    maker = threading.Thread(target=lambda: made.append(Runtime(core, me)))
    maker.start()
    maker.join()
    return player, made[0]


def test_a_worker_goes_on_after_answers_that_were_lost(
    postgres_rig: PostgresRig, tmp_path: Path
) -> None:
    player, runtime = started(Losing(postgres_rig.store), tmp_path)
    assert runtime.execute(player.run_id, [(0, 1)])
    assert player.states() == {"n0": "succeeded", "n1": "succeeded", "n2": "succeeded"}
    assert player.run().state is RunState.SUCCEEDED
    ran = [node_id for node_id, state in player.told() if state == "running" and node_id]
    assert ran == ["n0", "n1", "n2"], "nothing ran twice"


def test_a_worker_that_fails_itself_gives_up_what_it_holds(
    postgres_rig: PostgresRig, tmp_path: Path
) -> None:
    player, runtime = started(postgres_rig.store, tmp_path, observers=[Deaf()])
    assert runtime.execute(player.run_id, [(0, 1)])
    # Its delay is 0: it is queued for its next attempt at once.
    assert player.states() == {"n0": "succeeded", "n1": "queued", "n2": "pending"}
    (past,) = postgres_rig.store.reads.attempts(player.run_id, 1)
    assert past["state"] == "lost"
