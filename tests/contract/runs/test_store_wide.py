"""What a move costs grows with its tasks, not with their square."""

from __future__ import annotations

import time

import pytest

from tests.contract.player import Player
from tests.contract.rigs import PostgresRig
from tests.factories import node, plan

#: Ten times the dependants may take so many times the time: linear with room for a busy machine.
MOST = 30


def settled_in_s(rig: PostgresRig, width: int, rule: str) -> float:
    """Settle a task with so many dependants; return the seconds that it took."""
    dependants = [node(f"n{i}", "first", rule=rule) for i in range(width)]
    player = Player(rig.store, plan(node("first"), *dependants))
    assert player.claim("first")
    ending = player.ending("first")
    began = time.perf_counter()
    moved = player.settle([ending], claim_id=player.claims["first"], room=100)
    took_s = time.perf_counter() - began
    assert len(moved.accepted) == 1
    return took_s


@pytest.mark.parametrize("rule", ["all_success", "all_failed"])
def test_ten_times_the_dependants_take_some_ten_times_the_time(
    postgres_rig: PostgresRig, rule: str
) -> None:
    few_s = min(settled_in_s(postgres_rig, 1_000, rule) for _ in range(3))
    many_s = settled_in_s(postgres_rig, 10_000, rule)
    assert many_s <= MOST * few_s
