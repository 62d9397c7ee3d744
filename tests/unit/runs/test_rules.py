"""The trigger rules against the ones that the tests' own invariants are checked with."""

from __future__ import annotations

from itertools import combinations_with_replacement

import pytest

from orchestrator.models.definitions.node import TriggerRule
from orchestrator.models.runs.rules import rule_met
from tests.invariants import rule_holds

MEANINGS = ("ok", "failed", "skipped")


@pytest.mark.parametrize("rule", TriggerRule)
def test_a_rule_decides_as_the_invariants_say(rule: TriggerRule) -> None:
    for width in range(4):
        for means in combinations_with_replacement(MEANINGS, width):
            met = rule_met(rule, width, means.count("failed"), means.count("skipped"))
            assert met is rule_holds(rule, list(means)), means


def test_an_unknown_rule_is_never_met() -> None:
    assert not rule_met("one_success", 1, 0, 0)
