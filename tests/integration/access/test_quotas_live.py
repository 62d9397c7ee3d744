"""Quotas on real servers and workers: exact to the last one, and nobody else's burden."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import UUID

import httpx
import psutil
import psycopg2
import pytest

from orchestrator.errors import QuotaExceeded
from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.models.quota import Quota
from tests.factories import new_id
from tests.integration.invariants import violations
from tests.integration.live import Live, living
from tests.integration.serving import serving
from tests.waiting import wait_for

#: How many tasks each tenant held at most, by its events: a task is held from `queued`, or from
#: `running` where it was taken in place, until it leaves both. What ends at a moment makes room
#: for what begins at the same one: they are one commit.
MOST_HELD = """
WITH moves AS (
    SELECT at, tenant_id, (state IN ('queued', 'running'))::int
           - coalesce(lag(state IN ('queued', 'running'))
                      OVER (PARTITION BY run_id, node_id ORDER BY seq), false)::int AS change
      FROM events WHERE kind = 'task' AND tenant_id = %s
), held AS (
    SELECT sum(change) OVER (ORDER BY at, change ROWS UNBOUNDED PRECEDING) AS now FROM moves
)
SELECT coalesce(max(now), 0)::int FROM held
"""


@pytest.fixture
def wide(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Live]:
    """An installation whose worker could do eight tasks at once. Nothing runs yet: what a process
    believes of quotas is up to 15 s old, so a test sets them first."""
    with living(database_url, redis_url, tmp_path, slots=8) as made:
        yield made
        with closing(_connected(made)) as connection:
            assert violations(connection) == []


def _connected(live: Live) -> psycopg2.extensions.connection:
    return psycopg2.connect(live.settings.database.url)


def _rows(live: Live, statement: str, *values: object) -> list[tuple[object, ...]]:
    connection = _connected(live)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement, tuple(str(v) for v in values))
            return list(cursor.fetchall()) if cursor.description else []
    finally:
        connection.close()


def _begin(live: Live) -> subprocess.Popen[bytes]:
    live.scheduler()
    return live.worker()


def _tenant(live: Live) -> UUID:
    tenant_id = new_id()
    _rows(live, "INSERT INTO tenants (id, name) VALUES (%s, %s)", tenant_id, tenant_id)
    return tenant_id


def _fan(live: Live, tenant_id: UUID, width: int, *, short: bool = False) -> UUID:
    """Start a run in which one task sets `width` others free, and each of those two more.

    Where all are `short`, a worker would go on with many of them in place.
    """
    first = [live.calling(f"a{i}", "test.note") for i in range(width)]
    middle = (
        [{"id": n["id"], "type": n["type"], "data": {"config": n["config"]}} for n in first]
        if not short
        else [{"id": n["id"], "type": "noop"} for n in first]
    )
    nodes = [{"id": "root", "type": "noop"}, *middle, {"id": "join", "type": "noop"}]
    edges = []
    for i in range(width):
        edges.append({"source": "root", "target": f"a{i}"})
        for name in (f"b{i}", f"c{i}"):
            nodes.append({"id": name, "type": "noop"})
            edges.append({"source": f"a{i}", "target": name})
            edges.append({"source": name, "target": "join"})
    document = {"name": "fan", "nodes": nodes, "edges": edges}
    run_id, _ = live.core.engine.execute(tenant_id, document)
    return run_id


def _ended(live: Live, tenant_id: UUID, run_id: UUID, timeout_s: float = 60.0) -> str:
    def end() -> str | None:
        run = live.core.engine.run(tenant_id, run_id)
        return str(run.state) if run.state.ended else None

    return wait_for(end, timeout_s=timeout_s, what=f"the end of {run_id}: {live.said('worker')}")


def _most_held(live: Live, tenant_id: UUID) -> int:
    ((most,),) = _rows(live, MOST_HELD, tenant_id)
    assert isinstance(most, int)
    return most


def test_a_quota_is_never_passed_and_holds_up_nobody_else(wide: Live) -> None:
    narrow, free = _tenant(wide), _tenant(wide)
    wide.core.quotas.change(narrow, {Quota.CONCURRENT_TASKS: 3})
    _begin(wide)
    runs = [_fan(wide, narrow, 20), _fan(wide, narrow, 20, short=True)]
    other = _fan(wide, free, 40, short=True)
    assert _ended(wide, free, other) == "succeeded"
    assert [_ended(wide, narrow, run_id) for run_id in runs] == ["succeeded"] * 2
    # The query must be able to see more than three, or it proves nothing.
    assert _most_held(wide, free) > 3
    assert _most_held(wide, narrow) == 3


def test_a_tenant_at_its_quota_keeps_no_slot_from_others(wide: Live) -> None:
    narrow, free = _tenant(wide), _tenant(wide)
    wide.core.quotas.change(narrow, {Quota.CONCURRENT_TASKS: 3})
    _begin(wide)
    nodes = [wide.holding(f"h{i}") for i in range(12)]
    document = {
        "name": "held",
        "nodes": [
            {"id": n["id"], "type": n["type"], "data": {"config": n["config"]}} for n in nodes
        ],
        "edges": [],
    }
    held, _ = wide.core.engine.execute(narrow, document)

    def running() -> bool:
        return wide.core.quotas.held(narrow) == 3

    wait_for(running, timeout_s=20, what="three held tasks")
    # All of the narrow tenant's tasks hang; everybody else goes on at full width.
    assert _ended(wide, free, _fan(wide, free, 20)) == "succeeded"
    assert wide.core.quotas.held(narrow) == 3
    reasons, _ = wide.core.explaining.why(wide.core.engine.run(narrow, held))
    waiting = [r for r in reasons if r.code == "quota"]
    assert len(waiting) == 9
    assert "3 of its 3 concurrent tasks" in waiting[0].message
    wide.let_go()
    assert _ended(wide, narrow, held) == "succeeded"
    assert _most_held(wide, narrow) == 3


def test_a_killed_worker_leaks_no_slot(wide: Live) -> None:
    narrow = _tenant(wide)
    wide.core.quotas.change(narrow, {Quota.CONCURRENT_TASKS: 3})
    doomed = _begin(wide)
    nodes = [wide.holding(f"h{i}") for i in range(8)]
    document = {
        "name": "held",
        "nodes": [
            {"id": n["id"], "type": n["type"], "data": {"config": n["config"]}} for n in nodes
        ],
        "edges": [],
    }
    run_id, _ = wide.core.engine.execute(narrow, document)

    def running() -> bool:
        tasks = wide.core.store.reads.tasks(run_id)
        return sum(t.state == "running" for t in tasks) == 3

    wait_for(running, timeout_s=20, what="three running tasks")
    family = psutil.Process(doomed.pid).children(recursive=True)
    for process in [psutil.Process(doomed.pid), *family]:
        os.kill(process.pid, signal.SIGKILL)
    doomed.wait()
    wide.let_go()
    wide.worker()
    assert _ended(wide, narrow, run_id) == "succeeded"
    assert _most_held(wide, narrow) == 3
    assert wide.core.quotas.held(narrow) == 0


def test_runs_a_minute_are_counted_exactly(wide: Live) -> None:
    tenant_id = _tenant(wide)
    wide.core.quotas.change(tenant_id, {Quota.RUNS_PER_MINUTE: 3})
    document = {"name": "one", "nodes": [{"id": "a", "type": "noop"}], "edges": []}
    for _ in range(3):
        wide.core.engine.execute(tenant_id, document)
    with pytest.raises(QuotaExceeded) as refused:
        wide.core.engine.execute(tenant_id, document)
    assert 50 <= refused.value.extra["retry_after_s"] <= 60
    # Nothing of the refused run is left, and other tenants do not notice.
    ((count,),) = _rows(wide, "SELECT count(*) FROM workflows WHERE tenant_id = %s", tenant_id)
    assert count == 3
    wide.core.engine.execute(DEFAULT_TENANT, document)


def test_an_artifact_over_the_quota_fails_its_attempt_for_good(wide: Live) -> None:
    tenant_id = _tenant(wide)
    wide.core.quotas.change(tenant_id, {Quota.STORAGE_BYTES: 500_000})
    _begin(wide)
    # An output this large is kept as an artifact.
    value = {"effects": str(wide.effects), "value": "x" * 300_000}
    node = {"type": "python", "data": {"config": {"function": "test.note", "args": value}}}
    nodes = [{"id": "fits", **node}, {"id": "over", **node}]
    document = {
        "name": "large", "nodes": nodes, "edges": [{"source": "fits", "target": "over"}],
        "settings": {"retry": {"max_attempts": 3, "delay_s": 0}},
    }  # fmt: skip
    run_id, _ = wide.core.engine.execute(tenant_id, document)
    assert _ended(wide, tenant_id, run_id) == "failed"
    tasks = {t.node_id: t for t in wide.core.store.reads.tasks(run_id)}
    assert tasks["fits"].state == "succeeded"
    assert (tasks["over"].state, tasks["over"].attempt) == ("failed", 1)
    assert (tasks["over"].error or {})["code"] == "quota_exceeded"
    ((kept,),) = _rows(wide, "SELECT bytes FROM artifact_usage WHERE tenant_id = %s", tenant_id)
    assert kept == sum(a.size_bytes for a in wide.core.artifacts.list(run_id)) > 300_000


def test_the_api_keeps_to_quotas_behind_the_tenant_wall(wide: Live) -> None:
    home = f"/api/v1/quotas/{DEFAULT_TENANT}"
    url, redis = wide.settings.database.url, wide.settings.redis
    with serving(url, redis.url, REDIS__PREFIX=redis.prefix) as web:
        with httpx.Client(base_url=web.url, headers=web.headers) as client:
            answer = client.put(home, json={"concurrent_tasks": 2, "runs_per_minute": 2})
            assert answer.status_code == 200, answer.text
            assert client.get("/api/v1/quotas").json()["items"] == answer.json()["items"]
            other = _tenant(wide)
            assert client.put(f"/api/v1/quotas/{other}", json={"sockets": 7}).status_code == 200
            theirs = client.get(f"/api/v1/quotas/{other}").json()["items"]
            assert {q["name"]: q["limit"] for q in theirs if q["limit"]} == {"sockets": 7}
            assert client.get(f"/api/v1/quotas/{new_id()}").status_code == 404
            assert client.put(f"/api/v1/quotas/{new_id()}", json={}).status_code == 404
            nodes = [{"id": f"n{i}", "type": "noop"} for i in range(5)]
            body = {"definition": {"name": "five", "nodes": nodes, "edges": []}}
            runs = [client.post("/api/v1/workflows/execute", json=body) for _ in range(3)]
            assert [r.status_code for r in runs] == [202, 202, 429]
            assert runs[2].json()["code"] == "quota_exceeded"
            counts = client.get(f"/api/v1/runs/{runs[0].json()['id']}").json()["counts"]
            assert counts == {"queued": 2, "ready": 3}
            counts = client.get(f"/api/v1/runs/{runs[1].json()['id']}").json()["counts"]
            assert counts == {"ready": 5}
            entries = client.get("/api/v1/audit").json()["items"]
            changed = [e for e in entries if e["action"] == "quotas.change_quotas"]
            named = [e for e in changed if e["resource_id"]]
            assert {e["resource_id"] for e in named} == {str(DEFAULT_TENANT), str(other)}
            assert all(e["before"] != e["after"] for e in named)
            _begin(wide)
            for run in runs[:2]:
                assert _ended(wide, DEFAULT_TENANT, UUID(run.json()["id"])) == "succeeded"
    assert _most_held(wide, DEFAULT_TENANT) == 2
