"""A stop from a signal handler, at the worst moments."""

from __future__ import annotations

import subprocess
import sys
import threading

from orchestrator.process.stop_signal import StopSignal

#: A process of its own: what goes wrong here waits for itself, and can only be killed.
_EVERY_LINE = """
import os, signal, sys
from orchestrator.process.stop_signal import StopSignal

for line in range(40):
    stop = StopSignal()
    stop.on([signal.SIGUSR1])
    seen = 0

    def trace(frame, event, arg):
        global seen
        if event == "line":
            seen += 1
            if seen == line:
                os.kill(os.getpid(), signal.SIGUSR1)
        return trace

    sys.settrace(trace)
    while not stop.wait(0.001) and seen <= line:
        pass
    sys.settrace(None)
    assert line == 0 or stop.is_set()
print("heard before every line")
"""


def test_a_signal_before_any_line_of_a_wait_ends_it() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _EVERY_LINE], capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.stdout == "heard before every line\n", ended.stderr


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
