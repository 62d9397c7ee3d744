"""Whole runs in this process: the real engine and handlers on the memory adapters."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Workflow, connect, node
from orchestrator.errors import BadRequest, InvalidDefinition, NotFound
from workers import functions
from workers.functions import Fail, Skip, function
from workers.in_memory.server import Stuck
from workers.testing import run_workflow

URL = "http://127.0.0.1:1/"


def report(**more: Any) -> Workflow:
    """Fetch, then total; two roots, so that one can fail alone."""
    return Workflow(
        "report",
        [
            node("fetch", type="http", config={"url": URL + "{{ inputs.day }}"}, **more),
            node("total", type="transform", after="fetch",
                 config={"expression": "sum(nodes.fetch.output.body)"}),
        ],
        inputs={"day": {"type": "string", "default": "today"}},
    )  # fmt: skip


def answer(*body: int) -> dict[str, Any]:
    return {"status": 200, "headers": {}, "body": list(body)}


def test_pinned_nodes_are_not_run_and_all_else_is() -> None:
    result = run_workflow(report(), {"day": "monday"}, pins={"fetch": answer(1, 2, 3)})
    assert result.state == "succeeded"
    assert result.outputs == {"fetch": answer(1, 2, 3), "total": 6}
    assert result.output == {"total": 6}
    assert result.run.input == {"day": "monday"}
    assert [e.seq for e in result.events] == list(range(1, len(result.events) + 1))


def test_a_pin_may_be_a_function_of_the_filled_config() -> None:
    seen: list[Mapping[str, Any]] = []

    def fetch(config: Mapping[str, Any]) -> Any:
        seen.append(config)
        return answer(4)

    assert run_workflow(report(), {"day": "sunday"}, pins={"fetch": fetch}).output == {"total": 4}
    assert seen[0]["url"] == f"{URL}sunday"


def test_a_pin_may_fail_and_retries_take_no_time() -> None:
    slow = report(retry={"max_attempts": 3, "delay_s": 3000, "max_delay_s": 9000, "jitter": False})
    began = time.monotonic()
    result = run_workflow(slow, pins={"fetch": Fail("no_data", "nothing yet")})
    assert time.monotonic() - began < 5
    assert result.states == {"fetch": "failed", "total": "skipped"}
    assert result.errors["fetch"]["code"] == "no_data"
    assert result.tasks["fetch"].attempt == 3
    assert result.run.duration_ms is not None
    assert result.run.duration_ms > 3000 * 1000


@pytest.mark.parametrize(
    ("pin", "state", "code"),
    [
        (Fail("gone", retryable=False), "failed", "gone"),
        (Skip("no rows"), "skipped", "skipped"),
        (ValueError("odd"), "failed", "value_error"),
        ({1, 2}, "failed", "bad_output"),
    ],
    ids=["fail", "skip", "exception", "no json"],
)
def test_what_a_pin_can_be(pin: Any, state: str, code: str) -> None:
    result = run_workflow(report(), pins={"fetch": pin})
    assert result.states["fetch"] == state
    assert result.errors["fetch"]["code"] == code


def test_a_pin_of_no_node_is_refused_with_a_hint() -> None:
    with pytest.raises(InvalidDefinition, match="did you mean 'fetch'"):
        run_workflow(report(), pins={"fetsch": 1})


def test_an_input_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InvalidDefinition, match="day"):
        run_workflow(report(), {"day": 5})


def test_an_hour_passes_in_no_time_and_is_told() -> None:
    flow = Workflow("w", [node("rest", type="wait", config={"seconds": 3600})])
    began = time.monotonic()
    result = run_workflow(flow)
    assert time.monotonic() - began < 5
    assert result.outputs["rest"]["waited_s"] >= 3600
    first, last = result.events[0].at, result.events[-1].at
    assert first is not None
    assert last is not None
    assert 3600 <= (last - first).total_seconds() < 3610


def test_a_run_ends_at_its_own_deadline() -> None:
    nodes = [node("rest", type="wait", config={"seconds": 3600})]
    result = run_workflow(Workflow("w", nodes, settings={"timeout_s": 60}))
    assert (result.state, result.states) == ("timed_out", {"rest": "cancelled"})


def test_functions_log_print_and_store_and_the_streams_stay_the_callers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(functions, "_registered", {})
    streams, level = (sys.stdout, sys.stderr), logging.getLogger().level

    @function("total")
    def total(rows: list[int], context: functions.Context) -> int:
        print("printed")
        context.log.info("%s rows", len(rows))
        context.artifacts.put("rows.txt", "1 2")
        return sum(rows)

    flow = Workflow("w", [node("total", function=total, args={"rows": "{{ inputs.rows }}"})])
    result = run_workflow(flow, {"rows": [1, 2]})
    assert result.output == {"total": 3}
    assert result.logs("total") == result.logs() == ["printed", "2 rows"]
    assert result.artifacts == {"rows.txt": b"1 2"}
    assert (sys.stdout, sys.stderr) == streams
    assert logging.getLogger().level == level


def test_a_file_is_a_workflow_too(tmp_path: Path) -> None:
    file = tmp_path / "flow.yaml"
    file.write_text(report().to_yaml())
    assert run_workflow(file, pins={"fetch": answer(7)}).output == {"total": 7}
    assert run_workflow(report().definition(), pins={"fetch": answer(7)}).state == "succeeded"


def test_branches_joins_and_an_output_expression() -> None:
    cases = [{"when": "inputs.n > 10", "handle": "big"}]
    flow = Workflow(
        "w",
        [
            node("size", type="branch", config={"cases": cases, "default": "small"}),
            node("big", type="transform", after="size.big", config={"expression": "'big'"}),
            node("small", type="transform", after="size.small", config={"expression": "'small'"}),
            node("join", type="noop", after=["big", "small"],
                 trigger_rule="none_failed_min_one_success"),
        ],
        inputs={"n": "integer"},
        settings={"output": "nodes.size.output.taken[0]"},
    )  # fmt: skip
    result = run_workflow(flow, {"n": 50})
    assert result.output == "big"
    assert result.states == {
        "size": "succeeded", "big": "succeeded", "small": "skipped", "join": "succeeded",
    }  # fmt: skip


def test_save_start_watch_and_retry_in_memory() -> None:
    fails = [Fail("away"), Fail("away"), answer(2)]
    with connect(memory=True, pins={"fetch": lambda config: _next(fails)}) as core:
        assert core.engine.save(report(retry={"max_attempts": 1})).version == 1
        run = core.engine.start("report", tags=["nightly"], trigger="manual")
        assert (run.state, run.tags, run.trigger) == ("queued", ("nightly",), "manual")
        with pytest.raises(BadRequest):
            core.engine.start("report", trigger="retry")
        assert [e.state for e in core.engine.watch(run.id)][-1] == "failed"
        again = core.engine.wait(core.engine.retry(run.id).id)
        assert (again.state, again.origin_run_id) == ("failed", run.id)
        assert again.trigger == "retry"
        last = core.engine.wait(core.engine.retry(again.id, from_node="fetch").id)
        assert (last.succeeded, last.output) == (True, {"total": 2})
        assert [t.state for t in core.engine.tasks(last.id)] == ["succeeded", "succeeded"]
        assert [r.id for r in core.engine.runs(state="failed")] == [again.id, run.id]


def test_files_of_a_run_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functions, "_registered", {})

    @function("write")
    def write(context: functions.Context) -> str:
        return context.artifacts.put("rows.csv", "1,2")

    with connect(memory=True) as core:
        core.engine.save(Workflow("w", [node("write", function=write)]))
        run = core.engine.wait(core.engine.start("w").id)
        (found,) = core.engine.artifacts(run.id)
        assert (found.name, found.content_type, found.size_bytes, found.node_id) == (
            "rows.csv", "text/csv", 3, "write",
        )  # fmt: skip
        assert core.engine.artifact(run.id, run.output["write"]) == b"1,2"
        with pytest.raises(NotFound):
            core.engine.artifact(run.id, "other")


def _next(values: list[Any]) -> Any:
    value = values.pop(0)
    if isinstance(value, Exception):
        raise value
    return value


def test_pause_resume_and_cancel_in_memory() -> None:
    rest = node("rest", type="wait", config={"seconds": 60})
    with connect(memory=True) as core:
        core.engine.save(Workflow("w", [rest, node("last", type="noop", after=rest)]))
        run = core.engine.start("w")
        events = core.engine.watch(run.id)
        while next(events).state != "waiting":
            pass
        assert core.engine.pause(run.id).state == "paused"
        with pytest.raises(Stuck, match="paused"):
            core.engine.wait(run.id)
        assert core.engine.resume(run.id).state == "running"
        assert core.engine.wait(run.id).succeeded
        other = core.engine.start("w")
        assert core.engine.cancel(other.id).state == "cancelled"
        assert core.engine.wait(other.id).ended


def test_an_equal_workflow_makes_no_version_and_another_one_does() -> None:
    with connect(memory=True) as core:
        one = Workflow("w", [node("a", type="noop")])
        versions = [core.engine.save(one).version, core.engine.save(one).version]
        versions.append(core.engine.save(Workflow("w", [node("b", type="noop")])).version)
        assert versions == [1, 1, 2]


@pytest.mark.parametrize("given", [{"server": "http://x"}, {"key": "k"}])
def test_memory_takes_no_server(given: dict[str, str]) -> None:
    with pytest.raises(TypeError, match="memory"):
        connect(memory=True, **given)  # type: ignore[arg-type]


def test_a_server_takes_no_pins_and_one_that_is_away_is_told_at_once() -> None:
    from orchestrator.client.errors import ServerUnreachable

    with pytest.raises(TypeError, match="pins"):
        connect(pins={"a": 1})
    began = time.monotonic()
    with pytest.raises(ServerUnreachable, match="zq up"):
        connect("http://127.0.0.1:1", "key")
    assert time.monotonic() - began < 10


TEXTS = ["name: text\nnodes: {a: noop}\n", "{name: text, nodes: {a: noop}}"]


@pytest.mark.parametrize("text", TEXTS)
def test_a_workflow_may_be_its_text_or_the_path_of_it(text: str, tmp_path: Path) -> None:
    file = tmp_path / "flow.yaml"
    file.write_text(text)
    for workflow in (text, file, str(file)):
        assert run_workflow(workflow).states == {"a": "succeeded"}
    with pytest.raises(FileNotFoundError):
        run_workflow(str(tmp_path / "missing.yaml"))
