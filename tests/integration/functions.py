"""Functions for python nodes of live tests; workers load them by ZQ_WORKER__MODULES.

Each start leaves a line in the effects file: what the outside world saw of an attempt.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from workers.functions import Fail, function
from workers.handlers import Context


def _effect(context: Context, effects: str) -> None:
    line = f"{context.run_id} {context.node_id} {context.attempt} {os.getpid()}\n"
    with Path(effects).open("a") as file:
        file.write(line)


@function("test.note")
def note(context: Context, effects: str, value: Any = None) -> Any:
    """Leave a trace and return."""
    _effect(context, effects)
    return {"value": value}


@function("test.hold")
def hold(context: Context, effects: str, gate: str, stubborn: bool = False) -> str:
    """Leave a trace, then work until the gate file exists; a stubborn one cannot be talked to."""
    _effect(context, effects)
    while not Path(gate).exists():
        try:
            time.sleep(0.02)
        except BaseException:
            if not stubborn:
                raise
    return "let go"


@function("test.work")
def work(context: Context, effects: str, seconds: float) -> float:
    """Leave a trace and take some time."""
    _effect(context, effects)
    time.sleep(seconds)
    return seconds


@function("test.flaky")
def flaky(context: Context, effects: str, good_from: int) -> int:
    """Fail until attempt `good_from`."""
    _effect(context, effects)
    if context.attempt < good_from:
        raise Fail("flaky", f"attempt {context.attempt} is too early")
    return context.attempt


@function("test.die")
def die(context: Context, effects: str, good_from: int = 1_000) -> int:
    """Take the whole child process down until attempt `good_from`."""
    _effect(context, effects)
    if context.attempt < good_from:
        os.kill(os.getpid(), 9)
    return context.attempt


@function("test.chatty")
def chatty(context: Context, lines: int) -> int:
    """Say many things in three ways."""
    for number in range(lines):
        print(f"line {number}")
    context.log.warning("that was all")
    return lines
