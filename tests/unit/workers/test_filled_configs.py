"""What expressions give a config is held to what holds in a file; what a handler raises is told."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import HandlerError
from tests.unit.handler_calls import NOW
from workers.functions import Wait, function
from workers.handlers import Context, fill_config
from workers.testing import run_workflow

SCOPE = {"inputs": {"map": {"a": 1}, "text": "x", "n": 3, "none": None}, "nodes": {}, "now": NOW}


@pytest.mark.parametrize(
    ("type_", "config", "field"),
    [
        ("http", {"url": "http://h", "query": {"f": "{{ inputs.map }}"}}, "config.query.f"),
        ("http", {"url": "http://h", "query": {"f": ["{{ inputs.map }}"]}}, "config.query.f"),
        ("http", {"url": "http://h", "headers": {"x": "{{ inputs.map }}"}}, "config.headers.x"),
        ("http", {"url": "http://h", "headers": "{{ inputs.text }}"}, "config.headers"),
        ("http", {"url": "{{ inputs.n }}"}, "config.url"),
        ("http", {"url": "http://h", "method": "{{ inputs.text }}"}, "config.method"),
        ("http", {"url": "http://h", "csv": {"types": {"a": "{{ inputs.text }}"}}}, "config.csv"),
        ("wait", {"seconds": "{{ inputs.text }}"}, "config.seconds"),
        ("wait", {"seconds": "{{ -inputs.n }}"}, "config.seconds"),
        ("python", {"function": "f", "args": "{{ inputs.n }}"}, "config.args"),
        ("branch", {"cases": [{"when": "1", "handle": "a"}], "many": "{{ 1 }}"}, "config.many"),
    ],
)
def test_a_value_of_the_wrong_kind_names_its_field(
    type_: str, config: dict[str, Any], field: str
) -> None:
    with pytest.raises(HandlerError) as told:
        fill_config(type_, config, SCOPE)
    assert (told.value.error_code, told.value.retryable) == ("bad_config", False)
    assert told.value.detail.startswith(field)


def test_values_that_fit_pass() -> None:
    given = {"url": "http://h/{{ inputs.text }}", "headers": {"a": "{{ inputs.n }}"}}
    given |= {"query": {"q": "{{ inputs.none }}"}, "json": "{{ inputs.map }}"}
    assert fill_config("http", given, SCOPE) == {
        "url": "http://h/x", "headers": {"a": 3}, "query": {"q": None}, "json": {"a": 1},
    }  # fmt: skip
    assert fill_config("wait", {"seconds": "{{ inputs.n }}"}, SCOPE) == {"seconds": 3}


def run(type_: str, config: dict[str, Any], secrets: Any = None, **data: Any) -> Any:
    nodes = [{"id": "a", "type": type_, "data": {"config": config, **data}}]
    return run_workflow({"name": "filled", "nodes": nodes}, {"m": {"a": 1}}, secrets=secrets)


@pytest.mark.parametrize("secret", [False, True])
def test_a_run_fails_with_it_at_its_first_attempt(secret: bool) -> None:
    headers = {"x": "{{ secrets.t }}"} if secret else {}
    config = {"url": "http://127.0.0.1:1/", "query": {"q": "{{ inputs.m }}"}, "headers": headers}
    retry = {"max_attempts": 3, "delay_s": 0}
    result = run("http", config, {"t": "swordfish"}, retry=retry)
    assert result.errors["a"]["code"] == "bad_config"
    assert result.errors["a"]["message"].startswith("config.query.q: ")
    assert result.tasks["a"].attempt == 1


@function("filled.raises")
def raises(token: str) -> None:
    raise ValueError(f"no {token} here")


def test_the_traceback_of_an_exception_is_in_the_task_s_log() -> None:
    config = {"function": "filled.raises", "args": {"token": "{{ secrets.t }}"}}
    result = run("python", config, {"t": "swordfish"})
    lines = [event for event in result.events if event.kind == "log"]
    assert {line.level for line in lines} == {"error"}
    assert lines[0].message == "ValueError: no *** here"
    assert any("in raises" in line.message for line in lines)
    assert lines[-1].message == "ValueError: no *** here"
    assert "swordfish" not in repr(result.events)


@function("filled.waits")
def waits(context: Context) -> Any:
    if context.resumed is None:
        raise Wait(0.3, {"left_s": context.remaining_s()})
    return context.resumed["left_s"], context.remaining_s()


def test_time_spent_waiting_does_not_count_for_the_timeout() -> None:
    result = run("python", {"function": "filled.waits"}, timeout_s=0.25)
    assert result.state == "succeeded", result.errors
    first_s, second_s = result.outputs["a"]
    assert 0 < first_s <= 0.25
    assert 0 < second_s <= 0.25
