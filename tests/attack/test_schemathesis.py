"""The API document against a living installation: no 5xx, nothing that the document does not say.

A short form runs with all tests; `make attack` runs it for minutes (`ZQ_ATTACK_MINUTES`).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg2
import pytest

from tests.conftest import Databases
from tests.integration.invariants import violations
from tests.integration.live import Live, living
from tests.integration.serving import KEY, Web, serving

SHORT_S = 20
CONFIG = Path(__file__).with_name("schemathesis.toml")
#: What it must not find.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "missing_required_header",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
)


def seconds() -> int:
    """Return how long to go on."""
    minutes = os.environ.get("ZQ_ATTACK_MINUTES", "")
    return max(10, round(float(minutes) * 60)) if minutes else SHORT_S


@pytest.fixture(scope="module")
def stack(
    databases: Databases, redis_server_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Live, Web]]:
    """A scheduler, a worker and a server."""
    url = databases.migrated()
    folder = tmp_path_factory.mktemp("attack")
    with living(url, redis_server_url, folder) as live:
        live.scheduler()
        live.worker()
        prefix = live.settings.redis.prefix
        more = {"HOME": live.settings.home, "REDIS__PREFIX": prefix, "WEB__THREADS": 4}
        with serving(url, redis_server_url, **more) as web:
            yield live, web


def seed(web: Web) -> None:
    """Let there be something to find."""
    with httpx.Client(base_url=f"{web.url}/api/v1", headers=web.headers, timeout=60) as api:
        nodes = [{"id": "a", "type": "noop"}, {"id": "b", "type": "noop"}]
        definition = {"name": "seed", "nodes": nodes, "edges": [{"source": "a", "target": "b"}]}
        workflow_id = api.post("/workflows", json=definition).json()["id"]
        answer = api.post(f"/workflows/{workflow_id}/runs", params={"wait": 20}, json={})
        assert answer.json()["state"] == "succeeded", answer.text


def test_the_document_holds_under_attack(stack: tuple[Live, Web], tmp_path: Path) -> None:
    live, web = stack
    seed(web)
    command = [
        sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run",
        f"{web.url}/api/v1/openapi.json",
        "--header", f"Authorization: Bearer {KEY}",
        "--checks", ",".join(CHECKS),
        "--max-time", str(seconds()),
        "--request-timeout", "70",
        "--workers", "2",
        "--continue-on-failure",
        "--no-color",
        "--exclude-path-regex", "/stream$|/ws$",
    ]  # fmt: skip
    workers = {w["id"] for w in live.alive()}
    ended = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=seconds() * 2 + 240,
        check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout[-30_000:] + ended.stderr[-2_000:]
    assert httpx.get(f"{web.url}/readyz").json()["status"] == "ready"
    assert web.process.poll() is None
    assert {w["id"] for w in live.alive()} == workers
    connection = psycopg2.connect(live.settings.database.url)
    try:
        assert violations(connection) == []
    finally:
        connection.close()
