"""The one place where a test waits: for a condition, and never past a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(condition: Callable[[], T], *, timeout_s: float = 10.0, what: str = "") -> T:
    """Return the first truthy value of `condition`; AssertionError when the time is over."""
    deadline = time.monotonic() + timeout_s
    pause_s = 0.001
    while True:
        if found := condition():
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s} s in vain for {what or condition}")
        time.sleep(pause_s)
        pause_s = min(0.05, pause_s * 1.5)
