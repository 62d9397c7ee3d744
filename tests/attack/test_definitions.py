"""Rows D1 to D11: definitions that are wrong, endless, enormous, or not what they seem."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import httpx
import orjson
import pytest

from tests.attack.stack import Stack, refused, tells_nothing
from tests.waiting import wait_for

YAML = {"Content-Type": "application/yaml"}
#: Judging a definition may take this long, seconds, on a machine that does other things too.
QUICK_S = 2.5


def node(id: str, type_: str = "noop", **data: Any) -> dict[str, Any]:
    return {"id": id, "type": type_, "data": data} if data else {"id": id, "type": type_}


def nodes(count: int) -> list[dict[str, Any]]:
    return [node(f"n{no}") for no in range(count)]


def edge(source: str, target: str, **more: Any) -> dict[str, Any]:
    return {"source": source, "target": target, **more}


def flow(nodes: Any, edges: Any = (), **more: Any) -> dict[str, Any]:
    return {"name": "attack", "nodes": nodes, "edges": list(edges), **more}


def ring(count: int) -> dict[str, Any]:
    return flow(nodes(count), [edge(f"n{no}", f"n{(no + 1) % count}") for no in range(count)])


def http(**config: Any) -> list[dict[str, Any]]:
    return [node("a", "http", config={"url": "https://example.org/", **config})]


def expression(text: str) -> list[dict[str, Any]]:
    return [node("a", "transform", config={"expression": text}), node("b")]


WRONG: dict[str, dict[str, Any]] = {
    "D1 a loop of one": flow(nodes(1), [edge("n0", "n0")]),
    "D1 a ring of two": ring(2),
    "D1 a ring of many": ring(2_000),
    "D2 an id twice": flow([node("a"), node("a")]),
    "D2 an id that is no name": flow([node("a b")]),
    "D2 an id in other letters": flow([node("\u0430")]),
    "D2 an id of two forms": flow([node("e\u0301"), node("\u00e9")]),
    "D3 a source that is not": flow(nodes(1), [edge("x", "n0")]),
    "D3 a target that is not": flow(nodes(1), [edge("n0", "x")]),
    "D3 a target that is a path": flow(nodes(1), [edge("n0", "../n0")]),
    "D4 an edge twice": flow(nodes(2), [edge("n0", "n1"), edge("n0", "n1")]),
    "D4 no nodes": flow([]),
    "D4 too many nodes": flow(nodes(10_001)),
    "D8 no time": flow([node("a", timeout_s=0)]),
    "D8 negative time": flow([node("a", timeout_s=-1)]),
    "D8 endless time": flow([node("a", timeout_s=10**12)]),
    "D8 endless tries": flow([node("a", retry={"max_attempts": 10**9})]),
    "D8 no tries": flow([node("a", retry={"max_attempts": 0})]),
    "D8 an endless pause": flow([node("a", retry={"delay_s": 10**12})]),
    "D8 a pause that overflows": flow([node("a", retry={"max_delay_s": 1e300})]),
    "D8 a run without time": flow(nodes(1), settings={"timeout_s": 0}),
    "D8 an endless run": flow(nodes(1), settings={"timeout_s": 10**15}),
    "D8 a priority beyond": flow([node("a", priority=10**6)]),
    "D9 an output that is not": flow(expression("nodes.x.output")),
    "D9 an output further down": flow(expression("nodes.b.output"), [edge("a", "b")]),
    "D9 its own output": flow(expression("nodes.a.output")),
    "D9 a name that is not": flow(expression("environment.HOME")),
    "D3 a type that is not": flow([node("a", "shell", config={"command": "id"})]),
    "D3 a field that is not": flow(http(verify=False)),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_d1_to_d9_what_is_wrong_is_refused_at_once(name: str, stack: Stack) -> None:
    before = stack.stored()
    began = time.monotonic()
    answer = stack.http.post("/workflows", content=orjson.dumps(WRONG[name]),
                             headers={"Content-Type": "application/json"})  # fmt: skip
    took_s = time.monotonic() - began
    problem = refused(answer, 422)
    assert problem["problems"]
    assert took_s < QUICK_S
    assert stack.stored() == before
    if name.startswith("D1"):
        told = " ".join(p["message"] for p in problem["problems"])
        assert "n0" in told, told


def test_d4_a_million_edges(stack: Stack) -> None:
    """The body is larger than the server takes; just below that, it is refused for its edges."""
    one = orjson.dumps(edge("n0", "n1"))
    for count, statuses in ((1_000_000, (413,)), (200_000, (422,))):
        body = b'{"name":"x","nodes":[{"id":"n0","type":"noop"},{"id":"n1","type":"noop"}],'
        body += b'"edges":[' + b",".join([one] * count) + b"]}"
        began = time.monotonic()
        answer = stack.http.post(
            "/workflows", content=body, headers={"Content-Type": "application/json"}
        )
        refused(answer, *statuses)
        assert time.monotonic() - began < 4 * QUICK_S
        assert len(answer.content) < 1_000_000


def test_d5_as_many_paths_as_grains_of_sand(stack: Stack) -> None:
    """40 layers of two nodes, each layer joined to the next completely: 2^40 ways through."""
    layers = [[f"l{layer}_{no}" for no in range(2)] for layer in range(40)]
    edges = [edge(s, t) for a, b in pairwise(layers) for s in a for t in b]
    body = flow([node(id) for layer in layers for id in layer], edges, name="d5")
    began = time.monotonic()
    answer = stack.http.post("/workflows/validate", json=body)
    assert answer.status_code == 200, answer.text[:300]
    assert time.monotonic() - began < QUICK_S


def test_d7_a_list_from_outside_ends_no_worker(stack: Stack) -> None:
    """A list of a million items is more than an expression may make."""
    big = "[0,1,2,3,4,5,6,7,8,9]"
    text = f"{big}.map(a, {big}.map(b, {big}.map(c, {big}.map(d, {big}.map(e, {big}.map(f, f))))))"
    run = stack.run(node("a", "transform", config={"expression": text}))
    assert run["state"] == "failed"
    assert stack.task(run, "a")["error"]["code"] in {"expression_error", "too_large", "timeout"}


def test_d9_a_secret_that_is_not_there_fails_without_a_word_of_others(stack: Stack) -> None:
    definition = flow([node("a", "transform", config={"expression": "secrets.of_somebody_else"})])
    answer = stack.http.post("/workflows/execute?wait=20", json={"definition": definition})
    tells_nothing(answer)
    if answer.status_code == 422:
        return
    assert answer.json()["state"] == "failed"


def test_d10_a_run_keeps_to_its_version(stack: Stack) -> None:
    wait = node("a", "wait", config={"seconds": 1})
    total = node("b", "transform", config={"expression": "1"})
    body = flow([wait, total], [edge("a", "b")], name="d10")
    saved = stack.http.post("/workflows", json=body).json()
    run = stack.http.post(f"/workflows/{saved['id']}/runs", json={}).json()
    changed = {**body, "nodes": [wait, node("b", "transform", config={"expression": "2"})]}
    etag = stack.http.get(f"/workflows/{saved['id']}").headers["ETag"]
    answer = stack.http.put(f"/workflows/{saved['id']}", json=changed, headers={"If-Match": etag})
    assert answer.status_code == 200, answer.text
    assert stack.http.delete(f"/workflows/{saved['id']}").status_code in {204, 409}
    ended = wait_for(
        lambda: (r := stack.http.get(f"/runs/{run['id']}").json())["finished_at"] and r,
        timeout_s=20,
    )
    assert (ended["version"], ended["state"], ended["output"]) == (1, "succeeded", {"b": 1})


LAUGHS = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    + [f"a{no}: &a{no} [" + ", ".join([f"*a{no - 1}"] * 9) + "]" for no in range(1, 12)]
)
DOCUMENTS: dict[str, str] = {
    "laughs": LAUGHS,
    "anchors": "name: x\nnodes:\n" + "".join(f"  n{n}: &n{n} {{type: noop}}\n" for n in range(9)),
    "alias to itself": "name: &a\n  x: *a\n",
    "os.system": "!!python/object/apply:os.system [touch /tmp/attack]",
    "a python name": "name: !!python/name:os.system x",
    "a tag of its own": "name: !secret x",
    "a merge": "base: &b {type: noop}\nname: x\nnodes:\n  a:\n    <<: *b\n",
    "a key twice": "name: a\nname: b\nnodes: {a: {type: noop}}",
    "two documents": "name: a\n---\nname: b",
    "a list as key": "? [a, b]\n: c",
    "deep": "a: " + "[" * 5_000,
    "deep maps": "".join(" " * no + "a:\n" for no in range(300)),
    "a NUL": 'name: "a\\0b"\nnodes: {a: {type: noop}}',
    "binary": "name: !!binary aGVsbG8=\nnodes: {a: {type: noop}}",
    "no definition": "just text",
    "nothing": "",
    "not a number": "name: x\nnodes: {a: {type: noop, timeout_s: .nan}}",
    "sexagesimal": "name: x\nnodes: {a: {type: noop, timeout_s: 190:20:30}}",
}  # fmt: skip


@pytest.mark.parametrize("name", DOCUMENTS)
def test_d11_yaml_is_data_and_bounded(name: str, stack: Stack) -> None:
    before = stack.stored()
    began = time.monotonic()
    answer = stack.http.post("/workflows/import", content=DOCUMENTS[name].encode(), headers=YAML)
    refused(answer, 400, 422)
    assert time.monotonic() - began < QUICK_S
    assert stack.stored() == before


def test_d11_ten_megabytes_of_one_word(stack: Stack) -> None:
    body = b"name: " + b"x" * 10_000_000
    refused(stack.http.post("/workflows/import", content=body, headers=YAML), 413)


def test_d11_a_megabyte_that_takes_long_to_read(stack: Stack) -> None:
    """The reader of YAML is slow; what it is given is bounded before it begins."""
    body = ("name: x\nnodes:\n" + "  a: {type: noop}\n" * 60_000).encode()
    began = time.monotonic()
    answer = stack.http.post(
        "/workflows/import", content=body, headers=YAML, timeout=httpx.Timeout(30)
    )
    refused(answer, 400, 413, 422)
    assert time.monotonic() - began < 4 * QUICK_S
