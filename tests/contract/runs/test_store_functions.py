"""What holds between the functions of the database, and between them and who reads their rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg2
import pytest

from orchestrator.adapters.postgres.decoding import moved
from orchestrator.models.runs.run import RunState
from orchestrator.ports.moves import LogLine, Mark, Moved, Owner, Take
from tests.contract.player import OWNER, Player
from tests.contract.rigs import PostgresRig
from tests.contract.runs.test_store_joins import RULES
from tests.factories import chain, join_of, new_id, new_run, node, plan, store_workflow

ERROR = {"code": "x", "message": "x"}


def newest(rig: PostgresRig) -> dict[str, str]:
    """Return the text of each function in its newest version, by its name without the version."""
    rows = rig.run("SELECT proname, prosrc FROM pg_proc WHERE proname ~ '^zq_.*_v[0-9]+$'")
    found: dict[str, tuple[int, str]] = {}
    for name, text in rows:
        noun, version = name.removeprefix("zq_").rsplit("_v", 1)
        found[noun] = max(found.get(noun, (0, "")), (int(version), text))
    return {noun: text for noun, (_, text) in found.items()}


def naming(rig: PostgresRig, text: str) -> set[str]:
    """Return the newest functions that name a text."""
    return {noun for noun, source in newest(rig).items() if re.search(text, source)}


def test_one_function_asks_the_trigger_rule(postgres_rig: PostgresRig) -> None:
    assert naming(postgres_rig, r"zq_goes_v\d") == {"spread"}
    assert naming(postgres_rig, "'all_success'") == {"goes", "spread_few"}
    assert naming(postgres_rig, "none_failed|all_done|all_failed|none_skipped") == {"goes"}


def test_one_function_writes_the_events_of_moves(postgres_rig: PostgresRig) -> None:
    # What settle writes itself are log lines.
    assert naming(postgres_rig, "INSERT INTO events") == {"record", "settle"}


def test_one_function_tells_the_time_of_moves(postgres_rig: PostgresRig) -> None:
    # The time of an audit entry decides nothing.
    assert naming(postgres_rig, r"clock_timestamp|\bnow\(") == {"audit", "now"}


def test_the_newest_functions_call_the_newest(postgres_rig: PostgresRig) -> None:
    sources = newest(postgres_rig)
    versions = {
        name
        for (name,) in postgres_rig.run("SELECT proname FROM pg_proc WHERE proname LIKE 'zq\\_%'")
    }
    for noun, source in sources.items():
        for called, version in re.findall(r"zq_(\w+)_v(\d+)\(", source):
            assert f"zq_{called}_v{int(version) + 1}" not in versions, f"{noun} calls an old one"


def _asks_spread(rig: PostgresRig, player: Player, node_id: str) -> bool:
    """Settle a claimed task where spread cannot work; tell whether it was asked. Undoes all."""
    (row,) = rig.run(
        "SELECT pg_get_functiondef(p.oid), p.prosrc FROM pg_proc p"
        " WHERE proname ~ '^zq_spread_v' ORDER BY proname DESC LIMIT 1"
    )
    definition, source = row
    broken = definition.replace(source, "BEGIN RAISE EXCEPTION 'spread was asked'; END ")
    no = player.numbers[node_id]
    rig.run("BEGIN")
    try:
        rig.run(broken)
        rig.run(
            "SELECT zq_settle_v2(%s, %s, %s::int[], '{1}', '{succeeded}', '{null}', '{null}',"
            " '{null}', NULL, NULL, NULL, '{}', 0, 100, '{}', '{}')",
            player.run_id, player.claims[node_id], [no],
        )  # fmt: skip
    except psycopg2.errors.RaiseException as error:
        return "spread was asked" in str(error)
    finally:
        rig.run("ROLLBACK")
    return False


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("last", [False, True])
def test_any_other_rule_is_decided_by_spread(
    postgres_rig: PostgresRig, rule: str, last: bool
) -> None:
    player = Player(postgres_rig.store, join_of(2, rule=rule))
    if last:
        player.do("w0")
    player.claim("w1")
    assert _asks_spread(postgres_rig, player, "w1") is (rule != "all_success")


@pytest.mark.parametrize("state", ["failed", "skipped"])
def test_a_join_of_which_one_went_wrong_is_decided_by_spread(
    postgres_rig: PostgresRig, state: str
) -> None:
    player = Player(postgres_rig.store, join_of(2))
    player.do("w0", state)
    player.claim("w1")
    assert _asks_spread(postgres_rig, player, "w1")


def test_handles_are_decided_by_spread(postgres_rig: PostgresRig) -> None:
    player = Player(postgres_rig.store, plan(node("a"), node("b", "a:big"), node("c", "a")))
    player.claim("a")
    assert _asks_spread(postgres_rig, player, "a")


def test_one_other_rule_among_plain_dependants_is_decided_by_spread_before_anything_is_written(
    postgres_rig: PostgresRig,
) -> None:
    player = Player(
        postgres_rig.store, plan(node("a"), node("b", "a"), node("c", "a", rule="all_failed"))
    )
    told = player.do("a")
    assert [(e.seq, e.node_id, e.state) for e in told.events[1:]] == [
        (6, "b", "queued"), (7, "c", "skipped"),
    ]  # fmt: skip
    assert [r.task_no for r in told.queued] == [1]


@pytest.fixture(params=[True, False], ids=["small moves", "large moves"])
def either(request: pytest.FixtureRequest, postgres_rig: PostgresRig) -> Iterator[PostgresRig]:
    """A rig whose settles take the small statements, and one whose settles never do."""
    if request.param:
        yield postgres_rig
        return
    large = PostgresRig(postgres_rig.url, small_moves=False)
    yield large
    large.close()


class Checked:
    """Calls moves, and compares each thing that a move tells with the row that it has written."""

    def __init__(self, rig: PostgresRig) -> None:
        self.rig = rig
        self.told: set[str] = set()

    def __call__(self, done: Moved | None) -> Moved:
        assert done is not None
        rows = {e.seq: e for e in self.rig.store.reads.events(done.run_id, after=0, limit=10_000)}
        assert list(done.events) == [rows[e.seq] for e in done.events]
        columns = "attempt, losses, resumed, started_at, claim_id, queue, priority, state"
        for said in (*done.claimed, *done.queued):
            (row,) = self.rig.run(
                f"SELECT {columns} FROM tasks WHERE run_id = %s AND task_no = %s",
                done.run_id, said.task_no,
            )  # fmt: skip
            if said in done.claimed:
                assert row[:5] + row[7:] == (
                    said.attempt, said.losses, said.resumed, said.started_at, said.claim_id,
                    "running",
                )  # fmt: skip
            else:
                assert (row[0], *row[5:]) == (said.attempt, said.queue, said.priority, "queued")
        self.told |= {n for n in ("events", "claimed", "queued") if getattr(done, n)}
        return done


def test_what_a_move_tells_is_what_it_has_written(either: PostgresRig) -> None:
    store, checked = either.store, Checked(either)
    player = Player(
        store,
        plan(
            node("a", queue="io", priority=7), node("b", "a", queue="io", priority=3),
            *[node(f"c{i}", "b", priority=i) for i in range(10)],
            node("d", "c0", "c1", rule="all_done"), node("e", "d", rule="none_failed"),
        ),
        owner=Owner(worker_id=uuid4(), pid=4),
    )  # fmt: skip
    checked(player.started)
    player.do("a", "lost", error=ERROR)
    checked(store.moves.queue_tasks(player.run_id, [0]))
    checked(player.claim("a"))
    checked(player.end("a", "waiting", output={"memo": 1}, delay_s=0))
    either.pass_time(1)
    checked(store.moves.queue_tasks(player.run_id, [0]))
    again = checked(player.claim("a"))
    assert (again.claimed[0].attempt, again.claimed[0].losses) == (2, 1)
    assert again.claimed[0].resumed == {"memo": 1}
    logs = [LogLine(task_no=0, level="warning", message="so it goes", age_s=0.25)]
    take = Take(owner=player.owner, queues=("io",), limit=9)
    ended = [player.ending("a")]
    done = checked(
        store.moves.settle_attempts(
            player.run_id, player.claims["a"], ended, logs=logs, take=take, room=9
        )
    )
    assert [c.task_no for c in done.claimed] == [1]
    player.claims["b"] = player.claims["a"]
    checked(player.end("b", room=100))
    checked(player.claim("c0", "c1"))
    checked(player.end("c0"))
    checked(player.end("c1", "failed", error=ERROR))
    checked(store.moves.steer_run(player.run_id, RunState.RUNNING, RunState.PAUSED))
    mark = Mark(task_no=player.numbers["d"], node_id="d", state="skipped", by="me")
    checked(store.moves.mark_task(player.run_id, mark, 9))
    checked(store.moves.steer_run(player.run_id, RunState.PAUSED, RunState.RUNNING))
    checked(store.moves.cancel_run(player.run_id, RunState.CANCELLED))
    run = player.run()
    assert run.state is RunState.CANCELLED
    assert checked.told == {"events", "claimed", "queued"}


def test_what_a_rerun_and_a_finish_tell_is_what_they_have_written(either: PostgresRig) -> None:
    store, checked = either.store, Checked(either)
    workflow = store_workflow(store, {**chain(2), "output": "x"})
    with store.begin() as work:
        work.store_run(new_run(workflow))
    origin = new_run(workflow)
    with store.begin() as work:
        started = work.store_run(origin)
    checked(started)
    claim_id = uuid4()
    checked(store.moves.claim_attempts(origin.id, [(0, 1)], claim_id=claim_id, owner=OWNER))
    player = Player(store, chain(2))
    player.run_id, player.claims = origin.id, {"n0": claim_id}
    checked(player.end("n0", output={"x": 1}))
    checked(player.do("n1", output={"x": 2}))
    checked(store.moves.end_run(origin.id, {"x": 3}, None))
    with store.begin() as work:
        again = work.store_rerun(new_run(workflow, id=new_id(), origin_run_id=origin.id), {0: 0})
    checked(again)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("events", [1, "task", "a", None, "queued", 1, None]), ("logged", [0, 1, "a", None, 1]),
        ("claimed", [0, 1, 0, None, 1.0]), ("queued", [0, 1, "default", 5]),
    ],
)  # fmt: skip
def test_an_array_with_another_number_of_fields_is_refused(name: str, line: list[Any]) -> None:
    tenant = str(new_id())
    row: dict[str, Any] = {
        "at": 0, "tenant": tenant, "workflow": tenant, "version": 1, "events": [],
    }  # fmt: skip
    logs = [LogLine(task_no=0, level="info", message="x", age_s=0)]
    assert moved(new_id(), {**row, name: [line]}, claim_id=uuid4(), logs=logs) is not None
    for other in (line[:-1], [*line, None]):
        with pytest.raises(TypeError, match="positional argument"):
            moved(new_id(), {**row, name: [other]}, claim_id=uuid4(), logs=logs)
