"""Servers that accept and never answer: work survives, and whoever asks hears of it in time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psycopg2
import pytest

from orchestrator.adapters.postgres.migrate import migrate
from orchestrator.models.runs.run import RunState
from tests.gate import Gate
from tests.integration.conftest import nothing_broken
from tests.integration.invariants import violations
from tests.integration.live import Live, living
from tests.integration.own_servers import Servers, servers
from tests.integration.serving import Web, serving
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


def test_a_child_whose_line_to_postgres_went_silent_settles_over_another(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """Whatever it sends is taken, so that no timeout of TCP helps; others have no trouble."""
    with through(database_url) as (gate, url), living(database_url, redis_url, tmp_path) as live:
        live.scheduler()
        live.environment |= {"ZQ_DATABASE__URL": url, "ZQ_DATABASE__STATEMENT_TIMEOUT_S": "1"}
        live.worker()
        run_id = live.start([live.holding(), {"id": "after"}], ["hold>after"])
        wait_for(lambda: live.traces("hold"), what="the handler to start")
        gate.stall()
        live.let_go()
        # A second for the statement, five for its answer.
        assert live.ended(run_id, timeout_s=20).state is RunState.SUCCEEDED
        assert len(live.traces("hold")) == 1
        nothing_broken(database_url)


def test_the_api_says_503_within_5_s_of_a_silent_postgres(
    database_url: str, redis_url: str
) -> None:
    with through(database_url) as (gate, url), serving(url, redis_url) as web:
        _ready(web)
        gate.freeze()
        _says_503_in_time(web)
        gate.reopen()
        _ready(web)


def test_the_api_says_503_within_5_s_of_a_frozen_postgres(servers: Servers, tmp_path: Path) -> None:
    migrate(servers.endpoints.database_url)
    with serving(servers.endpoints.database_url, servers.endpoints.redis_url) as web:
        _ready(web)
        servers.freeze("postgres")
        _says_503_in_time(web)
        servers.thaw("postgres")
        _ready(web)


@contextmanager
def through(url: str) -> Iterator[tuple[Gate, str]]:
    """Yield a gate before a server, and the address at which it is reached through that."""
    server = urlsplit(url)
    with Gate(server.hostname or "", server.port or 0) as gate:
        netloc = server.netloc.replace(f":{server.port}", f":{gate.port}")
        yield gate, server._replace(netloc=netloc).geturl()


def _ready(web: Web) -> None:
    def answers() -> bool:
        paths = ("/readyz", "/api/v1/runs", "/api/v1/workflows")
        return all(_get(web, path).status_code == 200 for path in paths)

    wait_for(answers, timeout_s=20, what="an API that is ready")


def _get(web: Web, path: str) -> httpx.Response:
    return httpx.get(web.url + path, headers=web.headers, timeout=20)


def _says_503_in_time(web: Web) -> None:
    """Ask with more requests than the API has threads for a third of, each twice."""
    paths = ["/readyz", "/api/v1/runs", "/api/v1/workflows"] * 2
    with ThreadPoolExecutor(len(paths)) as pool:
        for _ in range(2):
            began = time.monotonic()
            told = list(pool.map(lambda path: _get(web, path), paths))
            took_s = time.monotonic() - began
            assert [each.status_code for each in told] == [503] * len(paths)
            assert all(int(each.headers["Retry-After"]) > 0 for each in told)
            assert took_s < 5.0
