"""The table on the terminal, and how figures are written everywhere."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from tests.bench.figures import Row, Spread

HEADS = ("", "what", "this engine", "raw Celery", "ratio", "target", "")


def number(value: float) -> str:
    """Return a figure with three digits that matter."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 1 else f"{value:.2f}"


def ranged(value: Spread | None, unit: str = "") -> str:
    """Return a median with its range, `12.3 ms [11–14] ×5`."""
    if value is None:
        return ""
    tail = f" {unit}" if unit else ""
    if value.count == 1:
        return number(value.median) + tail
    return f"{number(value.median)}{tail} [{number(value.low)}–{number(value.high)}] ×{value.count}"


def verdict(row: Row) -> str:
    """Return whether the target is reached, or by how much it is missed."""
    if row.target is None:
        return ""
    judged = f"{row.judged_as} {number(row.figure)}: " if row.judged_as else ""
    if row.target.reached(row.figure):
        return f"{judged}reached"
    return f"{judged}missed by {row.target.short_by(row.figure):.0%}"


def cells(row: Row) -> Sequence[str]:
    """Return a row under `HEADS`."""
    return (
        row.workload,
        row.what,
        ranged(row.ours, row.unit),
        ranged(row.theirs, row.unit),
        ranged(row.ratio),
        str(row.target or ""),
        verdict(row),
    )


def show(rows: Sequence[Row]) -> None:
    """Print a table, and below it what is to be known of its rows."""
    table = Table(box=None, pad_edge=False)
    for head in HEADS:
        table.add_column(head, overflow="fold")
    for row in rows:
        table.add_row(*cells(row))
    console = Console() if Console().is_terminal else Console(width=180)
    console.print(table)
    for row in rows:
        if row.note:
            console.print(f"{row.workload} {row.what}: {row.note}", highlight=False, markup=False)
