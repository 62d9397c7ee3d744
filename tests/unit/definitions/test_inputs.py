"""`inputs`: defaults, names that are not declared, and schemas that are too much work."""

from __future__ import annotations

import time
from typing import Any

import pytest

from orchestrator.errors import InvalidDefinition
from orchestrator.models.definitions.node import Node
from orchestrator.models.definitions.validation import problems_of
from orchestrator.models.definitions.workflow import Workflow, check_input
from orchestrator.services.definitions.reading import from_yaml, read_definition


def flow(**inputs: Any) -> Workflow:
    return Workflow("w", (Node("a", "noop"),), inputs=inputs)


def declared(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def doubling(levels: int) -> dict[str, Any]:
    """4 KB that unfold to 2^levels parts."""
    defs: dict[str, Any] = {
        f"d{no}": {"allOf": [{"$ref": f"#/$defs/d{no + 1}"}, {"$ref": f"#/$defs/d{no + 1}"}]}
        for no in range(levels)
    }
    defs[f"d{levels}"] = {"type": "object"}
    return {"type": "object", "$ref": "#/$defs/d0", "$defs": defs}


RETRIES = {"type": "integer", "default": 3}
N = {"$defs": {"n": {"type": "integer", "default": 5}}}


@pytest.mark.parametrize(
    ("schema", "given", "taken"),
    [
        (declared(opts={**declared(retries=RETRIES), "default": {}}), {}, {"opts": {"retries": 3}}),
        (declared(n={"$ref": "#/$defs/n"}) | N, {}, {"n": 5}),
        (declared(n={"allOf": [{"$ref": "#/$defs/n"}]}) | N, {"n": 2.0}, {"n": 2}),
        ({"allOf": [declared(n=RETRIES)]}, {}, {"n": 3}),
        (declared(l={"items": declared(n=RETRIES)}), {"l": [{}, {"n": 1.0}]},
         {"l": [{"n": 3}, {"n": 1}]}),
        (declared(l={"prefixItems": [{"type": "integer"}]}), {"l": [2.0, 2.0]}, {"l": [2, 2.0]}),
        (declared(n={"type": ["integer", "null"]}), {"n": 3.0}, {"n": 3}),
        (declared(n={"anyOf": [{"type": "integer"}, {"type": "null"}]}), {"n": 3.0}, {"n": 3}),
        (declared(n={"type": "number"}), {"n": 3.0}, {"n": 3.0}),
        ({"additionalProperties": {"type": "integer"}}, {"n": 3.0}, {"n": 3}),
        (declared(n={"type": "integer", "default": 4.0}), {}, {"n": 4}),
    ],
)  # fmt: skip
def test_an_input_is_taken_as_its_schema_says(schema: Any, given: Any, taken: Any) -> None:
    workflow = flow(**schema)
    assert problems_of(workflow) == []
    found, problems = check_input(workflow, given)
    assert problems == []
    assert repr(found) == repr(taken)


@pytest.mark.parametrize(
    ("schema", "paths"),
    [
        (declared(n={"type": "integer", "default": "abc"}), ["inputs.properties.n.default"]),
        (declared(n={"type": "integer", "default": "abc"}) | {"required": ["z"]},
         ["inputs.properties.n.default"]),
        (declared(n={"$ref": "#/$defs/n"}, m={"type": "string", "default": 1})
         | {"$defs": {"n": {"type": "integer", "default": "x"}}},
         ["inputs.properties.n.default", "inputs.properties.m.default"]),
        (declared(o=declared(n={"enum": [1, 2], "default": 3})),
         ["inputs.properties.o.properties.n.default"]),
        (declared(l={"items": {"type": "integer", "default": None}}),
         ["inputs.properties.l.items.default"]),
        (declared(o={**declared(n={"type": "string"}), "default": {"n": 1}}),
         ["inputs.properties.o.default"]),
    ],
)  # fmt: skip
def test_a_default_that_does_not_fit_is_refused_when_saved(schema: Any, paths: list[str]) -> None:
    found = problems_of(flow(**schema))
    assert [(p.code, p.path) for p in found] == [("invalid_default", path) for path in paths]


def test_a_default_is_refused_in_yaml_too() -> None:
    text = "name: w\ninputs: {n: {type: integer, default: abc}}\nnodes: {a: noop}"
    with pytest.raises(InvalidDefinition) as caught:
        read_definition(from_yaml(text))
    assert '"abc" is not of type "integer"' in caught.value.problems[0].message


BASE = {"type": "integer", "default": 2}


@pytest.mark.parametrize(
    ("schema", "given", "paths"),
    [
        (declared(base=BASE), {"bas": 1}, ["input.bas"]),
        (declared(base=BASE) | {"additionalProperties": True}, {"bas": 1}, []),
        (declared(base=BASE) | {"patternProperties": {"^x_": {}}}, {"bas": 1}, []),
        ({"type": "object"}, {"bas": 1}, []),
        ({}, {"bas": 1}, []),
        (declared(base=BASE) | {"anyOf": [declared(other={})]}, {"other": 1}, []),
        ({"$ref": "#/$defs/a", "$defs": {"a": declared(base=BASE)}}, {"bas": 1}, ["input.bas"]),
    ],
)
def test_a_name_that_is_not_declared_is_refused(schema: Any, given: Any, paths: list[str]) -> None:
    _, problems = check_input(flow(**schema), given)
    assert [problem.path for problem in problems] == paths
    if paths:
        assert problems[0].code == "unknown_input"
        assert "did you mean 'base'?" in problems[0].message


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"n": 2**53 + 1}, "integer_too_large"),
        ({"n": [float("nan")]}, "bad_number"),
        ({"n": "a\0b"}, "bad_text"),
        ({"n": "\ud83d"}, "bad_text"),
    ],
)
def test_an_input_is_the_same_through_every_door(given: Any, code: str) -> None:
    _, problems = check_input(flow(), given)
    assert [problem.code for problem in problems] == [code]
    assert check_input(flow(), {"n": [2**53, None, "\N{ROCKET}", 0.1]})[1] == []


LEAVES = {f"v{no}": {"type": "integer"} for no in range(20)}
TREE = declared(left={"$ref": "#"}, right={"$ref": "#"}, value={"type": "integer"})
TWICE = {"allOf": [declared(x={"$ref": "#"}), declared(x={"$ref": "#"})]}
ENDLESS = declared(a={"$ref": "#", "default": {}}, b={"$ref": "#", "default": {}})


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        (doubling(24), "more than 10,000 parts"),
        ({"$ref": "#"}, "leads back to itself"),
        ({"allOf": [{"$ref": "#"}]}, "leads back to itself"),
        ({"$dynamicRef": "#me", "$dynamicAnchor": "me"}, "leads back to itself"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"not": {"$ref": "#/$defs/b"}},
                                         "b": {"if": {"$ref": "#/$defs/a"}}}}, "back to itself"),
        (ENDLESS, "too much work|without end|defaults of more"),
        (declared(**{f"p{no}": {} for no in range(5001)}), "more than 5000 parts"),
    ],
)  # fmt: skip
def test_a_schema_that_unfolds_is_refused_at_once(schema: Any, says: str) -> None:
    workflow = flow(**schema)
    began = time.thread_time()
    (problem, *_) = problems_of(workflow)
    assert problem.code == "invalid_input_schema"
    assert any(part in problem.message for part in says.split("|")), problem.message
    # What was stored before this rule is refused when a run starts.
    _, problems = check_input(workflow, {})
    assert [p.code for p in problems] == ["invalid_input_schema"]
    assert time.thread_time() - began < 3


@pytest.mark.parametrize("schema", [TREE, TWICE, declared(**LEAVES), doubling(8)])
def test_a_schema_that_is_fine_is_taken(schema: Any) -> None:
    assert problems_of(flow(**schema)) == []
    assert check_input(flow(**schema), {})[1] == []
