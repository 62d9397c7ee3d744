"""The API without workers, reached through Flask's test client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from orchestrator.adapters.memory.dispatch import MemoryDispatcher
from orchestrator.adapters.memory.live import MemoryChannel
from orchestrator.adapters.memory.runtime import MemoryArtifacts
from orchestrator.adapters.postgres.store import PostgresStore
from orchestrator.bootstrap import core as bootstrap
from orchestrator.bootstrap.core import Core
from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.models.runs.task import Claim, Value
from orchestrator.ports.moves import LogLine, Owner
from orchestrator.ports.reads import RunFilter
from orchestrator.settings import Auth, Redis, Settings, Web
from tests.factories import SECRET_KEY, quick_passwords
from tests.servers import Servers
from web.access.shares import Shares
from web.app import create_app
from web.context import Shared, keep, shared

#: Where this checkout lies: no answer may tell.
HERE = Path(__file__).parents[2]
KEY = "a-key-that-only-tests-know"
MAX_BODY = 64 * 1024
NOWHERE = "postgresql://127.0.0.1:1/none"
#: One node each, or two where the second needs the first.
ONE: dict[str, Any] = {"name": "one", "nodes": [{"id": "a", "type": "noop"}], "edges": []}
TWO: dict[str, Any] = {
    "name": "two",
    "nodes": [{"id": "a", "type": "noop"}, {"id": "b", "type": "noop"}],
    "edges": [{"source": "a", "target": "b"}],
}


@dataclass
class Api:
    """A client that is signed in, and the core behind it."""

    client: FlaskClient
    core: Core
    #: The id of a workflow that is there.
    saved: str = ""

    def call(self, method: str, path: str, **options: Any) -> TestResponse:
        """Send a request below /api/v1, or to an absolute path that starts with `//`."""
        headers = {"Authorization": f"Bearer {KEY}", **options.pop("headers", {})}
        where = path[1:] if path.startswith("//") else f"/api/v1{path}"
        return self.client.open(where, method=method, headers=headers, **options)

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.call("GET", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> TestResponse:
        if body is not None:
            options["json"] = body
        return self.call("POST", path, **options)

    def put(self, path: str, body: Any, **options: Any) -> TestResponse:
        return self.call("PUT", path, json=body, **options)

    def workflow(self, definition: Mapping[str, Any] = TWO) -> str:
        """Save a workflow; return its id."""
        answer = self.post("/workflows", definition)
        assert answer.status_code == 201, answer.text
        return str(answer.json["id"])

    def run(self, definition: Mapping[str, Any] = TWO, **body: Any) -> UUID:
        """Start a run of a definition; return its id."""
        answer = self.post("/workflows/execute", {"definition": definition, **body})
        assert answer.status_code == 202, answer.text
        return UUID(answer.json["id"])

    def claims(self, run_id: UUID) -> list[Claim]:
        """Claim what is queued, as a worker does."""
        tasks = self.core.store.reads.tasks(run_id)
        wanted = [(t.task_no, t.attempt) for t in tasks if t.state == "queued"]
        if not wanted:
            return []
        owner = Owner(worker_id=uuid4(), pid=1)
        moved = self.core.store.moves.claim_attempts(run_id, wanted, claim_id=uuid4(), owner=owner)
        assert moved is not None
        return list(self.core.engine.claimed(moved).claimed)

    def settle(
        self, claim: Claim, output: Any = None, says: tuple[tuple[str, str], ...] = ()
    ) -> None:
        """End a claimed attempt well, with log lines of (level, message)."""
        run = self.core.engine.run(DEFAULT_TENANT, claim.run_id)
        plan = self.core.engine.plan(run.workflow_id, run.version)
        logs = [LogLine(task_no=claim.task_no, level=a, message=b, age_s=0.0) for a, b in says]
        assert self.core.engine.report(claim, Value(output=output), plan, logs=logs) is not None

    def finish(self, run_id: UUID) -> None:
        """Do everything that is left of a run."""
        while claims := self.claims(run_id):
            for claim in claims:
                self.settle(claim, {"no": claim.task_no})

    def stored(self) -> tuple[int, int]:
        """Return how many workflow versions and runs there are."""
        found = self.core.workflows.list(DEFAULT_TENANT, before=None, limit=1000)
        runs = self.core.store.reads.runs(RunFilter(tenant_id=DEFAULT_TENANT, limit=1000))
        return sum(w.version for w in found), len(runs)


def build_core(servers: Servers | None = None, **replace: Any) -> Core:
    """Return a core without workers; keywords replace its parts.

    Without servers it answers what needs none: its routes, and the document.
    """
    clock = bootstrap.SystemClock()
    parts: dict[str, Any] = {
        "store": servers.store if servers else PostgresStore(NOWHERE),
        "channel": MemoryChannel(),
        "dispatcher": MemoryDispatcher(),
        "artifacts": MemoryArtifacts(),
        "clock": clock,
        "passwords": quick_passwords(),
        **replace,
    }
    auth = Auth(admin_key=KEY, secret_key=SECRET_KEY)
    redis = servers.redis if servers else Redis(url="redis://127.0.0.1:1/0")
    settings = Settings(auth=auth, redis=redis, web=Web(max_body_bytes=MAX_BODY, threads=4))
    return bootstrap.build(settings, measured=True, **parts)


_APPS: list[tuple[Settings, Flask]] = []


def _renew(app: Flask, core: Core) -> None:
    was, web = shared(), core.settings.web
    fresh = Shared(
        core=core,
        sockets=Shares(web.sockets),
        waiters=Shares(max(1, web.threads // 2)),
        run_started=was.run_started,
        watching=was.watching,
    )
    keep(app.extensions, fresh)


def app_for(core: Core) -> Flask:
    """Return the application of a core: one built earlier where the settings are the same.

    Building one takes longer than most tests do. What it counted for `/metrics` stays.
    """
    for settings, app in _APPS:
        if settings == core.settings:
            with app.app_context():
                _renew(app, core)
            return app
    _APPS.append((core.settings, create_app(core)))
    return _APPS[-1][1]


@pytest.fixture
def core(servers: Servers) -> Core:
    return build_core(servers)


@pytest.fixture
def app(core: Core) -> Flask:
    return app_for(core)


@pytest.fixture
def api(app: Flask, core: Core) -> Api:
    return Api(app.test_client(), core)


def refused(answer: TestResponse, *statuses: int) -> Mapping[str, Any]:
    """Check that an answer is a proper problem with one of the statuses; return it."""
    assert answer.status_code in statuses, answer.text
    assert answer.content_type == "application/problem+json"
    body: dict[str, Any] = answer.get_json(force=True)
    assert body["status"] == answer.status_code
    assert body["request_id"] == answer.headers["X-Request-Id"]
    assert body["code"]
    assert body["detail"]
    for word in ("Traceback", str(HERE), "site-packages", ".py", "psycopg"):
        assert word not in answer.text
    return body
