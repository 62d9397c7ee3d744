"""The arithmetic of the benchmark: medians with their range, percentiles, ratios pair by pair.

Knows nothing of what was measured; never removes an outlier.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Spread:
    """A median and the range it was taken from."""

    median: float
    low: float
    high: float
    count: int


def spread(values: Iterable[float]) -> Spread:
    """Return the median of `values` with the least and the greatest. ValueError for none."""
    known = sorted(values)
    if not known:
        raise ValueError("nothing was measured")
    return Spread(statistics.median(known), known[0], known[-1], len(known))


def percentile(values: Iterable[float], percent: float) -> float:
    """Return the smallest value that at least `percent` of all do not exceed (nearest rank)."""
    known = sorted(values)
    if not known or not 0 < percent <= 100:
        raise ValueError(f"the {percent}th percentile of {len(known)} values")
    return known[math.ceil(percent / 100 * len(known)) - 1]


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Return the spread of ours / theirs, pair by pair: what both met at the same time cancels.

    ValueError when the series differ in length: then they were not measured in turns.
    """
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} of ours and {len(theirs)} of theirs are no pairs")
    return spread(a / b for a, b in zip(ours, theirs, strict=True))


class Bound(StrEnum):
    """On which side of a target the good values lie."""

    AT_MOST = "<="
    AT_LEAST = ">="


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure should reach. Reported, never asserted."""

    bound: Bound
    value: float
    unit: str = ""

    def reached(self, figure: float) -> bool:
        """Return whether a figure is on the good side; the bound itself is."""
        return figure <= self.value if self.bound is Bound.AT_MOST else figure >= self.value

    def short_by(self, figure: float) -> float:
        """Return how far a figure is from the target, as a share of the target; 0 when reached."""
        if self.reached(figure):
            return 0.0
        return abs(figure - self.value) / self.value if self.value else math.inf

    def __str__(self) -> str:
        sign = "≤" if self.bound is Bound.AT_MOST else "≥"
        return f"{sign} {self.value:g}{' ' if self.unit not in ('', '×') else ''}{self.unit}"


def at_most(value: float, unit: str = "") -> Target:
    """Return a target that smaller figures reach."""
    return Target(Bound.AT_MOST, value, unit)


def at_least(value: float, unit: str = "") -> Target:
    """Return a target that larger figures reach."""
    return Target(Bound.AT_LEAST, value, unit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the report: ours, theirs where there is one, and the figure that is judged."""

    workload: str
    what: str
    unit: str
    ours: Spread
    theirs: Spread | None = None
    ratio: Spread | None = None
    target: Target | None = None
    #: What the target speaks of, where it is neither the ratio nor our median, and its name.
    judged: float | None = None
    judged_as: str = ""
    note: str = ""

    @property
    def figure(self) -> float:
        """Return what the target is compared with."""
        if self.judged is not None:
            return self.judged
        return self.ratio.median if self.ratio else self.ours.median


def paired(
    workload: str,
    what: str,
    unit: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    target: Target | None = None,
    *,
    note: str = "",
) -> Row:
    """Return the row of two series that were measured in turns."""
    return Row(
        workload=workload,
        what=what,
        unit=unit,
        ours=spread(ours),
        theirs=spread(theirs),
        ratio=ratios(ours, theirs),
        target=target,
        note=note,
    )


def single(
    workload: str,
    what: str,
    unit: str,
    ours: Sequence[float],
    target: Target | None = None,
    *,
    note: str = "",
) -> Row:
    """Return the row of a series of ours that nothing is compared with."""
    return Row(workload=workload, what=what, unit=unit, ours=spread(ours), target=target, note=note)
