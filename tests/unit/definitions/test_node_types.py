"""The catalogue's schemas, retry delays, and what a task inherits."""

from __future__ import annotations

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.models.definitions.node import CATALOGUE, MAX_LOSSES, Backoff, OnLost, RetryPolicy

STEPS = {
    Backoff.FIXED: [2, 2, 2, 2],
    Backoff.LINEAR: [2, 4, 6, 8],
    Backoff.EXPONENTIAL: [2, 4, 8, 10],
}


@pytest.mark.parametrize("backoff", Backoff)
def test_delays_grow_as_named_up_to_the_limit(backoff: Backoff) -> None:
    policy = RetryPolicy(delay_s=2, backoff=backoff, max_delay_s=10, jitter=False)
    assert [policy.delay_after(no) for no in (1, 2, 3, 4)] == STEPS[backoff]


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(Backoff),
    st.integers(-5, 10**12),
    st.floats(0, 1e6),
    st.floats(0, 1e6),
    st.floats(0, 1, exclude_max=True),
)
def test_no_delay_is_negative_or_over_the_limit(
    backoff: Backoff, attempt: int, delay_s: float, max_delay_s: float, chance: float
) -> None:
    policy = RetryPolicy(delay_s=delay_s, backoff=backoff, max_delay_s=max_delay_s)
    assert 0 <= policy.delay_after(attempt, lambda: chance) <= max_delay_s


def test_jitter_takes_away_up_to_half() -> None:
    policy = RetryPolicy(delay_s=8, backoff=Backoff.FIXED)
    assert policy.delay_after(1, lambda: 0.0) == 8
    assert policy.delay_after(1, lambda: 0.5) == 6


def test_which_attempts_are_followed_by_another() -> None:
    policy = RetryPolicy(max_attempts=2, unless=("http_404",))
    assert policy.retries(1, "timeout")
    assert not policy.retries(1, "http_404")
    assert not policy.retries(2, "timeout")
    assert policy.max_losses == MAX_LOSSES
    assert RetryPolicy(on_lost=OnLost.FAIL).max_losses == 0


@pytest.mark.parametrize("name", CATALOGUE)
def test_schemas_are_valid_and_fit_their_example(name: str) -> None:
    kind = CATALOGUE[name]
    jsonschema_rs.meta.validate(kind.config_schema)
    jsonschema_rs.meta.validate(kind.output_schema)
    jsonschema_rs.validate(kind.config_schema, kind.example)
    assert kind.config_schema["additionalProperties"] is False
    for field in kind.config_schema["properties"].values():
        assert field["title"]
        assert field["description"]


@pytest.mark.parametrize(
    ("name", "config", "fits"),
    [
        ("noop", {}, True),
        ("noop", {"x": 1}, False),
        ("wait", {"seconds": "{{ inputs.n }}"}, True),
        ("wait", {"seconds": "5"}, False),
        ("wait", {}, False),
        ("wait", {"seconds": 1, "until": "2026-01-01T00:00:00Z"}, False),
        ("http", {"url": "x", "expect": [204, "300-399"], "parse": "csv"}, True),
        ("http", {"url": "x", "expect": ["3xx"]}, False),
        ("http", {"url": "x", "method": "GETS"}, False),
        ("http", {"url": "x", "json": {}, "body": ""}, False),
        ("http", {"url": "x", "headers": {"a b": "c"}}, False),
        ("branch", {"cases": [{"when": "true", "handle": "a"}], "many": True}, True),
        ("branch", {"cases": []}, False),
        ("python", {"function": "os.system; x"}, False),
        ("transform", {"expression": 3}, False),
    ],
)
def test_which_configs_fit(name: str, config: dict[str, object], fits: bool) -> None:
    assert jsonschema_rs.is_valid(CATALOGUE[name].config_schema, config) is fits


def test_a_branch_takes_its_cases_handles_and_its_default() -> None:
    config = {"cases": [{"when": "a", "handle": "x"}, {"when": "b", "handle": "x"}], "default": "y"}
    assert CATALOGUE["branch"].handles(config) == ("x", "y")
    assert CATALOGUE["noop"].handles({}) == ()
