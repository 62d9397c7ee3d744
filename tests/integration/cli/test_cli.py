"""`zq up` from its first line to its last process, and the verbs that talk to it."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from orchestrator.adapters.embedded.process import free_port
from orchestrator.bootstrap import core as bootstrap
from orchestrator.settings import Settings
from tests.integration.zq_process import Zq
from tests.waiting import wait_for

FLOW = """\
name: greet
inputs:
  name: {type: string, required: true}
  seconds: {type: number, default: 0}
  fails: {type: boolean, default: false}
settings: {output: nodes.greet.output}
nodes:
  rest: {type: wait, config: {seconds: "{{ inputs.seconds }}"}}
  greet: {type: transform, needs: [rest], config: {expression: "'hello ' + inputs.name"}}
  check:
    type: transform
    needs: [greet]
    config: {expression: "inputs.fails ? 1 / 0 : 1"}
"""


@pytest.fixture(scope="module")
def zq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zq]:
    """An installation that is up, with the workflow `greet`."""
    made = Zq(tmp_path_factory.mktemp("cli") / "home", free_port())
    with made.up("--workers", "1"):
        file = made.home.parent / "greet.yaml"
        file.write_text(FLOW)
        applied = made.run("apply", "-f", str(file))
        assert (applied.returncode, applied.stdout) == (0, "greet: created, version 1\n")
        yield made
    made.nothing_left()


def test_apply_again_changes_nothing_and_a_change_makes_a_version(zq: Zq) -> None:
    file = zq.home.parent / "changed.yaml"
    file.write_text(FLOW.replace("name: greet\n", "name: twice\n", 1))
    said = [zq.run("apply", "-f", str(file)).stdout for _ in range(2)]
    file.write_text(file.read_text().replace("hello", "hi"))
    said.append(zq.run("apply", "-f", str(file)).stdout)
    assert said == [
        "twice: created, version 1\n",
        "twice: unchanged, version 1\n",
        "twice: changed, version 2\n",
    ]


def test_workflows_are_listed_and_shown(zq: Zq) -> None:
    listed = json.loads(zq.run("workflow", "list", "-o", "json").stdout)
    assert "greet" in {workflow["name"] for workflow in listed}
    shown = zq.run("workflow", "get", "greet").stdout
    assert "transform" in shown
    assert "rest" in shown
    missing = zq.run("workflow", "get", "nobody")
    assert missing.returncode == 1
    assert "nobody" in missing.stderr
    assert len(missing.stderr.splitlines()) == 1


def test_run_follow_shows_each_move_and_prints_the_output(zq: Zq) -> None:
    done = zq.run("run", "greet", "-i", "name=Ada", "-i", "seconds=0.2", "--follow")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    for line in ("rest", "greet", "check"):
        assert any(line in row and "succeeded" in row for row in done.stdout.splitlines())
    assert done.stdout.splitlines()[-1] == '"hello Ada"'


def test_a_followed_run_that_fails_is_exit_code_1(zq: Zq) -> None:
    done = zq.run("run", "greet", "-i", "name=Ada", "-i", "fails=true", "--follow")
    assert done.returncode == 1
    assert "check" in done.stdout
    assert "failed" in done.stdout
    shaped = zq.run("run", "greet", "-i", "name=A", "-i", "fails=true", "--follow", "-o", "json")
    assert shaped.returncode == 1
    assert json.loads(shaped.stdout)["state"] == "failed"


def test_the_server_says_what_does_not_fit_the_inputs(zq: Zq) -> None:
    refused = zq.run("run", "greet", "-i", "seconds=soon")
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert "name" in refused.stderr
    assert "seconds" in refused.stderr


def test_the_input_may_come_from_standard_input(zq: Zq) -> None:
    started = zq.run("run", "greet", "--input-file", "-", "-o", "json", text='{"name": "Bo"}')
    assert json.loads(started.stdout)["input"]["name"] == "Bo"


def test_runs_are_listed_looked_at_read_and_cancelled(zq: Zq) -> None:
    started = zq.run("run", "greet", "-i", "name=Cy", "-i", "seconds=600", "-o", "json")
    run_id = json.loads(started.stdout)["id"]
    listed = json.loads(zq.run("runs", "list", "--workflow", "greet", "-o", "json").stdout)
    assert run_id in {run["id"] for run in listed}
    assert "wait" in zq.run("runs", "get", run_id).stdout
    with_tasks = json.loads(zq.run("runs", "get", run_id, "-o", "json").stdout)
    assert len(with_tasks["tasks"]) == 3
    cancelled = zq.run("runs", "cancel", run_id)
    assert cancelled.returncode == 0, cancelled.stderr
    followed = zq.run("runs", "logs", "-f", run_id)
    assert followed.returncode == 0, followed.stderr
    again = zq.run("runs", "cancel", run_id)
    assert again.returncode == 1
    assert "cancelled" in again.stderr
    assert zq.run("runs", "get", "no-such-run").returncode == 1


def test_doctor_finds_nothing_wrong(zq: Zq) -> None:
    found = zq.run("doctor")
    assert found.returncode == 0, found.stdout
    names = [line.split()[1] for line in found.stdout.splitlines()]
    assert names == [
        "python", "settings", "home", "embedded", "functions", "postgres", "workers", "redis",
        "api",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["admin.key", "secret.key"])
def test_doctor_says_what_to_do_about_a_home_that_others_read(zq: Zq, name: str) -> None:
    key = zq.home / name
    key.chmod(0o644)
    try:
        found = zq.run("doctor")
    finally:
        key.chmod(0o600)
    assert found.returncode == 1
    assert f"chmod 600 {key}" in found.stdout


def test_the_secret_key_is_made_privately_and_found_by_all_that_runs_here(zq: Zq) -> None:
    kept = zq.home / "secret.key"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert bootstrap.resolve(Settings(home=zq.home)).auth.secret_key == kept.read_text().strip()


@pytest.mark.parametrize(("verb", "code"), [("web", 200), ("stream", 404)], ids=["web", "stream"])
def test_web_and_stream_run_by_themselves_beside_it(zq: Zq, verb: str, code: int) -> None:
    other = Zq(zq.home, free_port())
    running = other.start(verb)
    try:
        url = f"http://127.0.0.1:{other.env['ZQ_WEB__PORT']}"
        running.said(f"web: {url}")
        key = (zq.home / "admin.key").read_text().strip()
        headers = {"Authorization": f"Bearer {key}"}
        assert httpx.get(f"{url}/api/v1/workflows", headers=headers).status_code == code
    finally:
        assert running.end() == 0


def test_another_worker_joins_by_itself_and_leaves_in_order(zq: Zq) -> None:
    running = zq.start("worker", "--slots", "1")
    try:
        wait_for(lambda: "2 alive with 3 slots" in zq.run("doctor").stdout, timeout_s=30)
    finally:
        assert running.end() == 0
    assert "1 alive with 2 slots" in zq.run("doctor").stdout


def test_a_second_up_names_the_first(zq: Zq) -> None:
    second = zq.run("up")
    assert second.returncode == 1
    pid = json.loads((zq.home / "up.json").read_text())["pid"]
    assert f"pid {pid}" in second.stderr
    assert "ZQ_HOME" in second.stderr


def test_migrate_is_harmless_while_everything_runs(zq: Zq) -> None:
    done = zq.run("migrate")
    assert done.returncode == 0, done.stderr
    assert "already" in done.stdout


def test_a_taken_port_is_told_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        zq = Zq(tmp_path / "home", other.getsockname()[1])
        refused = zq.run("up")
    assert refused.returncode == 1
    assert "ZQ_WEB__PORT" in refused.stderr
    assert not (zq.home / "postgres").exists()
    assert zq.processes() == []


def test_what_dies_is_started_again_and_sigterm_stops_it_all(tmp_path: Path) -> None:
    zq = Zq(tmp_path / "home", free_port())
    with zq.up("--workers", "2") as up:
        for module, name in (("web.server.serve", "web"), ("orchestrator.cli", "scheduler")):
            victim = up.children()[module]
            victim.kill()
            said = up.said(f"{name} ")
            assert "SIGKILL" in said
            assert "starts again" in said
            wait_for(
                lambda v=victim, m=module: up.children().get(m, v).pid != v.pid,
                what=f"a new {name}",
            )
        wait_for(
            lambda: zq.run("runs", "list").returncode == 0, timeout_s=30, what="the API is back"
        )
        assert up.end() == 0
        assert up.lines[-1] == "stopped"
    zq.nothing_left(timeout_s=5)
    assert (zq.home / "log" / "worker-2.log").stat().st_size > 0


def test_nothing_outlives_a_killed_up_and_it_starts_again(tmp_path: Path) -> None:
    zq = Zq(tmp_path / "home", free_port())
    with zq.up() as up:
        psutil.Process(up.popen.pid).send_signal(signal.SIGKILL)
        up.popen.wait(10)
        zq.nothing_left(timeout_s=40)
    with zq.up() as up:
        assert zq.run("doctor").returncode == 0
        up.popen.send_signal(signal.SIGINT)
        assert up.end() == 0
    zq.nothing_left(timeout_s=5)
