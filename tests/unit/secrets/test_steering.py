"""Secrets steer nothing by being masked: what the definition itself says stays as it is."""

from __future__ import annotations

from typing import Any

from workers.functions import Fail, function
from workers.testing import run_workflow


def node(id: str, type: str, config: Any = None, **data: Any) -> dict[str, Any]:
    return {"id": id, "type": type, "data": {"config": config or {}, **data}}


def flow(*nodes: dict[str, Any], edges: tuple[tuple[str, str, str | None], ...] = ()) -> Any:
    made = [
        {"source": source, "target": target} | ({"sourceHandle": handle} if handle else {})
        for source, target, handle in edges
    ]
    return {"name": "steering", "nodes": list(nodes), "edges": made}


def test_a_branch_takes_its_arm_though_the_handle_holds_a_secret() -> None:
    cases = [{"when": "secrets.stage == 'prod'", "handle": "production"}]
    definition = flow(
        node("where", "branch", {"cases": cases, "default": "test"}),
        node("deploy", "noop"),
        node("try_out", "noop"),
        edges=(("where", "deploy", "production"), ("where", "try_out", "test")),
    )
    result = run_workflow(definition, secrets={"stage": "prod"})
    assert result.states == {"where": "succeeded", "deploy": "succeeded", "try_out": "skipped"}
    assert result.outputs["where"] == {"taken": ["production"]}


def test_keys_that_the_definition_names_are_found_by_what_follows() -> None:
    made = "{'production': secrets.stage == 'prod', \"host\": secrets.stage, secrets.stage: 1}"
    definition = flow(
        node("a", "transform", {"expression": made}),
        node("b", "transform", {"expression": "nodes.a.output.production"}),
        edges=(("a", "b", None),),
    )
    result = run_workflow(definition, secrets={"stage": "prod"})
    assert result.outputs["a"] == {"production": True, "host": "***", "***": 1}
    assert result.outputs["b"] is True


@function("steering.fails")
def fails(token: str, code: str) -> None:
    raise Fail(code, token)


def test_codes_that_the_policy_names_hold() -> None:
    def attempts(unless: list[str]) -> tuple[int, str]:
        config = {"function": "steering.fails"}
        config |= {"args": {"token": "{{ secrets.t }}", "code": "quota_reached"}}
        retry = {"max_attempts": 2, "delay_s": 0, "unless": unless}
        result = run_workflow(
            flow(node("a", "python", config, retry=retry)), secrets={"t": "quota"}
        )
        return result.tasks["a"].attempt, result.errors["a"]["code"]

    assert attempts(["quota_reached"]) == (1, "quota_reached")
    assert attempts([]) == (2, "error")


def test_codes_of_the_product_hold() -> None:
    config = {"url": "{{ secrets.t }}://x"}
    result = run_workflow(flow(node("a", "http", config)), secrets={"t": "bad_url"})
    assert result.errors["a"]["code"] == "bad_url"
