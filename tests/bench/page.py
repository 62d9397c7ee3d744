"""docs/performance.md: written from the figures it carries, with a part that is written by hand.

The figures stand in a comment at its end, so that a change of the format needs no new measurement,
and a measurement of one workload leaves the others as they were.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from tests.bench.figures import Bound, Row, Spread, Target
from tests.bench.report import HEADS, cells, number, verdict

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
BEGIN, END = "<!-- notes:begin -->", "<!-- notes:end -->"
_NOTES = re.compile(f"{BEGIN}\n(.*?)\n?{END}", re.DOTALL)
_FIGURES = re.compile(r"<!-- figures: (.*) -->\n\Z")
#: Whose rows are a table of their own.
_ROUTES = "W9"
_ABOUT = """\
# Performance

Nothing on this page decides whether a test passes: targets are reported, not asserted. `make bench`
measures, prints, and writes this page. `ARGS=--quick` is for a look (under 90 s), `ARGS='--only
W1,W3'` for a part; with `--write docs/performance.md` they write their rows here too, and
`python -m tests.bench.profile` shows where the time of a hop and of a fan-out goes.

This engine and raw Celery run on the same machine, with the same versions, the same Redis server
and the same number of pool processes, both up all the time, measured in turns (A B A B). A figure
is the median with [least–greatest] ×measurements; a ratio is taken pair by pair, and is the median
of those. Raw Celery keeps no state: its nodes are lost with Redis. This engine commits every move
to Postgres, flushed to disk, behind sign-in and row-level security, and its runs are started over
HTTP. A node is a no-op unless it says otherwise. Client, servers and workers share the machine.
"""
_MEANING = """\
W1 a chain · W2 one node, many side by side, one node (raw: a task and a chord) · W3 many small
runs · W4 from a request to the first line of the first node, and from a node's recorded end to the
first line of the next · W5 nothing happens · W6 one large run · W8 W3 in a database with history ·
W9 every list and get route of the API there · W10 from an event's record to the sockets that watch
· W11 everything at once, for minutes · W12 nodes that wait for a slow site.
"""


@dataclass(frozen=True, slots=True)
class Results:
    """What the page tells: rows in order, when each workload was measured and how, and where."""

    machine: Mapping[str, str]
    rows: tuple[Row, ...]
    #: By name of a measurement: the moment and the command.
    measured: Mapping[str, str]
    #: Which rows came of which measurement: the last one of each name counts.
    source: Mapping[str, Sequence[int]]


def merged(old: Results | None, new: Results, order: Sequence[str]) -> Results:
    """Return the newest rows of each measurement, in the order of measurements."""
    rows: list[Row] = []
    source: dict[str, Sequence[int]] = {}
    measured: dict[str, str] = {}
    for name in order:
        known = next((r for r in (new, old) if r and name in r.source), None)
        if known is None:
            continue
        start = len(rows)
        rows += [known.rows[at] for at in known.source[name]]
        source[name] = list(range(start, len(rows)))
        measured[name] = known.measured[name]
    return Results(new.machine, tuple(rows), measured, source)


def rendered(results: Results, notes: str) -> str:
    """Return the page."""
    routes = [row for row in results.rows if row.workload == _ROUTES][1:]
    main = [row for row in results.rows if row not in routes]
    parts = [
        _ABOUT,
        "## Where\n",
        _table(("", ""), list(results.machine.items())),
        _times(results),
        "## Figures\n",
        _MEANING,
        _table(HEADS, [cells(row) for row in main]),
        _remarks(main),
        "## Where the targets stand\n",
        _standing(main),
    ]
    if routes:
        heads = ("route", "p50", "p95", "")
        lines = [
            (row.what, f"{number(row.ours.median)} ms", f"{number(row.figure)} ms", verdict(row))
            for row in routes
        ]
        parts += ["## Every list and get route\n", _table(heads, lines)]
    parts += ["## Where the time goes, and what was tried\n", f"{BEGIN}\n{notes.strip()}\n{END}\n"]
    return "\n".join(parts) + f"\n<!-- figures: {_packed(results)} -->\n"


def _table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [heads, ["---"] * len(heads), *lines]
    return "".join(f"| {' | '.join(_escaped(c) for c in row)} |\n" for row in rows)


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|").replace("{", "\\{")


def _times(results: Results) -> str:
    by_moment: dict[str, list[str]] = {}
    for name, moment in results.measured.items():
        by_moment.setdefault(moment, []).append(name)
    told = [f"{moment}: {', '.join(names)}." for moment, names in by_moment.items()]
    return "Measured " + "\n".join(told) + "\n"


def _remarks(rows: Iterable[Row]) -> str:
    told = [f"- {row.workload} {row.what}: {row.note}" for row in rows if row.note]
    return "\n".join(told) + "\n" if told else ""


def _standing(rows: Iterable[Row]) -> str:
    judged = [row for row in rows if row.target]
    missed = [row for row in judged if row.target and not row.target.reached(row.figure)]
    text = f"{len(judged) - len(missed)} of {len(judged)} targets are reached."
    told = [
        f"- {row.workload} {row.what}: {number(row.figure)} where {row.target} is wanted,"
        f" {verdict(row).rpartition(': ')[2]}."
        for row in missed
    ]
    return "\n".join([text, *(["", *told] if told else []), ""])


def _packed(results: Results) -> str:
    plain = {
        "machine": dict(results.machine),
        "rows": [asdict(row) for row in results.rows],
        "measured": dict(results.measured),
        "source": {name: list(at) for name, at in results.source.items()},
    }
    # A comment ends at the first arrow.
    return orjson.dumps(plain).decode().replace(">", "\\u003e")


def figures_of(page: str) -> Results | None:
    """Return the figures a page was written from; None where it has none."""
    found = _FIGURES.search(page)
    if not found:
        return None
    plain = orjson.loads(found[1])
    rows = tuple(_row(row) for row in plain["rows"])
    return Results(plain["machine"], rows, plain["measured"], plain["source"])


def _row(plain: dict[str, Any]) -> Row:
    spreads = {k: plain[k] and Spread(**plain[k]) for k in ("ours", "theirs", "ratio")}
    target = plain["target"]
    if target:
        target = replace(Target(**target), bound=Bound(target["bound"]))
    return Row(**{**plain, **spreads, "target": target})


def notes_of(page: str) -> str:
    """Return the part of a page that is written by hand."""
    found = _NOTES.search(page)
    return found[1] if found else ""


def write(path: Path, new: Results, order: Sequence[str]) -> None:
    """Write a page: the new figures, older ones of what was not measured now, and its notes."""
    page = path.read_text() if path.exists() else ""
    path.write_text(rendered(merged(figures_of(page), new, order), notes_of(page)))


def render(path: Path) -> None:
    """Write a page anew from the figures it carries."""
    page = path.read_text()
    results = figures_of(page)
    if results is not None:
        path.write_text(rendered(results, notes_of(page)))
