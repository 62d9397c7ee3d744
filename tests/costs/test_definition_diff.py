"""What changed between two definitions, value by value."""

from __future__ import annotations

import time
from difflib import unified_diff
from typing import Any

import pytest

from orchestrator.services.definitions.diff import MAX_LINES, Change, compare
from orchestrator.services.definitions.reading import read_definition, shape_of, to_yaml


def shape(config: Any = None, **more: Any) -> dict[str, Any]:
    """Return the stored form of a workflow with one node of this config."""
    data = {"config": config or {"expression": "1"}, **more.pop("data", {})}
    node = {"id": "a", "type": "transform", "data": data}
    return shape_of(read_definition({"name": "x", "nodes": [node], **more}))


def test_equal_definitions_differ_in_nothing() -> None:
    found = compare(shape(), shape())
    assert (found.nodes, found.edges, found.settings, found.inputs, found.about) == ((),) * 5
    assert found.text == ""


@pytest.mark.parametrize(
    ("one", "two", "changes"),
    [
        ({}, {"n": 1}, [("added", ".n", None, 1)]),
        ({"n": 1}, {}, [("removed", ".n", 1, None)]),
        ({"n": 1}, {"n": True}, [("changed", ".n", 1, True)]),
        ({"n": {"m": {"k": 1}}}, {"n": {"m": {"k": 2}}}, [("changed", ".n.m.k", 1, 2)]),
        ({"n": {"m": 1}}, {"n": [1]}, [("changed", ".n", {"m": 1}, [1])]),
        ({"n": [1, 2]}, {"n": [2, 1]}, [("changed", ".n", [1, 2], [2, 1])]),
        ({"n": None}, {"n": 0}, [("changed", ".n", None, 0)]),
    ],
)
def test_configs_are_compared_field_by_field(
    one: Any, two: Any, changes: list[tuple[str, str, Any, Any]]
) -> None:
    before, after = shape(), shape()
    before["nodes"][0]["data"]["config"] = one
    after["nodes"][0]["data"]["config"] = two
    assert compare(before, after).nodes == tuple(
        Change(kind=kind, path=f"nodes.a.data.config{path}", before=old, after=new)
        for kind, path, old, new in changes
    )


def test_retries_and_inputs_have_their_own_parts() -> None:
    inputs = {"type": "object", "properties": {"n": {"type": "integer"}}}
    after = shape(inputs=inputs, settings={"retry": {"max_attempts": 9}})
    found = compare(shape(), after)
    assert [c.path for c in found.settings] == ["settings.retry.max_attempts"]
    assert {c.path for c in found.inputs} == {"inputs.type", "inputs.properties"}


def test_very_long_definitions_have_no_text() -> None:
    big = {**shape(), "nodes": [{"id": f"n{i}", "type": "noop"} for i in range(MAX_LINES)]}
    found = compare(shape(), big)
    assert found.text is None
    assert len(found.nodes) == MAX_LINES + 1


def test_what_would_take_long_to_compare_has_no_text() -> None:
    one = {f"k{no}": {"v": no % 2} for no in range(2000)}
    two = {f"k{no}": {"v": no % 3} for no in range(2000, 0, -1)}
    before, after = shape(), shape()
    before["nodes"][0]["data"]["config"] = one
    after["nodes"][0]["data"]["config"] = two
    began = time.thread_time()
    assert compare(before, after).text is None
    assert time.thread_time() - began < 5


@pytest.mark.parametrize("at", [0, 1, 2, 3, 500, 997, 998, 999])
@pytest.mark.parametrize("change", ["added", "removed", "changed"])
def test_the_text_is_that_of_a_whole_comparison(at: int, change: str) -> None:
    rows: list[Any] = [{"row": no} for no in range(1000)]
    other = {
        "added": [*rows[:at], {"row": "new"}, *rows[at:]],
        "removed": [*rows[:at], *rows[at + 1 :]],
        "changed": [*rows[:at], {"row": "new"}, *rows[at + 1 :]],
    }[change]
    before, after = shape(), shape()
    before["nodes"][0]["data"]["config"] = {"l": rows}
    after["nodes"][0]["data"]["config"] = {"l": other}
    texts = [to_yaml(side).splitlines() for side in (before, after)]
    whole = "".join(f"{line}\n" for line in unified_diff(*texts, "from", "to", lineterm=""))
    assert compare(before, after).text == whole
