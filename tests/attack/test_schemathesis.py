"""The API document against a living installation: no 5xx, nothing that the document does not say.

All checks that Schemathesis has, signed in with the admin key. A short form runs with all tests;
`make attack` runs it for minutes (`ZQ_ATTACK_MINUTES`).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.attack.stack import Stack, standing
from tests.conftest import Databases
from tests.integration.serving import KEY, ROOT

SHORT_S = 60
CONFIG = Path(__file__).with_name("schemathesis.toml")


def seconds() -> int:
    """Return how long to go on."""
    minutes = os.environ.get("ZQ_ATTACK_MINUTES", "")
    return max(10, round(float(minutes) * 60)) if minutes else SHORT_S


@pytest.fixture(scope="module")
def stack(
    databases: Databases, redis_server_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """One of its own: what it leaves behind is in nobody's way."""
    with standing(databases, redis_server_url, tmp_path_factory.mktemp("document")) as made:
        yield made


def seed(stack: Stack) -> None:
    """Let there be something to find."""
    nodes = [{"id": "a", "type": "noop"}, {"id": "b", "type": "noop"}]
    definition = {"name": "seed", "nodes": nodes, "edges": [{"source": "a", "target": "b"}]}
    workflow_id = stack.http.post("/workflows", json=definition).json()["id"]
    answer = stack.http.post(f"/workflows/{workflow_id}/runs", params={"wait": 20}, json={})
    assert answer.json()["state"] == "succeeded", answer.text


def test_the_document_holds_under_attack(stack: Stack, tmp_path: Path) -> None:
    seed(stack)
    command = [
        sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run",
        f"{stack.url}/api/v1/openapi.json",
        "--header", f"Authorization: Bearer {KEY}",
        "--checks", "all",
        # In its place stands `gone_after_free`.
        "--exclude-checks", "use_after_free",
        "--max-time", str(seconds()),
        "--request-timeout", "70",
        # In one thread: parsing Python in two at once fails in some releases of 3.11.
        "--workers", "1",
        "--continue-on-failure",
        "--no-color",
        "--exclude-path-regex", "/stream$|/ws$",
    ]  # fmt: skip
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT),
        "SCHEMATHESIS_HOOKS": "tests.attack.schemathesis_checks",
    }  # fmt: skip
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True,
        timeout=seconds() * 2 + 240, check=False,
    )  # fmt: skip
    # A generated address may be of any length.
    told = "\n".join(line[:600] for line in ended.stdout.splitlines())
    assert ended.returncode == 0, told[-30_000:] + ended.stderr[-2_000:]
    assert httpx.get(f"{stack.url}/readyz").json()["status"] == "ready"
