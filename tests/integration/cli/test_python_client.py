"""The Python client, the same tests in memory and over HTTP against a running installation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import Workflow, connect, node
from orchestrator.adapters.embedded.process import free_port
from orchestrator.client.connecting import Connection
from orchestrator.client.errors import ApiError
from orchestrator.errors import ZQError
from tests.integration.zq_process import Zq

FUNCTIONS = """\
from workers.functions import function

@function("client.total")
def total(rows, context):
    context.log.info("%s rows", len(rows))
    return sum(rows)
"""


@pytest.fixture(scope="module")
def zq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zq]:
    """An installation that is up and knows a function."""
    made = Zq(tmp_path_factory.mktemp("client") / "home", free_port())
    (made.home.parent / "client_functions.py").write_text(FUNCTIONS)
    made.env["ZQ_WORKER__MODULES"] = "client_functions"
    with made.up("--workers", "1"):
        yield made
    made.nothing_left()


@pytest.fixture(params=["memory", "http"])
def core(request: pytest.FixtureRequest) -> Iterator[Connection]:
    """A connection of either kind."""
    if request.param == "memory":
        from workers import functions

        module = compile(FUNCTIONS, "client_functions", "exec")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(functions, "_registered", {})
            exec(module, {"__name__": "client_functions"})
            with connect(memory=True) as made:
                yield made
        return
    zq: Zq = request.getfixturevalue("zq")
    up = json.loads((zq.home / "up.json").read_text())
    with connect(up["url"], (zq.home / "admin.key").read_text().strip()) as made:
        yield made


def flow(name: str, expression: str = "nodes.total.output * 2") -> Workflow:
    return Workflow(
        name,
        [
            node("rest", type="wait", config={"seconds": 0.1}),
            node("total", function="client.total", args={"rows": "{{ inputs.rows }}"},
                 after=["rest"]),
            node("twice", type="transform", config={"expression": expression}, after=["total"]),
        ],
        inputs={"rows": {"type": "array", "required": True}},
    )  # fmt: skip


def test_define_run_and_watch(core: Connection) -> None:
    saved = core.engine.save(flow("define"))
    assert (saved.name, saved.version, saved.status) == ("define", 1, "published")
    run = core.engine.start("define", input={"rows": [1, 2]}, tags=["nightly"])
    assert (run.workflow_name, run.tags, run.ended) == ("define", ("nightly",), False)
    events = list(core.engine.watch(run.id))
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert (events[-1].kind, events[-1].state) == ("run", "succeeded")
    assert [e.message for e in events if e.kind == "log"] == ["2 rows"]
    assert ("total", "succeeded") in {(event.node_id, event.state) for event in events}
    ended = core.engine.run(run.id)
    assert (ended.succeeded, ended.output, ended.input) == (True, {"twice": 6}, {"rows": [1, 2]})
    assert ended.counts == {"succeeded": 3}
    assert ended.seq == len(events)
    assert [e.seq for e in core.engine.watch(run.id, after=ended.seq - 2)] == [
        ended.seq - 1, ended.seq,
    ]  # fmt: skip


def test_save_again_makes_a_version_only_for_a_change(core: Connection) -> None:
    versions = [core.engine.save(flow("again", text)).version for text in ("1", "1", "2")]
    assert versions == [1, 1, 2]


def test_a_failed_run_says_why_and_goes_on_as_a_new_one(core: Connection) -> None:
    core.engine.save(flow("fails", "1 / 0"))
    run = core.engine.wait(core.engine.start("fails", input={"rows": []}).id)
    assert (run.state, run.ended, run.succeeded) == ("failed", True, False)
    tasks = {task.node_id: task for task in core.engine.tasks(run.id)}
    assert tasks["total"].output == 0
    assert tasks["twice"].error is not None
    again = core.engine.wait(core.engine.retry(run.id).id)
    assert (again.origin_run_id, again.state) == (run.id, "failed")
    assert {r.id for r in core.engine.runs(workflow_id=run.workflow_id)} == {run.id, again.id}


def test_what_does_not_fit_is_an_error_with_its_problems(core: Connection) -> None:
    with pytest.raises(ZQError) as refused:
        core.engine.save(Workflow("wrong", [node("a", type="htp"), node("b", type="wat")]))
    nodes = {getattr(p, "node", None) or p["node"] for p in refused.value.problems}  # type: ignore[attr-defined]
    assert nodes == {"a", "b"}
    core.engine.save(flow("input"))
    with pytest.raises(ZQError):
        core.engine.start("input", input={"rows": "many"})
    with pytest.raises(ZQError):
        core.engine.start("nobody")
    with pytest.raises(ZQError):
        core.engine.run("01a205f1-0bf3-70e4-9786-a3e696e8ed0b")


def test_steering(core: Connection) -> None:
    core.engine.save(Workflow("waits", [node("rest", type="wait", config={"seconds": 900})]))
    run = core.engine.start("waits")
    events = core.engine.watch(run.id)
    while next(events).state != "waiting":
        pass
    assert core.engine.pause(run.id).state == "paused"
    assert core.engine.resume(run.id).state == "running"
    assert core.engine.cancel(run.id).state == "cancelled"
    assert core.engine.wait(run.id).state == "cancelled"


def test_a_task_is_marked(core: Connection) -> None:
    rest = node("rest", type="wait", config={"seconds": 900})
    core.engine.save(Workflow("marks", [rest]))
    run = core.engine.start("marks")
    events = core.engine.watch(run.id)
    while next(events).state != "waiting":
        pass
    for state, output in (("cancelled", None), ("failed", 1), ("succeeded", float("nan"))):
        with pytest.raises((ZQError, ValueError)):
            core.engine.mark(run.id, "rest", state, output=output)
    task = core.engine.mark(run.id, "rest", "succeeded", output={"n": 1}, reason="enough")
    assert (task.state, task.output) == ("succeeded", {"n": 1})
    assert core.engine.wait(run.id).output == {"rest": {"n": 1}}


def test_connect_finds_what_runs_in_the_home(zq: Zq, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZQ_HOME", str(zq.home))
    with connect() as core:
        assert core.engine.runs(limit=1) is not None
    with connect(key="not-it") as core, pytest.raises(ApiError) as refused:
        core.engine.runs()
    assert refused.value.status == 401


TEN_LINES = """\
from orchestrator import Workflow, connect, node

core = connect()
flow = Workflow("ten-lines", nodes=[
    node("fetch", function="client.total", args={"rows": [1, 2, 3]}),
    node("total", type="transform", config={"expression": "nodes.fetch.output * 7"}, after=["fetch"]),
])
core.engine.save(flow)
run = core.engine.start("ten-lines", input={"day": "2026-01-01"})
for event in core.engine.watch(run.id): print(event.seq, event.node_id, event.state)
"""  # noqa: E501


def test_ten_lines_define_run_and_watch(zq: Zq, tmp_path: Path) -> None:
    import subprocess
    import sys

    file = tmp_path / "ten.py"
    file.write_text(TEN_LINES)
    done = subprocess.run(
        [sys.executable, str(file)],
        env=zq.env, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith("None succeeded")
