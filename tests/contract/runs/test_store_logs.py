"""Log lines across runs, whose a run is, versions without definitions, and runs by their tags."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from sqlalchemy import create_engine, event
from sqlalchemy.pool import NullPool

from orchestrator.adapters.postgres.connections.pool import normal_url
from orchestrator.adapters.postgres.log_lines import log_lines
from orchestrator.models.definitions.saved import WorkflowStatus
from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.ports.log_lines import LogFilter, LogPage
from orchestrator.ports.reads import RunFilter
from orchestrator.services.runs.log_search import search
from tests.contract.player import Player
from tests.contract.rigs import PostgresRig, Rig
from tests.factories import chain, new_id, new_run, store_workflow

EVERYTHING = LogFilter(tenant_id=DEFAULT_TENANT)


def speak(rig: Rig, *lines: tuple[str, str, float], **run: Any) -> Player:
    """A run whose one task has written (level, message, age in seconds)."""
    play = Player(rig.store, chain(1), **run)
    assert play.claim("n0")
    logs = [play.line("n0", message, level=level, age_s=age) for level, message, age in lines]
    play.settle([play.ending("n0")], claim_id=play.claims["n0"], logs=logs)
    return play


def messages(page: LogPage) -> list[str | None]:
    return [line.message for line in page.lines]


def all_pages(rig: Rig, wanted: LogFilter) -> list[str | None]:
    """Read page by page to the oldest line."""
    found: list[str | None] = []
    for _ in range(100):
        page = rig.store.reads.log_lines(wanted)
        found += messages(page)
        if page.place is None:
            return found
        wanted = replace(wanted, before=page.place)
    raise AssertionError("the pages have no end")


def test_lines_of_all_runs_come_newest_first(rig: Rig) -> None:
    speak(rig, ("info", "oldest", 90), ("info", "third", 30))
    play = speak(rig, ("info", "second", 60), ("info", "newest", 0))
    assert all_pages(rig, EVERYTHING) == ["newest", "third", "second", "oldest"]
    page = rig.store.reads.log_lines(EVERYTHING)
    assert page.place is None
    assert page.lines[0] in play.events()


@pytest.mark.parametrize("limit", [1, 2, 3, 5])
def test_pages_repeat_and_miss_nothing(rig: Rig, limit: int) -> None:
    for no in range(3):
        speak(rig, *[("info", f"{no}{i}", 10.0 * (no % 2)) for i in range(3)])
    whole = all_pages(rig, EVERYTHING)
    assert sorted(filter(None, whole)) == [f"{n}{i}" for n in range(3) for i in range(3)]
    assert all_pages(rig, replace(EVERYTHING, limit=limit)) == whole


@pytest.mark.parametrize("scan", [1, 2, 4])
def test_a_rare_line_is_found_by_going_on(rig: Rig, scan: int) -> None:
    speak(rig, ("error", "the needle", 50), *[("info", f"hay {i}", 1.0) for i in range(6)])
    wanted = replace(EVERYTHING, text="needle", scan=scan, limit=10)
    first = rig.store.reads.log_lines(wanted)
    assert (first.lines, first.place is None) == ((), False)
    assert all_pages(rig, wanted) == ["the needle"]
    wanted = replace(wanted, scan=2)
    assert messages(search(rig.store.reads, wanted, clock=lambda: 0.0)) == ["the needle"]


def test_a_search_that_takes_long_stops_and_tells_where(rig: Rig) -> None:
    speak(rig, ("error", "the needle", 50), *[("info", f"hay {i}", 1.0) for i in range(6)])
    wanted = replace(EVERYTHING, text="needle", scan=2, limit=10)
    page, requests = search(rig.store.reads, wanted, clock=count().__next__), 1
    while page.place is not None:
        assert page.lines == ()
        wanted = replace(wanted, before=page.place)
        page, requests = search(rig.store.reads, wanted, clock=count().__next__), requests + 1
    assert (messages(page), requests) == (["the needle"], 4)


def test_every_filter_holds(rig: Rig) -> None:
    one = speak(rig, ("info", "A 100% Match_", 20), ("error", "plain", 10))
    two = speak(rig, ("warning", "other", 0))
    first, second = one.run(), two.run()

    def found(**more: Any) -> list[str | None]:
        return all_pages(rig, replace(EVERYTHING, **more))

    assert found(run_ids=(first.id,)) == ["plain", "A 100% Match_"]
    assert found(run_ids=(first.id, second.id)) == ["other", "plain", "A 100% Match_"]
    assert found(run_ids=(new_id(),)) == []
    assert found(workflow_id=second.workflow_id) == ["other"]
    assert found(workflow_id=new_id()) == []
    assert found(node_id="n0", levels=("error", "critical")) == ["plain"]
    assert found(node_id="zz") == []
    assert found(text="100% mATCH_") == ["A 100% Match_"]
    assert found(text="1%0") == found(text="Match%") == found(text="_lain") == []
    now = rig.now()
    assert found(since=now - timedelta(seconds=5)) == ["other"]
    assert found(until=now - timedelta(seconds=15)) == ["A 100% Match_"]
    assert found(since=now + timedelta(hours=1)) == []


def test_another_tenant_s_lines_are_not_there(rig: Rig) -> None:
    other = rig.tenant()
    theirs = speak(rig, ("info", "theirs", 0), tenant_id=other)
    ours = speak(rig, ("info", "ours", 0))
    assert all_pages(rig, EVERYTHING) == ["ours"]
    assert all_pages(rig, replace(EVERYTHING, run_ids=(theirs.run_id,))) == []
    assert all_pages(rig, LogFilter(tenant_id=other)) == ["theirs"]
    owners = rig.store.reads.owners([theirs.run_id, ours.run_id, new_id()])
    assert owners == {
        theirs.run_id: (other, theirs.run().workflow_id),
        ours.run_id: (DEFAULT_TENANT, ours.run().workflow_id),
    }
    assert rig.store.reads.owners([]) == {}


def test_versions_are_listed_newest_first_without_definitions(rig: Rig) -> None:
    workflow = store_workflow(rig.store, chain(1))
    for number in (2, 3):
        later = workflow.updated_at + timedelta(seconds=number)
        changed = replace(workflow, version=number, updated_at=later, status=WorkflowStatus.DRAFT)
        with rig.store.begin() as work:
            work.workflows.change(changed, {"v": number}, chain(1))
    with rig.store.begin() as work:
        found = work.workflows.versions(workflow.id, before=None, limit=10)
        assert [(v.version, v.definition) for v in found] == [(3, {}), (2, {}), (1, {})]
        assert found[0].created_at == workflow.updated_at + timedelta(seconds=3)
        page = work.workflows.versions(workflow.id, before=3, limit=1)
        assert [v.version for v in page] == [2]
        assert list(work.workflows.versions(new_id(), before=None, limit=10)) == []


def test_runs_carry_all_of_the_tags_asked_for(rig: Rig) -> None:
    workflow = store_workflow(rig.store, chain(1))
    ids = []
    for tags in (("a", "b"), ("b",), ()):
        new = replace(new_run(workflow), tags=tags)
        with rig.store.begin() as work:
            work.store_run(new)
        ids.append(new.id)

    def found(*tags: str) -> list[Any]:
        wanted = RunFilter(tenant_id=DEFAULT_TENANT, tags=tags)
        return [run.id for run in rig.store.reads.runs(wanted)]

    assert found("b") == [ids[1], ids[0]]
    assert found("b", "a") == [ids[0]]
    assert found("c") == []
    assert len(found()) == 3


def test_a_search_walks_along_its_index(postgres_rig: PostgresRig) -> None:
    rig = postgres_rig
    play = speak(rig, ("info", "newest", 0))
    rig.run(
        "INSERT INTO events (run_id, seq, tenant_id, kind, level, message, at)"
        " SELECT %s, 1000 + n, %s, CASE WHEN n %% 2 = 0 THEN 'log' ELSE 'task' END, 'info', 'x',"
        " now() - make_interval(secs => n) FROM generate_series(1, 40000) n",
        play.run_id,
        DEFAULT_TENANT,
    )
    rig.run("ANALYZE events")
    try:
        statements: list[str] = []
        engine = create_engine(normal_url(rig.url), poolclass=NullPool)

        def note(*found: Any) -> None:
            statements.append(found[0].mogrify(found[1], found[2]).decode())

        event.listen(engine, "before_cursor_execute", lambda _c, cursor, sql, values, *_: note(
            cursor, sql, values))  # fmt: skip
        with engine.connect() as connection:
            wanted = replace(EVERYTHING, scan=2000, limit=50, text="zz")
            page = log_lines(connection, wanted)
            assert (page.lines, page.place is None) == ((), False)
            log_lines(connection, replace(wanted, before=page.place))
        assert len(statements) == 4
        (full,) = rig.run("SELECT DISTINCT tableoid::regclass::text FROM events")[0]
        for statement in statements:
            plan = "\n".join(row[0] for row in rig.run(f"EXPLAIN {statement}"))
            assert f"{full}_tenant_id_at_run_id_seq_idx" in plan, plan
            assert f"Seq Scan on {full}" not in plan, plan
    finally:
        rig.run("DELETE FROM events WHERE run_id = %s AND seq > 1000", play.run_id)
