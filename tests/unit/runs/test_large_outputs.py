"""Outputs kept outside the record: only the engine can name a file in an output's place."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator import Workflow, node
from workers import functions
from workers.functions import function
from workers.in_memory.server import MemoryServer
from workers.testing import run_workflow

#: More than the record takes.
LARGE = "x" * 300_000
UNKNOWN = "01890000-0000-7000-8000-000000000001/output-0-1.json"


def echo(**more: Any) -> Workflow:
    """What `a` comes back with is what `b` sees of it."""
    return Workflow(
        "echo",
        [
            node("a", type="transform", config={"expression": "inputs.x"}),
            node("b", type="transform", after="a", config={"expression": "nodes.a.output"}),
        ],
        inputs={"x": {}},
        **more,
    )


def finished(server: MemoryServer, input: Any) -> dict[str, Any]:
    """Start a run of `echo` and return it when it has ended."""
    run_id = server.start("echo", {"x": input})["id"]
    assert [*server.watch(run_id)]
    return server.run(run_id)


def files(server: MemoryServer, run_id: str) -> dict[str, bytes]:
    """Return what is in each of a run's files."""
    names = [each["name"] for each in server.artifacts(run_id)]
    return {name: server.artifact(run_id, name) for name in names}


def test_a_large_output_travels_from_node_to_node_outside_the_record() -> None:
    server = MemoryServer()
    server.create(echo().definition())
    run = finished(server, LARGE)
    names = [f"output-{no}-1.json" for no in (0, 1)]
    assert run["output"] == {"b": {"$artifact": f"{run['id']}/{names[1]}"}}
    assert files(server, run["id"]) == dict.fromkeys(names, b'"%s"' % LARGE.encode())


def test_a_test_sees_outputs_whole_however_large() -> None:
    result = run_workflow(echo(), {"x": LARGE})
    assert result.outputs == {"a": LARGE, "b": LARGE}
    assert result.output == {"b": LARGE}
    looks = {"$artifact": UNKNOWN}
    assert run_workflow(echo(), {"x": looks}).output == {"b": looks}
    # What an expression has made of names is a value.
    named = echo(settings={"output": "{'b': {'$artifact': inputs.x}, 'size': 1}"})
    assert run_workflow(named, {"x": UNKNOWN}).output == {"b": looks, "size": 1}


@pytest.mark.parametrize(
    "name", [5, None, "", "x", "/", "no/output-0-1.json", UNKNOWN, [], {}], ids=repr
)
def test_what_looks_like_a_name_is_a_value_like_any_other(name: Any) -> None:
    server = MemoryServer()
    server.create(echo().definition())
    run = finished(server, {"$artifact": name})
    assert run["state"] == "succeeded"
    assert files(server, run["id"])["output-1-1.json"].startswith(b'{"$artifact":')


def test_nobody_reads_the_file_of_another_run_or_of_another_node() -> None:
    server = MemoryServer()
    server.create(echo().definition())
    theirs = finished(server, LARGE)["id"]
    mine = server.start("echo", {"x": {"$artifact": f"{theirs}/output-0-1.json"}})["id"]
    assert [*server.watch(mine)]
    expected = b'{"$artifact":"%s/output-0-1.json"}' % theirs.encode()
    assert files(server, mine) == dict.fromkeys(("output-0-1.json", "output-1-1.json"), expected)


@pytest.mark.parametrize("way", ["function", "pin", "called pin"])
def test_no_way_to_an_output_leads_around_that(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    monkeypatch.setattr(functions, "_registered", {})
    wrong = {"$artifact": UNKNOWN}

    @function("wrong")
    def wrong_one() -> Any:
        return wrong

    pins = {"function": {}, "pin": {"a": wrong}, "called pin": {"a": lambda config: wrong}}
    flow = Workflow(
        "w",
        [
            node("a", function=wrong_one),
            node("b", type="transform", after="a",
                 config={"expression": "size(nodes.a.output) == 1"}),
        ],
    )  # fmt: skip
    result = run_workflow(flow, pins=pins[way])
    assert result.output == {"b": True}
    assert result.artifacts["output-0-1.json"] == b'{"$artifact":"%s"}' % UNKNOWN.encode()


def test_no_handler_writes_the_file_of_an_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functions, "_registered", {})

    @function("write")
    def write(context: functions.Context, name: str) -> str:
        return context.artifacts.put(name, "[]")

    def flow(name: str) -> Workflow:
        return Workflow("w", [node("a", function=write, args={"name": name})])

    result = run_workflow(flow("output-0-1.json"))
    assert (result.errors["a"]["code"], result.artifacts) == ("bad_artifact_name", {})
    assert run_workflow(flow("my-output-0-1.json")).state == "succeeded"
