"""The embedded servers after a crash: nothing committed is lost, and nothing stands in the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.adapters.embedded import EmbeddedServices, running
from orchestrator.adapters.embedded.process import recorded_pid, started
from orchestrator.process.private_files import private_folder
from tests.integration.embedded_rig import assert_kept, home, keep, launch, query
from tests.waiting import wait_for

__all__ = ["home", "launch"]  # fixtures

ON_LINUX = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells a child of its parent's end"
)


@ON_LINUX
def test_servers_end_with_a_killed_launcher(home: Path, launch: Callable[..., object]) -> None:
    launcher = launch()
    endpoints = running(home)
    assert endpoints
    keep(endpoints)
    launcher.kill()
    records = [home / "postgres.json", home / "redis.json"]
    wait_for(lambda: not any(recorded_pid(record) for record in records), timeout_s=20)
    assert running(home) is None
    with EmbeddedServices(home) as again:
        assert_kept(again)


def test_a_start_takes_over_what_a_killed_launcher_left(
    home: Path, launch: Callable[..., object]
) -> None:
    launcher = launch("thread")
    endpoints = running(home)
    assert endpoints
    keep(endpoints)
    left = recorded_pid(home / "postgres.json"), recorded_pid(home / "redis.json")
    launcher.kill()
    launcher.wait()
    assert all(left)
    assert running(home) is None
    with EmbeddedServices(home) as again:
        assert_kept(again)
        assert [started(pid or 0) for pid in left] == [None, None]


def test_a_commit_survives_kill_9_of_everything(home: Path, launch: Callable[..., object]) -> None:
    launcher = launch()
    endpoints = running(home)
    assert endpoints
    keep(endpoints)
    backends = query(endpoints, "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    servers = [recorded_pid(home / "postgres.json"), recorded_pid(home / "redis.json")]
    launcher.kill()
    for pid in [*servers, *(row[0] for row in backends)]:
        try:
            os.kill(int(str(pid)), signal.SIGKILL)
        except ProcessLookupError:
            continue
    with EmbeddedServices(home) as again:
        assert again == endpoints
        assert_kept(again)


def test_a_torn_redis_file_is_cut_not_fatal(home: Path) -> None:
    with EmbeddedServices(home) as endpoints:
        keep(endpoints)
    tail = next((home / "redis/appendonlydir").glob("*.incr.aof"))
    with tail.open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$4\r\nto")
    with EmbeddedServices(home) as again:
        assert_kept(again)


def test_a_pid_file_whose_pid_is_someone_elses_is_no_obstacle(home: Path) -> None:
    with EmbeddedServices(home) as endpoints:
        keep(endpoints)
        pid_file = home / "postgres/data/postmaster.pid"
        lines = pid_file.read_text().splitlines()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        pid_file.write_text("\n".join([str(other.pid), *lines[1:]]) + "\n")
        with EmbeddedServices(home) as again:
            assert_kept(again)
        other.communicate(b"\n")


def test_a_killed_initdb_is_started_over(home: Path) -> None:
    private_folder(home / "postgres/data.new/base")
    with EmbeddedServices(home) as endpoints:
        assert query(endpoints, "SELECT 1") == [(1,)]


def test_a_dead_server_is_noticed_and_started_again_where_it_was(home: Path) -> None:
    services = EmbeddedServices(home)
    endpoints = services.start()
    try:
        assert services.ended() == []
        os.kill(recorded_pid(home / "redis.json") or 0, signal.SIGKILL)
        wait_for(lambda: services.ended() == ["Redis"])
        services.restart("Redis")
        assert services.ended() == []
        assert running(home) == endpoints
    finally:
        services.stop()
