"""Servers that accept and never answer: work survives, and whoever asks hears of it in time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from orchestrator.adapters.postgres.migrate import migrate
from orchestrator.models.runs.run import RunState
from tests.integration.invariants import violations
from tests.integration.live import Live, living
from tests.integration.own_servers import Servers, servers
from tests.waiting import wait_for

__all__ = ["servers"]  # a fixture

#: Longer than silence is borne (5 s) and a lease lasts (5 s), and than beats for Flower are apart.
REDIS_FROZEN_S = 24.0


@pytest.fixture
def live(servers: Servers, tmp_path: Path) -> Iterator[Live]:
    """A scheduler and a worker that tells Flower of itself."""
    url = servers.endpoints.database_url
    migrate(url)
    with living(url, servers.endpoints.redis_url, tmp_path, lease_s=5.0) as installation:
        installation.environment["ZQ_BROKER__FLOWER_EVENTS"] = "true"
        installation.scheduler()
        installation.worker()
        yield installation
        connection = psycopg2.connect(url)
        assert violations(connection) == []
        connection.close()


def test_redis_frozen_for_long_costs_no_worker_and_no_attempt(live: Live, servers: Servers) -> None:
    retry = {"max_attempts": 1, "on_lost": "fail"}
    run_id = live.start([live.holding(retry=retry), {"id": "after"}], ["hold>after"])
    wait_for(lambda: live.traces("hold"), what="the handler to start")
    before = {worker["id"] for worker in live.alive()}
    servers.freeze("valkey")
    frozen_at = time.monotonic()

    def passed() -> bool:
        assert {worker["id"] for worker in live.alive()} == before
        return time.monotonic() - frozen_at > REDIS_FROZEN_S

    wait_for(passed, timeout_s=2 * REDIS_FROZEN_S, what="a long freeze")
    live.let_go()
    wait_for(lambda: live.states(run_id)["hold"] == "succeeded", what="the settle without Redis")
    servers.thaw("valkey")
    assert live.ended(run_id).state is RunState.SUCCEEDED
    assert len(live.traces("hold")) == 1
    assert {worker["id"] for worker in live.alive()} == before
    assert "starts anew" not in live.said("worker")
