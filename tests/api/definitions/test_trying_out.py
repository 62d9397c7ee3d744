"""Trying things out: one node on a worker, and expressions here."""

from __future__ import annotations

import threading
import time
from typing import Any
from uuid import UUID

import pytest

from orchestrator.models.access.permissions import ADMIN
from orchestrator.models.definitions.node import CATALOGUE
from tests.api.conftest import Api, refused
from tests.factories import take_all
from tests.waiting import wait_for
from web.context import shared
from web.schemas.nodes import PreviewBody


def play_worker(api: Api, **settle: Any) -> threading.Thread:
    """Do the next run that starts, as a worker would."""

    def work() -> None:
        wait_for(lambda: api.stored()[1], what="the run")
        listed = Api(api.client.application.test_client(), api.core).get("/runs").json["items"]
        (claim,) = api.claims(UUID(listed[0]["id"]))
        api.settle(claim, **settle)

    worker = threading.Thread(target=work)
    worker.start()
    return worker


def test_a_node_is_run_once_by_a_worker(api: Api) -> None:
    worker = play_worker(api, output={"x": 1}, says=(("info", "at work"),))
    answer = api.post("/nodes/types/noop/test", {"config": {}, "timeout_s": 20})
    worker.join()
    assert answer.status_code == 200, answer.text
    found = answer.json
    assert (found["state"], found["output"], found["error"]) == ("succeeded", {"x": 1}, None)
    assert [line["message"] for line in found["logs"]] == ["at work"]
    assert found["duration_ms"] >= 0
    run = api.get(f"/runs/{found['run_id']}").json
    assert run["tags"] == ["node-test"]
    assert api.get("/workflows").json["items"] == []


def test_a_node_without_an_end_is_cancelled(api: Api) -> None:
    started = time.monotonic()
    found = api.post("/nodes/types/noop/test", {"timeout_s": 1}).json
    assert time.monotonic() - started < 5
    assert (found["state"], found["error"]["code"]) == ("cancelled", "not_finished")


def test_the_same_key_tests_once(api: Api) -> None:
    headers = {"Idempotency-Key": "once"}
    body = {"timeout_s": 1}
    first, second = (
        api.post("/nodes/types/noop/test", body, headers=headers).json for _ in range(2)
    )
    assert first["run_id"] == second["run_id"]


def test_problems_name_the_fields_of_the_request(api: Api) -> None:
    found = refused(api.post("/nodes/types/http/test", {"config": {"methd": "GET"}}), 422)
    assert all(p["path"].startswith("config") for p in found["problems"])
    bad = {"config": {"expression": "1 +"}}
    assert refused(api.post("/nodes/types/transform/test", bad), 422)["problems"][0]["path"] == (
        "config.expression"
    )
    found = refused(api.post("/nodes/types/htp/test", {}), 404)
    assert "'http'" in found["detail"]
    for body in ({"config": []}, {"input": 1}, {"timeout_s": 61}, {"timeout_s": "5"}, {"x": 1}):
        refused(api.post("/nodes/types/noop/test", body), 422)
    assert api.stored() == (0, 0)


def test_those_who_test_never_take_every_thread(api: Api) -> None:
    take_all(api.client.application.extensions["zq"].waiters)
    answer = api.post("/nodes/types/noop/test", {})
    refused(answer, 503)
    assert answer.headers["Retry-After"]
    assert api.stored() == (0, 0)


@pytest.mark.parametrize("kind", sorted(CATALOGUE))
def test_examples_that_read_no_other_node_can_be_tried(api: Api, kind: str) -> None:
    config = CATALOGUE[kind].example.get("config", CATALOGUE[kind].example)
    answer = api.post(f"/nodes/types/{kind}/test", {"config": config, "timeout_s": 1})
    assert answer.status_code == (422 if "nodes." in str(config) else 200), answer.text


@pytest.mark.parametrize(
    ("body", "value"),
    [
        ({"expression": "1 + 2"}, 3),
        ({"expression": "inputs.n * 2", "scope": {"inputs": {"n": 21}}}, 42),
        ({"template": "n={{ inputs.n }}", "scope": {"inputs": {"n": 1}}}, "n=1"),
        ({"template": "{{ nodes.a.output }}", "scope": {"nodes": {"a": {"output": [1]}}}}, [1]),
        ({"template": ""}, ""),
        ({"expression": "now()", "now": "2026-01-31T08:00:00Z"}, "2026-01-31T08:00:00Z"),
    ],
)
def test_preview_gives_the_value(api: Api, body: dict[str, Any], value: Any) -> None:
    answer = api.post("/expressions/preview", body)
    assert answer.status_code == 200, answer.text
    assert answer.json == {"valid": True, "value": value, "problem": None}


@pytest.mark.parametrize(
    ("body", "position", "word"),
    [
        ({"expression": "1 + ~"}, 5, "cannot read"),
        ({"template": "ab {{ 1"}, 4, "closing"),
        ({"expression": "inputs.x", "scope": {"inputs": {"y": 1}}}, None, "there is no 'x'"),
        ({"expression": "1 / 0"}, None, "division by zero"),
        ({"expression": "__import__('os')"}, None, ""),
        ({"expression": "inputs.a"}, None, ""),
    ],
)
def test_preview_says_why_there_is_none(
    api: Api, body: dict[str, Any], position: int | None, word: str
) -> None:
    found = api.post("/expressions/preview", body).json
    assert (found["valid"], found["value"]) == (False, None)
    assert found["problem"]["code"] == "expression_error"
    assert word in found["problem"]["message"]
    if position is not None:
        assert found["problem"]["position"] == position


@pytest.mark.parametrize(
    "body",
    [{}, {"expression": "1", "template": "1"}, {"expression": 1}, {"expression": ""},
     {"expression": "x" * 8193}, {"expression": "1", "scope": {"os": 1}},
     {"expression": "1", "scope": []}, {"template": "{{ 1 }}" * 51},
     {"expression": "1", "now": "then"}],
)  # fmt: skip
def test_previews_that_do_not_fit(api: Api, body: dict[str, Any]) -> None:
    refused(api.post("/expressions/preview", body), 422)


@pytest.mark.parametrize(
    "expression",
    [
        "inputs.l.map(a, inputs.l.map(b, inputs.l.map(c, inputs.l.map(d, a + b + c + d))))",
        "inputs.l.map(a, inputs.l).map(b, inputs.l.map(c, string(b)))",
        "[1,2,3,4,5,6,7,8].map(a, inputs.t + inputs.t + inputs.t + inputs.t)",
    ],
)
def test_previews_are_bounded(api: Api, expression: str) -> None:
    scope = {"inputs": {"l": list(range(500)), "t": "x" * 20_000}}
    started = time.perf_counter()
    for body in ({"expression": expression}, {"template": f"{{{{ {expression} }}}} " * 40}):
        answer = api.post("/expressions/preview", {**body, "scope": scope})
        assert answer.status_code == 200
    assert time.perf_counter() - started < 3


@pytest.mark.parametrize(
    "source",
    ["floor(1e30)", "ceil(1e300)", "abs(-1e30) + floor(1e30)", r"'\ud800'", "99999999999999999999",
     "-99999999999999999999", "1e999", "parse_json('123456789012345678901234567890')",
     "parse_json('[1e999]')", r"parse_json('\"\\ud800\"')"],
)  # fmt: skip
def test_a_value_that_json_has_not_is_a_problem_of_the_preview(api: Api, source: str) -> None:
    answer = api.post("/expressions/preview", {"expression": source})
    assert answer.status_code == 200, answer.text
    assert answer.json["valid"] is False
    assert answer.json["problem"]["code"] == "expression_error"


def test_a_scope_is_bounded() -> None:
    schema = PreviewBody()
    fits = {"expression": "1", "scope": {"inputs": {"t": "x" * 262_100}}}
    assert schema.validate(fits) == {}
    fits["scope"] = {"inputs": {"t": "x" * 262_144}}
    assert schema.validate(fits) == {"scope": ["larger than 256 KB"]}


def test_a_principal_previews_one_thing_at_a_time(api: Api) -> None:
    first = api.post("/expressions/preview", {"expression": "1 + 1"})
    assert first.json["value"] == 2
    with api.client.application.app_context():
        places = shared().previews
    assert places.take(ADMIN)
    answer = api.post("/expressions/preview", {"expression": "1"})
    assert refused(answer, 429)["code"] == "rate_limited"
    assert answer.headers["Retry-After"] == "1"
    places.give_back(ADMIN)
    assert api.post("/expressions/preview", {"expression": "1"}).json["value"] == 1
