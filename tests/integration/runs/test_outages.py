"""Postgres and Redis away in the middle of a run: promises are kept, results are written."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from orchestrator.adapters.postgres.migrate import migrate
from orchestrator.errors import StoreUnavailable
from orchestrator.models.runs.run import RunState
from tests.integration.invariants import violations
from tests.integration.live import Live, living
from tests.integration.own_servers import Servers, servers
from tests.waiting import wait_for

__all__ = ["servers"]  # a fixture


@pytest.fixture
def live(servers: Servers, tmp_path: Path) -> Iterator[Live]:
    migrate(servers.endpoints.database_url)
    with living(
        servers.endpoints.database_url, servers.endpoints.redis_url, tmp_path, lease_s=5.0
    ) as installation:
        installation.scheduler()
        installation.worker()
        yield installation
        connection = psycopg2.connect(servers.endpoints.database_url)
        assert violations(connection) == []
        connection.close()


def test_a_worker_keeps_its_result_until_postgres_is_back(live: Live, servers: Servers) -> None:
    run_id = live.start([live.holding(), {"id": "after"}], ["hold>after"])
    wait_for(lambda: live.traces("hold"), what="the handler to start")
    servers.kill("postgres")
    live.let_go()
    with pytest.raises(StoreUnavailable):
        live.run(run_id)
    wait_for(lambda: "Postgres" in live.said("worker"), what="the worker to find Postgres away")
    servers.restart()
    wait_for(lambda: _reachable(live, run_id), timeout_s=20, what="Postgres to be back")
    assert live.ended(run_id).state is RunState.SUCCEEDED
    assert len(live.traces("hold")) == 1


def test_a_run_that_starts_without_redis_runs_when_redis_is_back(
    live: Live, servers: Servers
) -> None:
    servers.kill("valkey")
    run_id = live.start([{"id": "a"}, {"id": "b"}], ["a>b"])
    assert live.run(run_id).state is RunState.QUEUED
    servers.restart()
    wait_for(lambda: _reachable(live, run_id), timeout_s=20, what="Postgres to be back")
    assert live.ended(run_id, timeout_s=60).state is RunState.SUCCEEDED


def test_redis_killed_under_work_costs_no_attempt(live: Live, servers: Servers) -> None:
    nodes = [live.holding(), *({"id": f"n{i}"} for i in range(5))]
    run_id = live.start(nodes, [f"hold>n{i}" for i in range(5)])
    wait_for(lambda: live.traces("hold"), what="the handler to start")
    servers.kill("valkey")
    live.let_go()
    wait_for(lambda: live.states(run_id)["hold"] == "succeeded", what="the settle without Redis")
    servers.restart()
    wait_for(lambda: _reachable(live, run_id), timeout_s=20, what="Postgres to be back")
    assert live.ended(run_id, timeout_s=60).state is RunState.SUCCEEDED
    assert len(live.traces("hold")) == 1


def test_postgres_stopped_for_a_while_is_no_reason_to_give_up(live: Live, servers: Servers) -> None:
    run_id = live.start([live.holding(timeout_s=120)])
    wait_for(lambda: live.traces("hold"), what="the handler to start")
    servers.freeze("postgres")
    stopped_at, beat_s = time.monotonic(), live.settings.worker.beat_s
    live.let_go()
    # Longer than two beats; the worker stops itself a second before its lease of 5 s is over.
    wait_for(lambda: time.monotonic() - stopped_at > 4 * beat_s, what="beats without an answer")
    servers.thaw("postgres")
    assert live.ended(run_id).state is RunState.SUCCEEDED
    assert len(live.traces("hold")) == 1
    assert "starts anew" not in live.said("worker")


def _reachable(live: Live, run_id: object) -> bool:
    try:
        live.run(run_id)  # type: ignore[arg-type]
    except StoreUnavailable:
        return False
    return True
