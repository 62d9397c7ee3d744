"""What only many connections show: claims, settles and ends that race on one run."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4

import psycopg2
import pytest
from sqlalchemy import text

from orchestrator.adapters.postgres.connections.pool import Pool
from orchestrator.bootstrap.core import SystemClock
from orchestrator.errors import StoreUnavailable
from orchestrator.models.definitions.saved import WorkflowStatus
from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.models.runs.run import RunState
from orchestrator.ports.moves import Ending
from orchestrator.services.definitions.workflows import Workflows
from tests.contract.player import Player
from tests.contract.rigs import PostgresRig, Rig
from tests.factories import beat, chain, join_of, new_id, node, plan
from tests.waiting import wait_for

WIDTH = 8


def race(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Make all calls at the same moment; return what they returned, or raise what one raised."""
    found: list[Any] = [None] * len(calls)
    errors: list[BaseException] = []
    gate = threading.Barrier(len(calls))

    def go(no: int) -> None:
        try:
            gate.wait(10)
            found[no] = calls[no]()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=go, args=(no,)) for no in range(len(calls))]
    for thread in threads:
        thread.start()
    wait_for(lambda: not any(t.is_alive() for t in threads), timeout_s=30, what="the racers")
    if errors:
        raise errors[0]
    return found


def settler(player: Player, node_id: str, state: str = "succeeded") -> Callable[[], Any]:
    """Return the settle of a task that the player holds."""
    ending = Ending(task_no=player.numbers[node_id], attempt=1, state=state)
    claim_id = player.claims[node_id]
    return lambda: player.store.moves.settle_attempts(player.run_id, claim_id, [ending], room=100)


@pytest.mark.parametrize("turn", range(6))
def test_siblings_settling_at_once_release_their_join_once(rig: Rig, turn: int) -> None:
    player = Player(rig.store, join_of(WIDTH, rule="all_done"))
    names = [f"w{i}" for i in range(WIDTH)]
    for name in names:
        player.claim(name)
    states = ["failed" if (i + turn) % 3 == 0 else "succeeded" for i in range(WIDTH)]
    moved = race([settler(player, n, s) for n, s in zip(names, states, strict=True)])
    assert sum(len(m.queued) for m in moved) == 1
    assert player.task("join").waits_for == 0
    assert player.task("join").state == "queued"


def test_racing_changes_of_a_workflow_come_one_after_the_other(rig: Rig) -> None:
    workflows = Workflows(rig.store, SystemClock())
    nodes = [{"id": "a", "type": "noop"}]
    saved, _ = workflows.create(DEFAULT_TENANT, {"name": f"w{new_id()}", "nodes": nodes})

    def change(text: str) -> Any:
        document = {"name": saved.name, "description": text, "nodes": nodes}
        return workflows.change(DEFAULT_TENANT, saved.id, document)

    def archive() -> Any:
        return workflows.set_status(DEFAULT_TENANT, saved.id, WorkflowStatus.ARCHIVED)

    for turn in range(3):
        texts = [f"{turn} {no}" for no in range(WIDTH - 1)]
        race([*(lambda text=text: change(text) for text in texts), archive])
    last, _ = workflows.get(DEFAULT_TENANT, saved.id)
    assert (last.version, last.status) == (1 + 3 * (WIDTH - 1) + 1, WorkflowStatus.ARCHIVED)


def test_overlapping_joins_do_not_deadlock(postgres_rig: PostgresRig) -> None:
    roots = [node(f"w{i}") for i in range(WIDTH)]
    joins = [node(f"j{i}", *(r.id for r in roots)) for i in range(WIDTH)]
    for _ in range(3):
        player = Player(postgres_rig.store, plan(*roots, *joins))
        for root in roots:
            player.claim(root.id)
        moved = race([settler(player, r.id) for r in roots])
        assert sorted(r.task_no for m in moved for r in m.queued) == list(range(WIDTH, 2 * WIDTH))


@pytest.mark.parametrize("turn", range(4))
def test_racing_claims_have_one_winner(rig: Rig, turn: int) -> None:
    player = Player(rig.store, chain(2))
    moves = rig.store.moves
    moved = race(
        [
            lambda: moves.claim_attempts(
                player.run_id, [(0, 1)], claim_id=uuid4(), owner=player.owner
            )
            for _ in range(WIDTH)
        ]
    )
    assert len([m for m in moved if m]) == 1
    assert Counter(e.state for e in player.events() if e.node_id)["running"] == 1


def test_racing_claims_of_siblings_all_win_and_share_one_seq(rig: Rig) -> None:
    player = Player(rig.store, join_of(WIDTH))
    moved = race([lambda n=n: player.claim(f"w{n}") for n in range(WIDTH)])
    assert all(moved)
    assert sum(e.node_id is None for m in moved for e in m.events) == 1, "the run started once"
    assert [e.seq for e in player.events()] == list(range(1, 2 * WIDTH + 3))


def test_racing_settles_of_one_attempt_are_accepted_once(rig: Rig) -> None:
    player = Player(rig.store, chain(2))
    player.claim("n0")
    moved = race([settler(player, "n0")] * WIDTH)
    assert sum(len(m.accepted) for m in moved) == 1
    assert sum(len(m.queued) for m in moved) == 1


def test_racing_queues_give_one_message(rig: Rig) -> None:
    player = Player(rig.store, chain(1), room=0)
    moved = race([lambda: player.queue("n0")] * WIDTH)
    assert len([m for m in moved if m]) == 1
    assert player.task("n0").attempt == 1


def test_racing_finishes_end_once(rig: Rig) -> None:
    player = Player(rig.store, plan(node("a"), output="1"))
    player.do("a")
    moved = race([lambda: player.finish(output=1)] * WIDTH)
    assert len([m for m in moved if m]) == 1


@pytest.mark.parametrize("turn", range(4))
def test_cancel_races_the_last_settles(rig: Rig, turn: int) -> None:
    player = Player(rig.store, join_of(4))
    for i in range(4):
        player.claim(f"w{i}")
    calls: list[Callable[[], Any]] = [settler(player, f"w{i}") for i in range(4)]
    race([*calls, player.cancel])
    player.cancel()
    assert player.run().state is RunState.CANCELLED


def test_racing_announcements_are_counted_once(rig: Rig) -> None:
    rig.store.fleet.beat(beat())
    Player(rig.store, join_of(4))
    rig.pass_time(20)
    found = race([lambda: rig.store.fleet.unclaimed(["default"], 6.0, 2)] * 4)
    announced = Counter(r.task_no for releases in found for r in releases)
    assert max(announced.values()) == 1


@pytest.mark.parametrize("code", ["40001", "40P01", "57014"])
def test_what_postgres_undid_may_be_tried_again(postgres_rig: PostgresRig, code: str) -> None:
    statement = f"DO $$ BEGIN RAISE EXCEPTION 'undone' USING ERRCODE = '{code}'; END $$"
    pool = Pool(postgres_rig.url, size=1)
    with pytest.raises(StoreUnavailable, match="undone"), pool.cursor() as cursor:
        cursor.execute(statement)
    with pytest.raises(StoreUnavailable, match="undone"), pool.begin() as connection:
        connection.execute(text(statement))
    with pytest.raises(psycopg2.DataError), pool.cursor() as cursor:
        cursor.execute("SELECT 1 / 0")
    pool.close()


def test_a_statement_that_takes_too_long_may_be_tried_again(postgres_rig: PostgresRig) -> None:
    pool = Pool(postgres_rig.url, size=1, statement_timeout_s=0.05)
    with pytest.raises(StoreUnavailable, match="timeout") as caught, pool.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(30)")
    assert caught.value.extra["undone"]
    pool.close()
