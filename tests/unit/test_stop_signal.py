"""A stop from a signal handler, at the worst moments."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest

from orchestrator.stop_signal import StopSignal


@pytest.fixture
def alarm() -> Iterator[None]:
    """Turn a wait for ever into a failure."""

    def rang(_number: int, _frame: FrameType | None) -> None:
        pytest.fail("it waits for itself")

    earlier = signal.signal(signal.SIGALRM, rang)
    own = signal.getsignal(signal.SIGUSR1)
    signal.setitimer(signal.ITIMER_REAL, 20)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, earlier)
        signal.signal(signal.SIGUSR1, own)


@pytest.mark.usefixtures("alarm")
def test_a_signal_before_any_line_of_a_wait_ends_it() -> None:
    for line in range(40):
        stop = StopSignal()
        stop.on([signal.SIGUSR1])
        seen = 0

        def trace(_frame: FrameType, event: str, _arg: Any, at: int = line) -> Any:
            nonlocal seen
            if event == "line":
                seen += 1
                if seen == at:
                    os.kill(os.getpid(), signal.SIGUSR1)
            return trace

        sys.settrace(trace)
        try:
            while not stop.wait(0.001):
                if seen > line:
                    break
        finally:
            sys.settrace(None)
        assert line == 0 or stop.is_set()


def test_it_is_heard_by_every_waiter_and_stays() -> None:
    stop = StopSignal()
    heard: list[bool] = []
    waiters = [threading.Thread(target=lambda: heard.append(stop.wait(20))) for _ in range(3)]
    for waiter in waiters:
        waiter.start()
    assert not stop.is_set()
    stop.set()
    stop.set()
    for waiter in waiters:
        waiter.join(10)
    assert heard == [True] * 3
    assert stop.wait(20)


def test_without_a_stop_a_wait_ends_with_its_time() -> None:
    assert StopSignal().wait(0.001) is False
