"""Definitions written in Python become the same documents as those written as YAML."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import pytest

from orchestrator import Workflow, node
from orchestrator.errors import InvalidDefinition
from orchestrator.services.definitions.reading import from_yaml, read_definition
from workers import functions
from workers.functions import function

YAML = """\
name: daily-report
description: Sales of a day
inputs: {day: {type: string, format: date}}
settings: {timeout_s: 60}
nodes:
  fetch: {type: http, config: {url: "http://x/{{ inputs.day }}"}, retry: {max_attempts: 5}}
  size:
    type: branch
    needs: [fetch]
    config: {cases: [{when: nodes.fetch.output.status == 200, handle: ok}]}
  total: {type: transform, needs: [size.ok], label: Total, config: {expression: "1 + 1"}}
"""


def test_it_is_the_document_of_the_yaml_form() -> None:
    fetch = node(
        "fetch", type="http", config={"url": "http://x/{{ inputs.day }}"},
        retry={"max_attempts": 5},
    )  # fmt: skip
    cases = [{"when": "nodes.fetch.output.status == 200", "handle": "ok"}]
    flow = Workflow(
        "daily-report",
        description="Sales of a day",
        inputs={"day": {"type": "string", "format": "date"}},
        settings={"timeout_s": 60},
        nodes=[
            fetch,
            node("size", type="branch", after=fetch, config={"cases": cases}),
            node("total", type="transform", after=["size.ok"], label="Total",
                 config={"expression": "1 + 1"}),
        ],
    )  # fmt: skip
    assert flow.definition() == from_yaml(YAML)
    flow.check()
    assert read_definition(from_yaml(flow.to_yaml())) == read_definition(from_yaml(YAML))


def test_a_function_goes_by_the_name_it_was_registered_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(functions, "_registered", {})

    @function("reports.total")
    def total(rows: list[int]) -> int:
        return sum(rows)

    made = node("total", function=total, args={"rows": [1, 2]})
    assert made == node("total", function="reports.total", args={"rows": [1, 2]})
    assert (made.type, made.config["function"]) == ("python", "reports.total")


def test_a_function_that_workers_could_not_find_is_refused() -> None:
    def total() -> int:
        return 1

    with pytest.raises(ValueError, match=r"total is not registered.*@workers\.functions"):
        node("total", function=total)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"type": "noop", "function": "f"},
        {"function": "f", "config": {}},
        {"type": "noop", "args": {}},
    ],
    ids=["neither", "both", "function with config", "type with args"],
)
def test_what_cannot_be_meant_is_a_type_error(given: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="'a'"):
        node("a", **given)


def test_ids_given_twice_and_unknown_ones_are_told() -> None:
    with pytest.raises(InvalidDefinition, match="twice: a"):
        Workflow("w", [node("a", type="noop"), node("a", type="noop")]).definition()
    with pytest.raises(InvalidDefinition, match="did you mean 'fetch'"):
        Workflow("w", [node("fetch", type="noop"), node("b", type="noop", after="fetsch")]).check()


def test_check_tells_every_problem() -> None:
    flow = Workflow("w", [node("a", type="htp"), node("b", type="http", config={"metod": "GET"})])
    with pytest.raises(InvalidDefinition) as refused:
        flow.check()
    assert {problem.node for problem in refused.value.problems} == {"a", "b"}


@pytest.mark.parametrize("value", [math.nan, math.inf, object(), {1}])
def test_what_is_no_json_is_refused(value: object) -> None:
    with pytest.raises(InvalidDefinition, match="not plain JSON"):
        Workflow("w", [node("a", type="wait", config={"seconds": value})]).definition()


@pytest.mark.parametrize(
    "text", ["a\x85b", "\u2028", "\ufeffx", "🎉", "on", "1e3", "{{ x }}", "\t"]
)
def test_text_stays_as_it_is(text: str) -> None:
    made = Workflow("w", [node("a", type="noop", config={"text": text, "n": [text]})]).definition()
    assert made["nodes"][0]["data"]["config"] == {"text": text, "n": [text]}


def test_the_package_itself_imports_next_to_nothing() -> None:
    code = "import sys, orchestrator; print(*(m for m in sys.modules if m.startswith('orch')))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    # What finds our packages beside a user's of the same names must be there from the start.
    process = "orchestrator.process"
    assert set(loaded.stdout.split()) == {"orchestrator", process, f"{process}.own_packages"}
    with pytest.raises(ImportError):
        exec("from orchestrator import nothing")
