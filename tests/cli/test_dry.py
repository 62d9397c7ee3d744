"""`zq run FILE --dry`: a file played through by a process of its own, without any server."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.cli import main

FLOW = """\
name: report
inputs:
  n: {type: integer, default: 1}
nodes:
  fetch: {type: http, config: {url: "http://127.0.0.1:1/"}}
  rest: {type: wait, config: {seconds: 600}}
  total:
    type: transform
    needs: [fetch, rest]
    config: {expression: "nodes.fetch.output.body + inputs.n"}
"""
PIN = 'fetch={"status": 200, "headers": {}, "body": 41}'
Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def in_an_empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZQ_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def flow(tmp_path: Path) -> str:
    file = tmp_path / "flow.yaml"
    file.write_text(FLOW)
    return str(file)


def test_every_move_is_shown_and_the_output_is_last(flow: str, capsys: Captured) -> None:
    assert main(["run", flow, "--dry", "--pin", PIN]) == 0
    said = capsys.readouterr().out
    assert "total  succeeded" in said
    assert "succeeded in 10 m 00 s" in said
    assert json.loads(said[said.rindex("{") :]) == {"total": 42}
    assert "\x1b" not in said


def test_json_has_the_run_and_its_tasks(flow: str, capsys: Captured) -> None:
    assert main(["run", flow, "--dry", "--pin", PIN, "-i", "n=9", "-o", "json"]) == 0
    run = json.loads(capsys.readouterr().out)
    assert (run["state"], run["output"]) == ("succeeded", {"total": 50})
    assert run["trigger"] == "manual"
    assert {task["node_id"]: task["state"] for task in run["tasks"]} == {
        "fetch": "succeeded", "rest": "succeeded", "total": "succeeded",
    }  # fmt: skip


def test_a_run_that_fails_is_exit_code_1(flow: str, capsys: Captured) -> None:
    assert main(["run", flow, "--dry", "--pin", "fetch=null"]) == 1
    said = capsys.readouterr()
    assert "total  failed" in said.out
    assert said.err.startswith("error: ")


def test_a_pin_may_come_from_a_file(flow: str, tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "fetch.yaml").write_text("{status: 200, headers: {}, body: 1}\n")
    assert main(["run", flow, "--dry", "--pin", "fetch=@fetch.yaml", "-o", "yaml"]) == 0
    assert "total: 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--pin", "fetsch=1"], 1, "did you mean 'fetch'"),
        (["-i", "n=many"], 1, "n"),
        (["--pin", "fetch"], 2, "node=JSON"),
        (["--pin", "fetch=hello"], 2, "quotes"),
        (["--pin", "fetch=@none.json"], 2, "none.json"),
        (["--pin", "a=1", "--pin", "a=2"], 2, "twice"),
    ],
)
def test_what_does_not_fit_is_told_with_the_remedy(
    flow: str, words: list[str], code: int, told: str, capsys: Captured
) -> None:
    assert main(["run", flow, "--dry", *words]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert told in said.err
    assert "Traceback" not in said.err


def test_a_wrong_file_is_told_with_its_lines(tmp_path: Path, capsys: Captured) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(FLOW.replace("transform", "transfrom"))
    assert main(["run", str(file), "--dry"]) == 1
    assert f"{file}:8: nodes.total" in capsys.readouterr().err


def test_what_is_no_file_is_a_usage_error(capsys: Captured) -> None:
    assert main(["run", "report", "--dry"]) == 2
    assert "zq workflow export report" in capsys.readouterr().err


def test_pins_without_dry_are_a_usage_error(flow: str, capsys: Captured) -> None:
    assert main(["run", flow, "--pin", PIN]) == 2
    assert "--dry" in capsys.readouterr().err


FUNCTIONS = """\
import os, subprocess, sys, time
from workers.functions import function

@function("noisy")
def noisy():
    print("a line")
    subprocess.run([sys.executable, "-c", "print('around')"])
    os.write(1, b"around\\n")
    return 1

@function("sleepy")
def sleepy():
    time.sleep(60)

@function("deadly")
def deadly():
    os._exit(9)
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dry_functions.py").write_text(FUNCTIONS)
    monkeypatch.setenv("ZQ_WORKER__MODULES", "dry_functions")


def calling(name: str, tmp_path: Path, more: str = "") -> str:
    file = tmp_path / "call.yaml"
    file.write_text(
        f"name: call\nnodes:\n  call: {{type: python, config: {{function: {name}}}{more}}}\n"
    )
    return str(file)


@pytest.mark.usefixtures("modules")
def test_what_functions_print_cannot_disturb_the_answer(tmp_path: Path, capsys: Captured) -> None:
    assert main(["run", calling("noisy", tmp_path), "--dry", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["output"] == {"call": 1}


@pytest.mark.usefixtures("modules")
def test_a_function_is_stopped_at_its_timeout(tmp_path: Path, capsys: Captured) -> None:
    began = time.monotonic()
    file = calling("sleepy", tmp_path, ", timeout_s: 0.2, retry: {max_attempts: 1}")
    assert main(["run", file, "--dry"]) == 1
    assert time.monotonic() - began < 20
    assert "timed_out" in capsys.readouterr().out


@pytest.mark.usefixtures("modules")
def test_a_function_that_kills_the_process_is_told(tmp_path: Path, capsys: Captured) -> None:
    assert main(["run", calling("deadly", tmp_path), "--dry"]) == 1
    assert "exit code 9" in capsys.readouterr().err


def test_the_child_neither_imports_servers_nor_needs_them() -> None:
    code = "import sys, workers.in_memory.dry_run\nprint(*(m for m in sys.modules if '.' not in m))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"celery", "kombu", "redis", "sqlalchemy", "psycopg2", "flask", "psutil"}
    assert heavy & set(done.stdout.split()) == set()
