"""What changed between two definitions, value by value."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.services.definitions.diff import MAX_LINES, Change, compare
from orchestrator.services.definitions.reading import read_definition, shape_of


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
    nodes = [{"id": f"n{i}", "type": "noop"} for i in range(MAX_LINES // 2)]
    big = shape_of(read_definition({"name": "x", "nodes": nodes}))
    found = compare(shape(), big)
    assert found.text is None
    assert len(found.nodes) == len(nodes) + 1
