"""`zq up` when a server of its own dies: it starts it again, and runs go on."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import Any

import httpx

from orchestrator.adapters.embedded.process import free_port, recorded_pid
from tests.integration.zq_process import Running, Zq
from tests.waiting import wait_for

FLOW = {
    "name": "rest",
    "nodes": [
        {"id": "rest", "type": "wait", "data": {"config": {"seconds": 3}}},
        {"id": "end", "type": "noop"},
    ],
    "edges": [{"id": "e", "source": "rest", "target": "end"}],
}


def _kill(zq: Zq, name: str) -> None:
    pid = recorded_pid(zq.home / f"{name}.json")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def test_a_server_that_dies_is_started_again_and_runs_go_on(tmp_path: Path) -> None:
    zq = Zq(tmp_path / "home", free_port())
    with zq.up() as up:
        api = f"http://127.0.0.1:{zq.env['ZQ_WEB__PORT']}/api/v1"
        key = (zq.home / "admin.key").read_text().strip()
        client = httpx.Client(base_url=api, headers={"Authorization": f"Bearer {key}"}, timeout=20)

        def run() -> str:
            answer = client.post("/workflows/execute", json={"definition": FLOW})
            return str(answer.raise_for_status().json()["id"])

        def ended(run_id: str) -> dict[str, Any] | None:
            with contextlib.suppress(httpx.HTTPError):
                answer = client.get(f"/runs/{run_id}")
                if answer.status_code == 200 and answer.json()["finished_at"]:
                    found: dict[str, Any] = answer.json()
                    return found
            return None

        for name in ("redis", "postgres"):
            run_id = run()
            _kill(zq, name)
            _said(up, name, "ended by itself")
            _said(up, name, "runs again")
            assert up.popen.poll() is None
            found = wait_for(lambda: ended(run_id), timeout_s=60, what=f"the run ({name})")  # noqa: B023
            assert found["state"] == "succeeded"
        assert ended(run()) is None
        client.close()
    zq.nothing_left()


def test_a_server_that_cannot_be_started_again_ends_it_with_the_reason(tmp_path: Path) -> None:
    zq = Zq(tmp_path / "home", free_port())
    with zq.up() as up:
        data = zq.home / "postgres" / "data"
        (data / "PG_VERSION").write_text("9\n")
        _kill(zq, "postgres")
        _said(up, "postgres", "could not be started")
        assert up.popen.wait(60) != 0
        assert up.said("could not be started again (3 tries)")
        assert "PostgreSQL 9" in "\n".join(up.lines)
    zq.nothing_left()


def _said(up: Running, name: str, part: str) -> None:
    def look() -> bool:
        return any(line.startswith(name) and part in line for line in list(up.lines))

    wait_for(look, timeout_s=60, what=f"{name}: {part} in {up.lines}")
