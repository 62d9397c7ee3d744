"""While a worker waits for its broker it shows life, but not for ever without trying."""

from __future__ import annotations

import threading

from tests.waiting import wait_for
from workers.broker_wait import Wait


def _threads() -> int:
    return sum(thread.name == "zq-wait" for thread in threading.enumerate())


def test_it_shows_life_between_begin_and_end_only() -> None:
    shown: list[int] = []
    wait = Wait(lambda: shown.append(1), every_s=0.002)
    assert not shown
    wait.begin()
    wait.begin()
    assert _threads() == 1
    wait_for(lambda: len(shown) > 3, what="signs of life")
    wait.end()
    wait.end()
    wait_for(lambda: _threads() == 0, what="the end of the thread")


def test_a_try_that_takes_too_long_is_a_hang() -> None:
    shown: list[int] = []
    looks: list[int] = []
    wait = Wait(lambda: shown.append(1), every_s=0.002, longest_s=0.05)
    wait.begin()
    try:
        wait_for(lambda: shown, what="a sign of life")

        def silent() -> bool:
            looks.append(len(shown))
            return len(looks) > 3 and looks[-1] == looks[-3]

        wait_for(silent, what="silence")
        wait.turn()
        wait_for(lambda: len(shown) > looks[-1], what="a sign of life after the next try")
    finally:
        wait.end()
