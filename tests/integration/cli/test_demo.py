"""`zq demo`: a real run from nothing, twice in a row, and with its workers killed in the middle."""

from __future__ import annotations

import re
import signal
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from orchestrator.adapters.embedded.process import free_port
from orchestrator.cli.commands.apply import read_checked
from orchestrator.demo import DATA_FILES, WORKFLOW_FILE, DataServer
from tests.integration.zq_process import Running, Zq


@pytest.fixture
def zq(tmp_path: Path) -> Zq:
    return Zq(tmp_path / "home", free_port())


def state_lines(lines: list[str], node: str) -> list[str]:
    """Return the moves of a node as the demo printed them."""
    row = re.compile(rf"^\S+  {node} +(?!\|)(.*)$")
    return [found[1] for line in lines if (found := row.match(line))]


def test_the_workflow_is_no_toy() -> None:
    definition = read_checked(WORKFLOW_FILE)
    types = [node["type"] for node in definition["nodes"]]
    assert len(types) >= 12
    assert types.count("http") >= 2
    assert {"http", "transform", "python", "branch", "wait"} == set(types)


def test_the_data_server_serves_real_files_and_refuses_one_once() -> None:
    with DataServer() as data:
        answers = [httpx.get(f"{data.url}/{name}") for name in (*DATA_FILES, DATA_FILES[0])]
        assert [answer.status_code for answer in answers] == [503, 200, 200, 200]
        assert answers[0].headers["Retry-After"] == "1"
        assert all(len(answer.text.splitlines()) > 1000 for answer in answers[1:])
        for path in ("../core.py", "%2e%2e/core.py", "core.py", ""):
            assert httpx.get(f"{data.url}/{path}").status_code == 404


def test_the_demo_runs_twice_in_a_row_and_leaves_nothing(zq: Zq) -> None:
    for _ in range(2):
        done = zq.run("demo", timeout_s=120)
        assert done.returncode == 0, done.stdout + done.stderr
        lines = done.stdout.splitlines()
        assert any(line.startswith("ready: ") for line in lines)
        assert state_lines(lines, "fetch_days")[-1] == "succeeded (attempt 2)"
        assert state_lines(lines, "mild_city") == ["skipped: upstream_skipped"]
        assert state_lines(lines, "report")[-1] == "succeeded"
        assert "result: San Francisco was the warmer city on 291 days of 2010" in done.stdout
        chart = next(Path(line.split()[1]) for line in lines if "climate.svg" in line)
        assert "<svg" in chart.read_text()
        assert zq.processes() == []


def kill_workers(demo: Running, name: str) -> None:
    """Kill -9 processes below the demo's worker: its supervisor, Celery, or the pool's children."""
    supervisor = demo.children()["workers.supervisor"]
    celery = supervisor.children()
    targets = {
        "supervisor": [supervisor],
        "celery": celery,
        "child": [child for process in celery for child in process.children()],
    }[name]
    assert targets
    for target in targets:
        with suppress(psutil.NoSuchProcess):
            target.send_signal(signal.SIGKILL)


@pytest.mark.parametrize("victim", ["child", "celery", "supervisor"])
def test_the_demo_survives_kill_9(zq: Zq, victim: str) -> None:
    demo = zq.start("demo")
    try:
        demo.said("daily_means          running", timeout_s=60)
        kill_workers(demo, victim)
        demo.said("run succeeded", timeout_s=90)
    finally:
        demo.popen.wait(60)
    assert demo.end() == 0, demo.lines
    zq.nothing_left(timeout_s=5)


def test_the_demo_survives_a_killed_api(zq: Zq) -> None:
    demo = zq.start("demo")
    try:
        demo.said("daily_means          running", timeout_s=60)
        demo.children()["web.server.serve"].kill()
        demo.said("run succeeded", timeout_s=60)
    finally:
        demo.popen.wait(60)
    assert demo.end() == 0, demo.lines
    assert sum("report " in line and line.endswith("succeeded") for line in demo.lines) == 1


def test_the_demo_uses_what_runs_already_and_leaves_it_alone(zq: Zq) -> None:
    with zq.up() as up:
        done = zq.run("demo", timeout_s=60)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.splitlines()[-1] == f"`zq up` (pid {up.popen.pid}) goes on"
        assert up.popen.poll() is None
        listed = zq.run("runs", "list", "--state", "succeeded")
        assert "weather-report" in listed.stdout


def test_keep_leaves_everything_running_until_it_is_stopped(zq: Zq) -> None:
    demo = zq.start("demo", "--keep")
    try:
        demo.said("still running at ", timeout_s=90)
        assert zq.run("run", "weather-report").returncode == 1
        assert zq.run("runs", "list").returncode == 0
    finally:
        assert demo.end() == 0
    zq.nothing_left(timeout_s=5)
