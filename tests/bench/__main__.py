"""`make bench`: this engine beside raw Celery, measured in turns. Prints a table, and writes
docs/performance.md; a look (`--quick`) or a part (`--only`) writes it only where told to."""

from __future__ import annotations

import argparse
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.bench import machine
from tests.bench.figures import Row
from tests.bench.page import PAGE, Results, render, write
from tests.bench.report import show
from tests.bench.servers import Servers
from tests.bench.stage import MEASUREMENTS, Stage, chosen
from tests.bench.turns import QUICK, Sizes


def main() -> None:
    """Read the command line, measure what it names, and tell."""
    names = [m.name for m in MEASUREMENTS]
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, within 90 s")
    parser.add_argument("--only", default="", metavar="W1,W2", help=", ".join(names))
    parser.add_argument(
        "--write", type=Path, metavar="PAGE", help="write this page, instead of docs/performance.md"
    )
    parser.add_argument(
        "--render", action="store_true", help="measure nothing: write the page's figures anew"
    )
    given = parser.parse_args()
    if given.render:
        render(given.write or PAGE)
        return
    try:
        wanted = chosen(set(filter(None, given.only.upper().split(","))), quick=given.quick)
    except KeyError as error:
        parser.error(f"no such measurement: {error.args[0]}")
    results = measured([m.name for m in wanted], quick=given.quick)
    show(results.rows)
    page = given.write or (None if given.quick or given.only else PAGE)
    if page:
        write(page, results, names)
        print(f"wrote {page}")


def measured(names: list[str], *, quick: bool) -> Results:
    """Measure with servers and processes of its own; they are gone afterwards."""
    began, rows, source = time.monotonic(), list[Row](), dict[str, list[int]]()
    how = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC with `{_command()}`"
    known = {m.name: m for m in MEASUREMENTS}
    servers = Servers()
    try:
        where = machine.described(servers)
        stage = Stage(servers, QUICK if quick else Sizes())
        try:
            for name in names:
                found = known[name].measure(stage)
                source[name] = list(range(len(rows), len(rows) + len(found)))
                rows += found
                print(f"{name} done, {time.monotonic() - began:.0f} s", file=sys.stderr)
        finally:
            stage.close()
    finally:
        servers.close()
    return Results(where, tuple(rows), dict.fromkeys(names, how), source)


def _command() -> str:
    """Return how `make` is to be called for this."""
    args = [a for a in sys.argv[1:] if not a.startswith("--write") and not a.endswith(".md")]
    joined = " ".join(args)
    if not args:
        return "make bench"
    return f"make bench ARGS={joined}" if len(args) == 1 else f"make bench ARGS='{joined}'"


if __name__ == "__main__":
    main()
