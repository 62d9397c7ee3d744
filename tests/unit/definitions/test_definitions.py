"""The JSON and YAML forms: round trips, every shape problem, and hostile documents."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.errors import InvalidDefinition
from orchestrator.models.definitions.node import Backoff, TriggerRule
from orchestrator.services.definitions.reading import (
    from_yaml,
    read_definition,
    read_stored,
    shape_of,
    taken_status,
    to_yaml,
)

YAML = """
name: daily-report
inputs: {day: {type: string, format: date}}
settings: {retry: {delay_s: 2, backoff: linear}}
nodes:
  fetch:
    {type: http, config: {url: "https://x.org/{{ inputs.day }}"}, retry: {max_attempts: 5}}
  total:  {type: transform, needs: [fetch], config: {expression: "sum(nodes.fetch.output.body)"}}
  size:
    type: branch
    needs: total
    config: {cases: [{when: nodes.total.output > 10, handle: big}], default: small}
  notify: {type: noop, label: Notify, needs: [total, size.big], trigger_rule: all_done}
"""


def a_node(**data: Any) -> dict[str, Any]:
    return {"id": "a", "type": "noop", "position": {"x": 1, "y": 2.5}, "data": data}


def a_document(*nodes: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "w", "nodes": list(nodes or [a_node()]), **more}


def refused(document: Any) -> set[tuple[str, str]]:
    with pytest.raises(InvalidDefinition) as caught:
        read_definition(document)
    return {(problem.path, problem.code) for problem in caught.value.problems}


def test_yaml_becomes_the_editor_s_form() -> None:
    document = from_yaml(YAML)
    assert document["inputs"] == {
        "type": "object",
        "properties": {"day": {"type": "string", "format": "date"}},
    }
    assert [edge["sourceHandle"] for edge in document["edges"]] == [None, None, None, "big"]
    assert [node["position"]["x"] for node in document["nodes"]] == [0, 260, 520, 780]
    workflow = read_definition(document)
    assert workflow.nodes[3].trigger_rule is TriggerRule.ALL_DONE
    retry = workflow.nodes[0].retry
    assert retry is not None
    assert (retry.max_attempts, retry.delay_s, retry.backoff) == (5, 2, Backoff.LINEAR)


def test_every_form_leads_back_to_the_same_workflow() -> None:
    workflow = read_definition(from_yaml(YAML))
    shape = shape_of(workflow)
    assert read_definition(shape) == workflow == read_stored(shape)
    assert read_definition(from_yaml(to_yaml(shape))) == workflow
    assert "day: {type: string, format: date}" in to_yaml(shape)


def test_a_status_is_written_beside_a_definition_unless_it_is_published() -> None:
    shape = shape_of(read_definition(from_yaml(YAML)))
    assert "status" not in to_yaml({**shape, "status": "published"})
    for status in ("draft", "archived"):
        text = to_yaml({**shape, "status": status})
        assert taken_status(from_yaml(text)) == (from_yaml(to_yaml(shape)), status)
    assert taken_status(from_yaml(YAML)) == (from_yaml(YAML), None)
    for wrong in ("Draft", "", None, 1, [], {}):
        with pytest.raises(InvalidDefinition, match="draft, published, archived"):
            taken_status({"name": "w", "status": wrong})


def test_positions_that_nobody_has_set_are_not_written_down() -> None:
    text = "name: a\nnodes:\n  one: noop\n  two: {type: noop, needs: [one]}\n"
    shape = from_yaml(text)
    assert "position" not in to_yaml(shape)
    assert from_yaml(to_yaml(shape)) == shape
    shape["nodes"][1]["position"] = {"x": 260, "y": 1}
    assert to_yaml(shape).count("position: {x: 260, y: 1}") == 1
    assert from_yaml(to_yaml(shape)) == shape


def test_texts_that_look_like_other_things_survive_yaml() -> None:
    args = {"a": "1e3", "b": "no", "c": "2026-01-01", "d": "0o7", "e": "null", "f": "12", "g": ""}
    args |= {
        "h": 1.5,
        "i": None,
        "j": True,
        "k": [{}, []],
        "l": "two\nlines",
        "m": ".5",
        "n": "1_0",
    }
    node = {"id": "a", "type": "python", "data": {"config": {"function": "f", "args": args}}}
    shape = shape_of(read_definition(a_document(node)))
    again = from_yaml(to_yaml(shape))
    assert again["nodes"][0]["data"]["config"]["args"] == args


def test_positions_labels_and_retry_are_kept_and_the_editor_s_keys_dropped() -> None:
    node = {**a_node(label="Fetch \u2713", retry={"max_attempts": 2}), "selected": True, "width": 3}
    other = {"id": "b", "type": "noop"}
    edge = {"id": "e1", "source": "a", "target": "b", "markerEnd": {}, "targetHandle": None}
    shape = shape_of(read_definition(a_document(node, other, edges=[edge])))
    assert shape["nodes"][0]["position"] == {"x": 1, "y": 2.5}
    assert shape["nodes"][0]["data"]["label"] == "Fetch \u2713"
    assert shape["nodes"][0]["data"]["retry"]["max_attempts"] == 2
    assert "selected" not in shape["nodes"][0]
    assert shape["edges"] == [
        {"id": "e1", "source": "a", "target": "b", "type": "default", "sourceHandle": None}
    ]


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ([], ("", "invalid_field")),
        ({"nodes": [a_node()]}, ("name", "missing_field")),
        ({"name": "w"}, ("nodes", "missing_field")),
        (a_document(status="draft"), ("status", "unknown_field")),
        (a_document(a_node(pool="x")), ("nodes[0].data.pool", "unknown_field")),
        (a_document(a_node(priority=True)), ("nodes[0].data.priority", "invalid_field")),
        (a_document(a_node(priority=10)), ("nodes[0].data.priority", "invalid_field")),
        (a_document(a_node(queue="A b")), ("nodes[0].data.queue", "invalid_field")),
        (a_document(a_node(timeout_s=0)), ("nodes[0].data.timeout_s", "invalid_field")),
        (a_document(a_node(timeout_s="5")), ("nodes[0].data.timeout_s", "invalid_field")),
        (a_document(a_node(timeout_s=1e9)), ("nodes[0].data.timeout_s", "invalid_field")),
        (
            a_document(a_node(trigger_rule="one_success")),
            ("nodes[0].data.trigger_rule", "unsupported_trigger_rule"),
        ),
        (
            a_document(a_node(retry={"max_attempts": 101})),
            ("nodes[0].data.retry.max_attempts", "invalid_field"),
        ),
        (a_document(a_node(config=[])), ("nodes[0].data.config", "invalid_field")),
        (a_document(a_node(label="a\0")), ("nodes[0].data.label", "bad_text")),
        (a_document(a_node(config={"x": "\ud800"})), ("nodes[0].data.config.x", "bad_text")),
        (a_document(a_node(config={"x": float("nan")})), ("nodes[0].data.config.x", "bad_number")),
        (a_document({"id": 1, "type": "noop"}), ("nodes[0].id", "invalid_field")),
        (a_document(edges=[{"source": "a"}]), ("edges[0].target", "missing_field")),
    ],
)
def test_each_shape_problem_names_its_place(document: Any, problem: tuple[str, str]) -> None:
    assert problem in refused(document)


@pytest.mark.parametrize(
    "name", ["", "  ", " a", "-rf", ".", "..", "a\u202eb", "a\u200bb", "a\nb", "x" * 121, 3, None]
)
def test_names_people_cannot_see_or_type_are_refused(name: Any) -> None:
    assert ("name", "invalid_field") in refused({**a_document(), "name": name})


def test_names_are_kept_in_one_unicode_form() -> None:
    assert from_yaml("name: Cafe\u0301\nnodes: {a: noop}")["name"] == "Caf\u00e9"
    assert read_definition({**a_document(), "name": "Caf\u0065\u0301 2"}).name == "Caf\u00e9 2"


def test_shape_and_meaning_are_reported_together() -> None:
    document = a_document(
        a_node(priority="high"),
        {"id": "b", "type": "htp"},
        edges=[{"source": "a", "target": "b"}, {"source": "b", "target": "a"}],
    )
    assert refused(document) == {
        ("nodes[0].data.priority", "invalid_field"),
        ("nodes[1].type", "unknown_type"),
        ("nodes[0]", "cycle"),
    }


def test_an_unknown_field_hides_nothing() -> None:
    document = a_document(
        {**a_node(config={"x": 1}), "colour": "red"},
        {"id": "b", "type": "htp", "data": {"timeout": 3}},
        {"id": "c", "type": "transform", "data": {"config": {"expression": "1 +", "n": 2**53 + 1}}},
        edges=[{"source": "a", "target": "zz"}],
        owner="me",
    )
    found = {
        ("owner", "unknown_field"),
        ("nodes[0].colour", "unknown_field"),
        ("nodes[0].data.config.x", "invalid_config"),
        ("nodes[1].data.timeout", "unknown_field"),
        ("nodes[1].type", "unknown_type"),
        ("nodes[2].data.config.expression", "bad_expression"),
        ("nodes[2].data.config.n", "integer_too_large"),
        ("nodes[2].data.config.n", "invalid_config"),
        ("edges[0].target", "dangling_edge"),
    }
    assert refused(document) == found
    with pytest.raises(InvalidDefinition) as caught:
        taken_status({**document, "status": "live"})
    told = {(problem.path, problem.code) for problem in caught.value.problems}
    assert told == {*found, ("status", "bad_status")}


def test_an_unknown_field_in_yaml_hides_nothing() -> None:
    with pytest.raises(InvalidDefinition) as caught:
        from_yaml(
            "name: w\nowner: me\nstatus: live\n"
            "nodes:\n  a: {type: htp, colour: red}\n  b: {type: noop, needs: [zz], timeout_s: -1}"
        )
    assert [(problem.path, problem.code) for problem in caught.value.problems] == [
        ("owner", "unknown_field"),
        ("nodes.a.colour", "unknown_field"),
        ("nodes.b.needs[0]", "dangling_edge"),
        ("nodes[1].data.timeout_s", "invalid_field"),
        ("nodes[0].type", "unknown_type"),
    ]


@pytest.mark.parametrize("number", [9007199254740993, -(2**60), 18446744073709551616, 10**60])
def test_a_number_beyond_2_53_is_refused_in_yaml_and_json_alike(number: int) -> None:
    problem = ("nodes[0].data.config.x", "integer_too_large")
    document = a_document(a_node(config={"x": number}))
    assert problem in refused(document)
    assert problem in refused(from_yaml(json.dumps(document)))
    assert problem in refused(from_yaml(f"name: w\nnodes: {{a: {{config: {{x: {number}}}}}}}"))


def test_a_number_of_many_digits_is_a_number_in_yaml() -> None:
    text = (
        "name: w\nnodes: {a: {config: {f: 0.10000000000000000000000000000000000000000001, i: %s}}}"
    )
    config = from_yaml(text % ("0" * 60 + "7"))["nodes"][0]["data"]["config"]
    assert config == {"f": 0.1, "i": 7}
    with pytest.raises(InvalidDefinition, match="1e999 is out of range") as caught:
        from_yaml("name: w\nnodes: {a: {config: {x: 1e999}}}")
    assert caught.value.problems[0].code == "bad_number"


def test_json_is_read_as_json() -> None:
    rocket = a_document(a_node(label="\N{ROCKET}", config={"x": "\u2028\x7f"}))
    assert "\\ud83d" in json.dumps(rocket)
    assert from_yaml(json.dumps(rocket)) == rocket
    assert from_yaml(json.dumps(rocket, ensure_ascii=False)) == rocket
    with pytest.raises(InvalidDefinition, match="'name' is given twice"):
        from_yaml('{"name": "a",\n"name": "b", "nodes": []}')
    half = from_yaml(json.dumps(a_document(a_node(label="\ud83d"))))
    assert ("nodes[0].data.label", "bad_text") in refused(half)


def test_bottomless_nesting_is_refused() -> None:
    deep: Any = 1
    for _ in range(500):
        deep = [deep]
    assert {code for _, code in refused(a_document(a_node(config={"x": deep})))} == {"too_deep"}


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("", "invalid_field", "map"),
        ("a: &x [1]\nb: *x", "bad_yaml", "line 1"),
        ("a: !!python/object/apply:os.system [x]", "bad_yaml", "tags"),
        ("a: 1\nb: 2\na: 3", "duplicate_key", "line 3"),
        ("a: [", "bad_yaml", "line"),
        ("[" * 200, "too_deep", "64"),
        ("a: 1\n---\nb: 2", "bad_yaml", "one document"),
        ("\0", "bad_yaml", "control"),
        ("x: " + "a" * 5_000_001, "too_large", "5000000"),
        ("name: x\nnodes: {a: {type: noop, need: b}}", "unknown_field", "did you mean 'needs'"),
        ("name: x\nnodes: {a: {type: noop, needs: [zz]}}", "dangling_edge", "zz"),
        ("name: x\nnodes: {a: {type: noop, needs: {b: c}}}", "invalid_field", "node ids"),
        ("name: x\nnodes: 3", "missing_field", "map of ids"),
    ],
)
def test_yaml_that_is_refused_says_where(text: str, code: str, says: str) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        from_yaml(text)
    assert caught.value.problems[0].code == code
    assert says in caught.value.problems[0].message


def test_yaml_may_hold_the_json_form() -> None:
    assert from_yaml("name: x\nnodes: [{id: a, type: noop}]")["nodes"] == [
        {"id": "a", "type": "noop"}
    ]
