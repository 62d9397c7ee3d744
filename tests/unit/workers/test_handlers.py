"""Handlers without I/O, and what run_handler makes of values and exceptions."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import ExpressionError, HandlerError, StoreUnavailable
from orchestrator.models import plain_json
from orchestrator.models.definitions.catalogue import CATALOGUE
from orchestrator.models.plain_json import BadValue, plain
from orchestrator.models.runs.task import Failure, Outcome, Value, Wait
from tests.unit.handler_calls import NOW, call, context, failure_of, value_of
from workers import handlers
from workers.handlers import HANDLERS, StopRequested, fill_config, run_handler

SCOPE = {
    "inputs": {"day": "2026-01-31", "n": 7, "rows": [1, 2]},
    "nodes": {"total": {"output": 150}},
    "run": {"id": "r"},
    "now": NOW,
}


@pytest.fixture
def handle(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., Any]], Outcome]:
    """Run a function as if it were the handler of a type."""

    def run(handler: Callable[..., Any]) -> Outcome:
        monkeypatch.setattr(handlers, "HANDLERS", {"tested": handler})
        return run_handler("tested", {}, context("tested"))

    return run


def _raising(error: BaseException) -> Callable[..., Any]:
    def handler(config: Any, made: Any) -> Any:
        raise error

    return handler


def test_every_type_of_the_catalogue_has_a_handler() -> None:
    assert set(HANDLERS) == set(CATALOGUE)


def test_noop_gives_an_empty_object() -> None:
    assert value_of(call("noop", {})) == {}


def test_an_unknown_type_is_a_failure() -> None:
    assert "teleport" in failure_of(call("teleport", {}), "unknown_type", retryable=False)


def test_bare_fields_are_left_to_the_handler() -> None:
    config = {"cases": [{"when": "'{{ inputs.n }}' == ''", "handle": "a"}], "many": "{{ true }}"}
    filled = fill_config("branch", config, SCOPE)
    assert filled == {"cases": config["cases"], "many": True}
    assert fill_config("http", {"url": "http://h/{{ inputs.day }}"}, SCOPE) == {
        "url": "http://h/2026-01-31"
    }


class TestWait:
    def test_parks_first_and_tells_how_long_it_was_when_it_goes_on(self) -> None:
        assert call("wait", {"seconds": 5}) == Wait(seconds=5)
        later = NOW + timedelta(seconds=5.25)
        resumed = call("wait", {"seconds": 5}, resumed={}, now=later)
        assert value_of(resumed) == {"waited_s": 5.25}

    def test_nothing_to_wait_for_is_a_value_at_once(self) -> None:
        assert value_of(call("wait", {"seconds": 0})) == {"waited_s": 0}
        assert value_of(call("wait", {"until": "2020-01-01T00:00:00Z"})) == {"waited_s": 0}

    def test_until_counts_from_now_whatever_the_zone(self) -> None:
        assert call("wait", {"until": "2026-01-31T10:00:30+02:00"}) == Wait(seconds=30)

    @pytest.mark.parametrize(
        "config",
        [
            {"seconds": -1},
            {"seconds": math.nan},
            {"seconds": 1e12},
            {"seconds": True},
            {"seconds": "5"},
            {"until": "tomorrow"},
            {"until": "2026-01-31T10:00:30"},
            {"until": 5},
            {"until": "9999-01-01T00:00:00Z"},
        ],
    )
    def test_what_no_wait_can_be_is_refused(self, config: dict[str, Any]) -> None:
        failure_of(call("wait", config), "bad_config", retryable=False)


def test_transform_gives_the_value_of_its_expression() -> None:
    outcome = call("transform", {"expression": "nodes.total.output + inputs.n"}, scope=SCOPE)
    assert value_of(outcome) == 157


def test_a_broken_expression_is_not_worth_another_attempt() -> None:
    outcome = call("transform", {"expression": "inputs.nothing"}, scope=SCOPE)
    assert "nothing" in failure_of(outcome, "expression_error", retryable=False)


class TestBranch:
    CASES = (
        {"when": "nodes.total.output > 1000", "handle": "huge"},
        {"when": "nodes.total.output > 100", "handle": "big"},
        {"when": "nodes.total.output > 10", "handle": "some"},
    )

    def taken(self, **config: Any) -> list[str]:
        config = {"cases": list(self.CASES)} | config
        return value_of(call("branch", config, scope=SCOPE))["taken"]

    def test_takes_the_first_case_that_holds(self) -> None:
        assert self.taken(default="none") == ["big"]

    def test_takes_each_case_with_many(self) -> None:
        assert self.taken(many=True) == ["big", "some"]

    def test_takes_a_handle_of_two_cases_once(self) -> None:
        cases = [{"when": "true", "handle": "a"}, {"when": "true", "handle": "a"}]
        assert self.taken(cases=cases, many=True) == ["a"]

    def test_takes_the_default_when_none_holds_and_nothing_without_one(self) -> None:
        cases = [{"when": "false", "handle": "a"}]
        assert self.taken(cases=cases, default="d") == ["d"]
        assert self.taken(cases=cases) == []

    def test_does_not_look_at_cases_after_the_first_that_holds(self) -> None:
        cases = [{"when": "true", "handle": "a"}, {"when": "inputs.nothing", "handle": "b"}]
        assert self.taken(cases=cases) == ["a"]

    def test_a_condition_that_is_no_truth_value_is_refused(self) -> None:
        outcome = call("branch", {"cases": [{"when": "1", "handle": "a"}]}, scope=SCOPE)
        message = failure_of(outcome, "expression_error", retryable=False)
        assert "cases[0].when" in message
        assert "a number" in message


class TestExceptions:
    @pytest.mark.parametrize(
        ("error", "code", "retryable"),
        [
            (HandlerError("mine", "why"), "mine", True),
            (HandlerError("mine", "why", retryable=False), "mine", False),
            (ExpressionError("why"), "expression_error", False),
            (StoreUnavailable(), "store_unavailable", True),
            (ValueError("why"), "value_error", True),
            (RecursionError("why"), "recursion_error", True),
            (MemoryError(), "memory_error", True),
            (SystemExit(3), "exited", True),
            (type("HTTPError", (Exception,), {})("why"), "http_error", True),
            (type("Störung", (Exception,), {})("why"), "error", True),
            (GeneratorExit(), "generator_exit", True),
        ],
    )
    def test_become_failures_with_a_code(
        self, handle: Any, error: BaseException, code: str, retryable: bool
    ) -> None:
        failure_of(handle(_raising(error)), code, retryable=retryable)

    def test_a_real_endless_recursion_is_a_failure_with_a_short_traceback(
        self, handle: Any
    ) -> None:
        def deeper(*_: Any) -> Any:
            return deeper()

        outcome = handle(deeper)
        failure_of(outcome, "recursion_error", retryable=True)
        assert outcome.error.traceback.count('File "') == 10

    def test_the_traceback_shows_the_users_frames_by_relative_path(self, handle: Any) -> None:
        outcome = handle(_raising(KeyError("price")))
        assert outcome.error.message == "KeyError: 'price'"
        shown = outcome.error.traceback
        assert 'File "tests/unit/workers/test_handlers.py", line' in shown
        assert "run_handler" not in shown
        assert shown.endswith("KeyError: 'price'")

    def test_what_led_to_the_error_is_shown_first(self, handle: Any) -> None:
        def handler(*_: Any) -> Any:
            try:
                {}["price"]
            except KeyError as error:
                raise ValueError("no price") from error

        shown = handle(handler).error.traceback
        assert shown.index("KeyError: 'price'") < shown.index("ValueError: no price")

    def test_hostile_texts_are_tamed(self, handle: Any) -> None:
        outcome = handle(_raising(ValueError("a\0b\ud800\x1b[31m\n" + "x" * 50_000)))
        assert "\0" not in outcome.error.message
        assert len(outcome.error.message) <= 2000
        assert len(outcome.error.traceback.encode()) <= 8192
        outcome.error.message.encode()

    def test_an_error_that_cannot_be_shown_is_still_a_failure(self, handle: Any) -> None:
        class Hostile(Exception):
            def __str__(self) -> str:
                raise RuntimeError

        failure_of(handle(_raising(Hostile())), "hostile", retryable=True)

    def test_keyboard_interrupt_passes(self, handle: Any) -> None:
        with pytest.raises(KeyboardInterrupt):
            handle(_raising(KeyboardInterrupt()))


class TestStopping:
    def test_a_timeout_is_a_failure_that_says_where_it_was(self, handle: Any) -> None:
        outcome = handle(_raising(StopRequested("timeout")))
        assert isinstance(outcome, Failure)
        assert (outcome.error.code, outcome.timed_out) == ("timeout", True)
        assert "test_handlers.py" in str(outcome.error.traceback)

    @pytest.mark.parametrize("reason", ["cancelled", "lost"])
    def test_other_reasons_pass(self, handle: Any, reason: str) -> None:
        with pytest.raises(StopRequested) as caught:
            handle(_raising(StopRequested(reason)))
        assert caught.value.reason == reason

    def test_except_exception_does_not_hold_it_up(self, handle: Any) -> None:
        def stubborn(*_: Any) -> Any:
            try:
                raise StopRequested("lost")
            except Exception:
                return Value()

        with pytest.raises(StopRequested):
            handle(stubborn)

    def test_an_error_while_stopping_does_not_hide_it(self, handle: Any) -> None:
        def untidy(*_: Any) -> Any:
            try:
                raise StopRequested("lost")
            finally:
                raise OSError("the connection is half written")

        with pytest.raises(StopRequested):
            handle(untidy)


class Color(StrEnum):
    RED = "red"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc"), inner),
    max_leaves=20,
)


class TestPlain:
    @settings(max_examples=50)
    @given(JSON)
    def test_json_comes_out_as_it_went_in(self, value: Any) -> None:
        assert plain(value) == value

    def test_it_is_a_copy(self) -> None:
        value = {"a": [1]}
        copied = plain(value)
        value["a"].append(2)
        assert copied == {"a": [1]}

    def test_tuples_and_subclasses_become_what_json_has(self) -> None:
        copied = plain({Color.RED: (1, Color.RED)})
        assert copied == {"red": [1, "red"]}
        assert {type(key) for key in copied} == {str}
        assert [type(item) for item in copied["red"]] == [int, str]

    @pytest.mark.parametrize(
        ("value", "told"),
        [
            ({"rows": [1, {"price": Decimal(1)}]}, "$.rows[1].price: Decimal"),
            ({"two words": math.inf}, "$['two words']: inf"),
            ([math.nan], "$[0]: nan"),
            (2**63, "$: an integer beyond 64 bits"),
            ("a\0", "$: text with a NUL"),
            (["\ud800"], "$[0]: text with a NUL or a lone surrogate"),
            ({"\0": 1}, "$: text with a NUL"),
            ({1: 1}, "$: the key '1' is int"),
            (datetime(2026, 1, 1, tzinfo=UTC), "isoformat"),
            (b"", "artifacts.put"),
            ({1, 2}, "sorted"),
            ((n for n in ()), "return a list"),
            (object(), "object is not plain JSON"),
        ],
    )
    def test_anything_else_is_refused_with_its_path(self, value: Any, told: str) -> None:
        with pytest.raises(BadValue) as caught:
            plain(value)
        assert told in str(caught.value)

    def test_64_levels_are_the_limit(self) -> None:
        value: Any = 1
        for _ in range(64):
            value = [value]
        assert plain(value) == value
        with pytest.raises(BadValue, match="deep"):
            plain([value])
        value.append(value)
        with pytest.raises(BadValue, match="deep"):
            plain(value)

    def test_shared_parts_do_not_unfold_for_ever(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(plain_json, "MAX_VALUES", 10_000)
        value: list[Any] = ["lol"] * 100
        for _ in range(10):
            value = [value] * 100
        with pytest.raises(BadValue, match="values"):
            plain(value)

    def test_a_bad_output_is_a_failure(self, handle: Any) -> None:
        outcome = handle(lambda *_: Value(output={"at": sys}))
        assert failure_of(outcome, "bad_output", retryable=False).startswith("$.at: module")

    def test_a_bad_memo_is_a_failure(self, handle: Any) -> None:
        outcome = handle(lambda *_: Wait(seconds=1, memo={"at": sys}))
        failure_of(outcome, "bad_output", retryable=False)


class TestContext:
    def test_the_key_stays_over_attempts_and_differs_between_map_items(self) -> None:
        first, second = context(), context(attempt=2)
        assert first.idempotency_key == second.idempotency_key
        assert first.attempt_key != second.attempt_key
        keys = {context(map_index=no).idempotency_key for no in (None, 0, 1)}
        assert len(keys) == 3

    def test_remaining_time_never_falls_below_zero(self) -> None:
        assert context(timeout_s=-5).remaining_s() == 0
        assert 9 < context(timeout_s=10).remaining_s() <= 10

    def test_artifacts_take_text_and_bytes(self) -> None:
        made = context()
        assert made.artifacts.put("chart.svg", "<svg/>") == "chart.svg"
        assert made.artifacts.put("raw", b"\0", "image/png") == "raw"
        with pytest.raises(HandlerError) as caught:
            made.artifacts.put("../etc", "x")
        assert caught.value.error_code == "bad_artifact_name"
        with pytest.raises(HandlerError):
            made.artifacts.put("dict", {})  # type: ignore[arg-type]
