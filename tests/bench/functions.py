"""What `python` nodes of the benchmark do; workers load it by ZQ_WORKER__MODULES."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from workers.functions import Fail, function
from workers.handlers import Context

_never = threading.Event()


@function("bench.clock")
def clock(context: Context) -> dict[str, float]:
    """Return when this attempt's handler started and ended, by the machine's clock."""
    started = time.time()
    return {"started": started, "ended": time.time()}


@function("bench.work")
def work(context: Context, seconds: float) -> dict[str, float]:
    """Wait as a node that calls something outside does."""
    _never.wait(seconds)
    return {"ended": time.time()}


@function("bench.gate")
def gate(context: Context, path: str) -> str:
    """Wait until a file exists."""
    while not Path(path).exists():
        _never.wait(0.01)
    return "open"


@function("bench.fail")
def fail(context: Context) -> None:
    """Say three lines and fail."""
    for number in range(3):
        print(f"line {number} of a node that is about to fail")
    raise Fail("benchmark", "as it was meant to")


@function("bench.keep")
def keep(context: Context) -> None:
    """Leave a file behind."""
    context.artifacts.put("kept.txt", "a line\n" * 100)
