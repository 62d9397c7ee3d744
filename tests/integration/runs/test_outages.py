"""Postgres and Redis away in the middle of a run: promises are kept, results are written."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg2
import pytest

from orchestrator.adapters.embedded import EmbeddedServices
from orchestrator.adapters.postgres.migrate import migrate
from orchestrator.errors import EmbeddedUnavailable, StoreUnavailable
from orchestrator.models.runs.run import RunState
from tests.conftest import _unavailable
from tests.integration.invariants import violations
from tests.integration.live import Live, living
from tests.waiting import wait_for


class Servers:
    """Servers of one test alone, to be killed and started again."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._services = EmbeddedServices(home)
        self.endpoints = self._services.start()

    def kill(self, name: str) -> None:
        """kill -9 a server and all its processes."""
        family = [p for p in psutil.Process().children(recursive=True) if self._is(p, name)]
        assert family, f"no {name} to kill"
        for process in family:
            # A backend may end by itself between being listed and being killed.
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(family, timeout=5)

    def _is(self, process: psutil.Process, name: str) -> bool:
        try:
            # Valkey writes its address over its command line; Postgres keeps the folder there.
            said, port = " ".join(process.cmdline()), urlsplit(self.endpoints.redis_url).port
            return name in process.name() and (str(self._home) in said or f":{port}" in said)
        except psutil.NoSuchProcess:
            return False

    def restart(self) -> None:
        """Start both again on what they had, at the ports they had."""
        self._services.stop()
        self._services = EmbeddedServices(self._home)
        assert self._services.start() == self.endpoints

    def stop(self) -> None:
        """End them."""
        self._services.stop()


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    try:
        made = Servers(tmp_path / "servers")
    except EmbeddedUnavailable as error:
        _unavailable(error.detail)
        raise
    yield made
    made.stop()


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
    (postmaster, *_) = [
        p for p in psutil.Process().children(recursive=True) if servers._is(p, "postgres")
    ]
    family = [postmaster, *postmaster.children(recursive=True)]
    for process in family:
        process.send_signal(signal.SIGSTOP)
    stopped_at, beat_s = time.monotonic(), live.settings.worker.beat_s
    live.let_go()
    # Longer than two beats; the worker stops itself a second before its lease of 5 s is over.
    wait_for(lambda: time.monotonic() - stopped_at > 4 * beat_s, what="beats without an answer")
    for process in family:
        process.send_signal(signal.SIGCONT)
    assert live.ended(run_id).state is RunState.SUCCEEDED
    assert len(live.traces("hold")) == 1
    assert "given up" not in live.said("worker")


def _reachable(live: Live, run_id: object) -> bool:
    try:
        live.run(run_id)  # type: ignore[arg-type]
    except StoreUnavailable:
        return False
    return True
