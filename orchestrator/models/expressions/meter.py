"""What one evaluation may still cost: steps, time and bytes.

A step is an item, or 64 bytes of text, that is looked at or made. Everything an expression does
is charged before it is done, so none runs for long, whatever it says and whatever it reads.
"""

from __future__ import annotations

from time import monotonic
from typing import Any

from orchestrator.errors import ExpressionError

#: Steps of one evaluation, and again as many to write down its result.
MAX_STEPS = 2_000_000
#: Bytes that one evaluation may make, and again as many for its result.
MAX_MADE_BYTES = 64 << 20
#: Seconds for an evaluation whose caller names no deadline.
DEADLINE_S = 10.0
#: So many steps after the clock was looked at, it is looked at again.
LOOK_STEPS = 1000
_LIST_BYTES, _ITEM_BYTES = 64, 32
_MAP_BYTES, _ENTRY_BYTES = 64, 100


class AllowanceSpent(ExpressionError):
    """The expression does too much work; do it in a `python` node, or over less data."""


class Meter:
    """The allowance of one evaluation; AllowanceSpent when it is used up.

    `until` is on `time.monotonic()`'s clock.
    """

    __slots__ = ("_bytes", "_look", "_steps", "_until", "left")

    def __init__(self, steps: int | None = None, until: float | None = None) -> None:
        self._steps = MAX_STEPS if steps is None else steps
        self._until = monotonic() + DEADLINE_S if until is None else until
        self.renew()

    def renew(self) -> None:
        """Begin again with steps and bytes; the deadline stays."""
        self.left = self._steps
        self._look = self._steps
        self._bytes = MAX_MADE_BYTES

    def charge(self, steps: int) -> None:
        """Take so many steps."""
        self.left -= steps
        if self.left < self._look:
            self._check()

    def _check(self) -> None:
        if self.left < 0:
            raise AllowanceSpent
        if monotonic() > self._until:
            raise AllowanceSpent(
                "The expression takes too long; do it in a `python` node, or over less data."
            )
        self._look = max(0, self.left - LOOK_STEPS)

    def make(self, size_bytes: int) -> None:
        """Take so many bytes."""
        self._bytes -= size_bytes
        if self._bytes < 0:
            raise AllowanceSpent(
                f"The expression makes more than {MAX_MADE_BYTES >> 20} MB; do it in a `python`"
                " node, or over less data."
            )

    def make_text(self, size: int) -> None:
        """Take what a text of so many characters costs."""
        self.charge(size >> 6)
        self.make(size)

    def make_list(self, size: int) -> None:
        """Take what a list of so many items costs."""
        self.charge(size)
        self.make(_LIST_BYTES + _ITEM_BYTES * size)

    def make_map(self, size: int) -> None:
        """Take what a map of so many entries costs."""
        self.charge(size)
        self.make(_MAP_BYTES + _ENTRY_BYTES * size)

    def made(self, value: Any) -> None:
        """Take what a value cost that was made just now; what it holds was there before."""
        if isinstance(value, str):
            self.make_text(len(value))
        elif isinstance(value, list):
            self.make_list(len(value))
        elif isinstance(value, dict):
            self.make_map(len(value))


def units(value: Any) -> int:
    """The steps of looking at a value once, without what its items hold."""
    if isinstance(value, str):
        return len(value) >> 6
    return len(value) if isinstance(value, list | dict) else 0
