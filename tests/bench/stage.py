"""What is up while the benchmark runs, and in which order it measures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

from tests.bench import turns
from tests.bench.figures import Row, spread
from tests.bench.history import fill, with_history
from tests.bench.idle import idle, idle_apart
from tests.bench.installation import Installation
from tests.bench.large import large
from tests.bench.mixed import mixed
from tests.bench.outside import outside
from tests.bench.raw import RawCelery
from tests.bench.routes import latencies
from tests.bench.servers import RAW, Servers
from tests.bench.turns import Sizes
from tests.bench.watchers import watched

#: What a cloud's disk adds to a commit, microseconds.
SLOWER_BY_US = 2000


class Stage:
    """The servers, and one engine beside one raw Celery, started when first needed."""

    def __init__(self, servers: Servers, sizes: Sizes) -> None:
        self.servers = servers
        self.sizes = sizes
        self._ends = ExitStack()

    @cached_property
    def engine(self) -> Installation:
        """This engine, as it is installed by default with two pool children."""
        engine = Installation(self.servers)
        self._ends.callback(engine.close)
        return engine

    @cached_property
    def raw(self) -> RawCelery:
        """Raw Celery with two pool children."""
        raw = RawCelery(self.servers)
        self._ends.callback(raw.close)
        return raw

    @contextmanager
    def pair(
        self, *, slots: int = 2, events: bool = False
    ) -> Iterator[tuple[Installation, RawCelery]]:
        """Another engine and another raw Celery, for one measurement."""
        engine = Installation(self.servers, slots=slots, events=events)
        try:
            raw = RawCelery(self.servers, slots=slots, events=events, at=RAW + 2)
            try:
                yield engine, raw
            finally:
                raw.close()
        finally:
            engine.close()

    @cached_property
    def filled(self) -> tuple[Installation, str]:
        """A second engine whose database holds a long history, and what that is."""
        engine = Installation(self.servers)
        self._ends.callback(engine.close)
        minutes = fill(engine, self.sizes.history)
        ((size,),) = engine.ask("SELECT pg_size_pretty(pg_database_size(current_database()))")
        return engine, f"{self.sizes.history:,} finished runs, {size}, filled in {minutes:.1f} min"

    def close(self) -> None:
        """Stop what was started."""
        self._ends.close()


Measure = Callable[[Stage], list[Row]]


@dataclass(frozen=True, slots=True)
class Measurement:
    """One name on the command line, and what it measures; `quick` is also in the quick form."""

    name: str
    measure: Measure
    quick: bool = True


def _turns(measure: Callable[[Installation, RawCelery, Sizes], list[Row]]) -> Measure:
    return lambda stage: measure(stage.engine, stage.raw, stage.sizes)


def _eight(stage: Stage) -> list[Row]:
    with stage.pair(slots=8) as (engine, raw):
        return turns.fan_out(engine, raw, stage.sizes, how=", 8 worker processes")


def _slow_commits(stage: Stage) -> list[Row]:
    engine, raw = stage.engine, stage.raw
    plain = spread(stage.servers.commit_ms())
    with stage.servers.tuned(commit_delay=SLOWER_BY_US, commit_siblings=0):
        slow = spread(stage.servers.commit_ms())
        if slow.median < plain.median + SLOWER_BY_US / 2000:
            raise RuntimeError(f"commits did not become slower: {plain} {slow}")
        (row,) = turns.fan_out(engine, raw, stage.sizes, how=", each commit 2 ms slower")
        (hops,) = turns.chain_hops(engine, raw, stage.sizes, how=", each commit 2 ms slower")
    note = f"a small commit took {plain.median:.2f} ms before and {slow.median:.2f} ms here"
    return [replace(row, note=note), replace(hops, target=None)]


def _shown(stage: Stage) -> list[Row]:
    with stage.pair(events=True) as (engine, raw):
        return turns.many_diamonds(engine, raw, stage.sizes, how=", worker events on")


def _idle(stage: Stage) -> list[Row]:
    rows = idle(stage.engine, stage.raw, stage.sizes.idle_s)
    apart = Installation(stage.servers, apart=True)
    try:
        return [*rows, *idle_apart(apart)]
    finally:
        apart.close()


def _history(stage: Stage) -> list[Row]:
    engine, note = stage.filled
    return with_history(engine, stage.engine, stage.sizes, note)


def _routes(stage: Stage) -> list[Row]:
    engine, note = stage.filled
    ((run_id,),) = engine.ask(
        "SELECT id::text FROM runs WHERE state = 'failed' ORDER BY id DESC OFFSET 100 LIMIT 1"
    )
    return latencies(engine, run_id, stage.sizes.calls, note)


#: In this order: what is idle is measured before the large loads have left their marks.
MEASUREMENTS = (
    Measurement("W1", _turns(turns.chain_hops)),
    Measurement("W2", _turns(turns.fan_out)),
    Measurement("W3", _turns(turns.many_diamonds)),
    Measurement("W4", _turns(turns.trigger)),
    Measurement("W5", _idle),
    Measurement("W2-EIGHT", _eight, quick=False),
    Measurement("W2-SLOW", _slow_commits, quick=False),
    Measurement("W3-EVENTS", _shown, quick=False),
    Measurement("W6", lambda stage: large(stage.engine, stage.sizes)),
    Measurement("W10", lambda stage: watched(stage.engine, stage.sizes)),
    Measurement("W11", lambda stage: mixed(stage.engine, stage.sizes), quick=False),
    Measurement("W12", lambda stage: outside(stage.servers, stage.sizes), quick=False),
    Measurement("W8", _history, quick=False),
    Measurement("W9", _routes),
)


def chosen(only: set[str], *, quick: bool) -> list[Measurement]:
    """Return what to measure. KeyError names what is no measurement."""
    known = {m.name: m for m in MEASUREMENTS}
    if unknown := only - known.keys():
        raise KeyError(f"{', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return [m for m in MEASUREMENTS if (m.name in only if only else m.quick or not quick)]
