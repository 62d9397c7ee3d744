"""The living installation that is attacked: server, worker and scheduler as processes, with logs.

`Stack.unharmed` is what must hold after every case; `refused` is how a refusal looks.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg2

from tests.conftest import Databases
from tests.factories import SECRET_KEY
from tests.integration.invariants import violations
from tests.integration.live import Live, living
from tests.integration.serving import KEY, ROOT
from tests.waiting import wait_for

#: What no answer and no log may hold: credentials, and something only the environment knows.
CANARY = "canary-5b1e0c9a7d"
#: What an answer may not say of the inside.
_INSIDE = ("Traceback", "site-packages", '.py"', "psycopg", "sqlalchemy", "SELECT ", str(ROOT))


class Stack:
    """One installation under attack."""

    def __init__(self, live: Live, url: str) -> None:
        self.live = live
        self.url = url
        self.headers = {"Authorization": f"Bearer {KEY}"}
        self.http = httpx.Client(base_url=f"{url}/api/v1", headers=self.headers, timeout=30)
        self.pids = self.processes()

    def processes(self) -> dict[int, float]:
        """Return every process of the installation with the time it began."""
        found: dict[int, float] = {}
        for process in self.live.processes:
            for each in [(p := psutil.Process(process.pid)), *p.children(recursive=True)]:
                found[each.pid] = each.create_time()
        return found

    def unharmed(self) -> None:
        """Check that the server answers, and that no process has died or begun."""
        assert httpx.get(f"{self.url}/healthz", timeout=10).status_code == 200
        assert self.processes() == self.pids

    def logs(self) -> str:
        """Return all that the processes have written."""
        return "".join(p.read_text("utf-8", "replace") for p in self.live.folder.glob("*.log"))

    def whole(self) -> None:
        """Check the record and the logs: every promise kept, nothing secret told, no failure."""
        connection = psycopg2.connect(self.live.settings.database.url)
        try:
            assert wait_for(lambda: not violations(connection) or connection.rollback())
        finally:
            connection.close()
        said = self.logs()
        for secret in (CANARY, KEY, SECRET_KEY):
            assert secret not in said
        assert '"level":"error"' not in said, re.findall(r'.*"level":"error".*', said)[:3]

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
        live.spawn("web", "-m", "web.serve")
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
            stack.http.close()


def _started(live: Live, folder: Path) -> str:
    try:
        return wait_for(lambda: _address(folder), timeout_s=60)
    except AssertionError as error:
        raise AssertionError(f"the server did not start: {live.said('web')}") from error


def _address(folder: Path) -> str | None:
    said = "".join(p.read_text() for p in folder.glob("web-*.log"))
    found = re.search(r"^web: (http://\S+)$", said, re.MULTILINE)
    return found[1] if found else None
