"""The living installation that is attacked: server, worker and scheduler as processes, with logs.

Two tenants live there. `Stack.unharmed` is what must hold after every case, `refused` is how a
refusal looks.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psutil
import psycopg2

from orchestrator.models.ids import DEFAULT_TENANT
from tests.conftest import Databases
from tests.factories import SECRET_KEY
from tests.integration.invariants import violations
from tests.integration.live import Live, living
from tests.integration.serving import KEY, ROOT
from tests.integration.tenants import whoever
from tests.waiting import wait_for

#: What no answer and no log may hold: credentials, and a secret of another tenant that the
#: environment knows as well.
CANARY = "canary-5b1e0c9a7d"
#: What an answer may not say of the inside.
_INSIDE = ("Traceback", "site-packages", '.py"', "psycopg", "sqlalchemy", "SELECT ", str(ROOT))


#: How a log tells that something went wrong in a way that nobody thought of.
_FAILURES = ('"level":"error"', "Traceback (most recent call last)")


class Stack:
    """One installation under attack."""

    def __init__(self, live: Live, url: str) -> None:
        self.live = live
        self.url = url
        self.headers = {"Authorization": f"Bearer {KEY}"}
        self.http = httpx.Client(base_url=f"{url}/api/v1", headers=self.headers, timeout=30)
        #: With no credential, and cookies only until the next request.
        self._bare = httpx.Client(base_url=url, timeout=30)
        self.pids = self.processes()
        self._record = psycopg2.connect(live.settings.database.url)
        # One moment for all queries: runs may be on their way.
        self._record.set_session(isolation_level="REPEATABLE READ")
        #: How far each log was read.
        self._read: dict[Path, int] = {}

    def close(self) -> None:
        """Let go of what this process holds open."""
        self.http.close()
        self._bare.close()
        self._record.close()

    def tenant(self) -> UUID:
        """Make a tenant."""
        answer = self.http.post("/tenants", json={"name": f"tenant {time.monotonic_ns()}"})
        assert answer.status_code == 201, answer.text
        return UUID(answer.json()["id"])

    def key(self, *roles: str, tenant_id: UUID = DEFAULT_TENANT) -> str:
        """Return a new key of these roles."""
        _, key = self.live.core.access.keys.create(
            whoever(tenant_id), name=f"key {time.monotonic_ns()}", roles=roles
        )
        return key

    def ask(
        self, method: str, path: str, credential: str | None = None, **options: Any
    ) -> httpx.Response:
        """Send one request, as nobody by default, and without the cookies of the last one."""
        headers = {"Authorization": f"Bearer {credential}"} if credential is not None else {}
        headers |= options.pop("headers", {})
        self._bare.cookies.clear()
        return self._bare.request(method, f"/api/v1{path}", headers=headers, **options)

    def processes(self) -> dict[int, float]:
        """Return every process of the installation with the time it began."""
        found: dict[int, float] = {}
        for process in self.live.processes:
            for each in [(p := psutil.Process(process.pid)), *p.children(recursive=True)]:
                found[each.pid] = each.create_time()
        return found

    def unharmed(self) -> None:
        """Check that the server answers, that no process has died or begun, that the record keeps
        every promise, and that the logs tell of no failure and no secret since the last time."""
        assert self._bare.get("/healthz").status_code == 200
        assert self.processes() == self.pids
        assert self.broken() == []
        _tells_no_failure(self._said())

    def broken(self) -> list[str]:
        """Return the promises that the record breaks at this moment."""
        try:
            return violations(self._record)
        finally:
            self._record.rollback()

    def _said(self) -> str:
        """Return what the processes have written since the last time, in whole lines."""
        found = []
        for path in self.live.folder.glob("*.log"):
            with path.open("rb") as log:
                log.seek(self._read.get(path, 0))
                new = log.read()
            new = new[: new.rfind(b"\n") + 1]
            self._read[path] = self._read.get(path, 0) + len(new)
            found.append(new.decode("utf-8", "replace"))
        return "".join(found)

    def logs(self) -> str:
        """Return all that the processes have written."""
        return "".join(p.read_text("utf-8", "replace") for p in self.live.folder.glob("*.log"))

    def whole(self) -> None:
        """Check once more all that was recorded and said, when nothing moves."""
        assert wait_for(lambda: not self.broken())
        _tells_no_failure(self.logs())

    def stored(self) -> list[tuple[str, int]]:
        """Return how many rows each table has."""
        tables = ("workflows", "workflow_versions", "runs", "tasks", "events", "idempotency_keys")
        connection = psycopg2.connect(self.live.settings.database.url)
        try:
            with connection.cursor() as cursor:
                cursor.execute(
                    " UNION ALL ".join(f"SELECT '{t}', count(*) FROM {t}" for t in tables)
                )
                return list(cursor.fetchall())
        finally:
            connection.close()

    def run(self, *nodes: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        """Run nodes to their end over HTTP and return the run."""
        definition = {"name": f"attack {time.monotonic_ns()}", "nodes": list(nodes), **more}
        answer = self.http.post(
            "/workflows/execute", params={"wait": 25}, json={"definition": definition}
        )
        assert answer.status_code == 202, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def task(self, run: Mapping[str, Any], node_id: str) -> dict[str, Any]:
        """Return a task of a run."""
        found: dict[str, Any] = self.http.get(f"/runs/{run['id']}/tasks/{node_id}").json()
        return found


def refused(answer: httpx.Response, *statuses: int) -> dict[str, Any]:
    """Check that an answer is a problem that tells nothing of the inside; return it."""
    assert answer.status_code in statuses, (answer.status_code, answer.text[:500])
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["X-Request-Id"]
    assert "Set-Cookie" not in answer.headers
    tells_nothing(answer)
    problem: dict[str, Any] = answer.json()
    assert problem["code"]
    assert problem["detail"]
    return problem


def _tells_no_failure(said: str) -> None:
    """Check that lines of logs show no secret and no failure."""
    for secret in (CANARY, KEY, SECRET_KEY):
        assert secret not in said
    failures = [line for line in said.splitlines() if any(word in line for word in _FAILURES)]
    assert not failures, [line[:2000] for line in failures[:3]]


def tells_nothing(answer: httpx.Response) -> None:
    """Check that an answer is no failure, and shows neither secrets nor the inside."""
    assert answer.status_code < 500, answer.text[:500]
    for word in (*_INSIDE, CANARY, KEY, SECRET_KEY):
        assert word not in answer.text, word


@contextmanager
def standing(
    databases: Databases, redis_url: str, folder: Path, **settings: str
) -> Iterator[Stack]:
    """Start everything, and check at the end that nothing was broken on the way."""
    with living(databases.migrated(), redis_url, folder) as live:
        live.environment |= {
            "ZQ_AUTH__ADMIN_KEY": KEY, "ZQ_WEB__PORT": "0", "ZQ_WEB__THREADS": "4",
            "ZQ_WORKER__MODULES": "tests.integration.functions,tests.attack.functions",
            "ATTACK_CANARY": CANARY, **settings,
        }  # fmt: skip
        live.spawn("web", "-m", "web.server.serve")
        live.scheduler()
        live.worker()
        stack = Stack(live, _started(live, folder))
        # The pool's children and the server's process are there before the first attack.
        assert stack.run({"id": "a", "type": "noop"})["state"] == "succeeded"
        stack.pids = stack.processes()
        try:
            yield stack
            stack.unharmed()
            stack.whole()
        finally:
            stack.close()


def _started(live: Live, folder: Path) -> str:
    try:
        return wait_for(lambda: _address(folder), timeout_s=60)
    except AssertionError as error:
        raise AssertionError(f"the server did not start: {live.said('web')}") from error


def _address(folder: Path) -> str | None:
    said = "".join(p.read_text() for p in folder.glob("web-*.log"))
    found = re.search(r"^web: (http://\S+)$", said, re.MULTILINE)
    return found[1] if found else None
