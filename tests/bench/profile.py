"""`python -m tests.bench.profile`: where the time of a hop and of a fan-out goes: statements,
functions in the database, CPU of every process, and Python in the pool's children."""

from __future__ import annotations

import argparse
import pstats
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from tests.bench import memory
from tests.bench.installation import Installation
from tests.bench.processes import ROOT
from tests.bench.servers import Servers
from tests.bench.shapes import Definition, chain, diamond, fan
from tests.waiting import wait_for

_MODULES = "tests.bench.functions,tests.bench.child_profile"
_SERVERS = {"postgres", "valkey-server", "redis-server"}
_STATEMENTS = """
    SELECT calls, total_exec_time, toplevel, wal_bytes, regexp_replace(query, '\\s+', ' ', 'g')
      FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid
     WHERE d.datname = current_database() AND query NOT LIKE '%%pg_stat%%'
       AND query NOT LIKE '%%FROM runs WHERE id >= %%LIMIT%%'
     ORDER BY total_exec_time DESC LIMIT %s"""
_FUNCTIONS = """
    SELECT funcname, calls, total_time, self_time FROM pg_stat_user_functions
     WHERE calls > 0 ORDER BY self_time DESC LIMIT %s"""

#: Postgres 18 and newer: what writing the log to disk took.
_FLUSHES = """
    SELECT coalesce(sum(fsyncs), 0)::int, coalesce(sum(fsync_time), 0)::float8
      FROM pg_stat_io WHERE object = 'wal'"""


class Profile:
    """Watches one load. What the watching costs is in the figures: compare, do not quote."""

    def __init__(self, engine: Installation, folder: Path, top: int) -> None:
        self._engine = engine
        self._folder = folder
        self._top = top
        self._console = Console(width=150)

    def show(self, name: str, shape: Definition, count: int, *, python: bool) -> None:
        """Run a shape `count` times, once more beforehand, and print what it took."""
        nodes = count * len(shape["nodes"])
        run = self._engine.time_many if count > 20 else self._one_by_one
        run(shape, min(count, 20))
        self._engine.ask(
            "SELECT pg_stat_statements_reset(), pg_stat_reset(), pg_stat_reset_shared()"
        )
        children = self._children() if python else []
        self._signal(children)
        before, began = self._cpu(), time.perf_counter()
        run(shape, count)
        taken = time.perf_counter() - began
        after = self._cpu()
        self._signal(children)
        how = ", children under cProfile" if python else ""
        self._console.rule(f"{name}: {nodes} nodes, {1000 * taken / nodes:.2f} ms a node{how}")
        if python:
            self._python(children)
        else:
            used = {k: after[k] - before.get(k, 0.0) for k in after}
            self._processes(used, taken, nodes)
            self._database(nodes)

    def _one_by_one(self, shape: Definition, count: int) -> float:
        return sum(self._engine.time_one(shape) for _ in range(count))

    def _children(self) -> list[int]:
        found = memory.members(self._engine.processes)
        return [process.pid for name, process in found if name == "worker: child"]

    def _signal(self, children: Sequence[int]) -> None:
        for pid in children:
            psutil.Process(pid).send_signal(signal.SIGUSR1)

    def _cpu(self) -> dict[str, float]:
        used: dict[str, float] = {}
        for name, process in [*memory.members(self._engine.processes), *_servers()]:
            with suppress(psutil.Error):
                times = process.cpu_times()
                used[name] = used.get(name, 0.0) + times.user + times.system
        own = psutil.Process().cpu_times()
        return {**used, "this client": own.user + own.system}

    def _processes(self, used: Mapping[str, float], taken: float, nodes: int) -> None:
        lines = [
            (name, f"{1000 * cpu / nodes:.3f}", f"{100 * cpu / taken:.0f} %")
            for name, cpu in sorted(used.items(), key=lambda one: -one[1])
            if cpu > 0
        ]
        self._table(("process", "CPU ms a node", "of a core"), lines)

    def _database(self, nodes: int) -> None:
        lines = [
            (
                f"{calls / nodes:.2f}", f"{total / calls:.3f}", f"{total / nodes:.3f}",
                f"{wal / nodes:.0f}", "" if toplevel else "inside", text[:90],
            )
            for calls, total, toplevel, wal, text in self._engine.ask(_STATEMENTS, self._top)
        ]  # fmt: skip
        heads = ("calls a node", "ms a call", "ms a node", "WAL bytes", "", "statement")
        self._table(heads, lines)
        functions = [
            (name, f"{calls / nodes:.2f}", f"{total / nodes:.3f}", f"{own / nodes:.3f}")
            for name, calls, total, own in self._engine.ask(_FUNCTIONS, self._top)
        ]
        heads = ("function", "calls a node", "ms a node", "itself, without what it calls")
        self._table(heads, functions)
        ((flushes, spent),) = self._engine.ask(_FLUSHES)
        self._table(
            ("flushes of the log a node", "ms a flush"),
            [(f"{flushes / nodes:.3f}", f"{spent / max(flushes, 1):.3f}")],
        )

    def _python(self, children: Sequence[int]) -> None:
        paths = [self._folder / f"{pid}.prof" for pid in children]
        # A child notices a signal when it is next in Python.
        wait_for(lambda: all(p.exists() for p in paths), what="profiles of the children")
        stats = pstats.Stats(str(paths[0]))
        for path in paths[1:]:
            stats.add(str(path))
        for path in paths:
            path.unlink()
        for order, heading in (("tottime", "in itself"), ("cumulative", "with what it calls")):
            stats.sort_stats(order)
            lines = list(_lines(stats, order, self._top))
            self._table(("s " + heading, "calls", "Python function"), lines)

    def _table(self, heads: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
        table = Table(*heads, box=None, pad_edge=False)
        for line in lines:
            table.add_row(*line)
        self._console.print(table)
        self._console.print()


def _servers() -> Iterator[tuple[str, psutil.Process]]:
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if process.name() in _SERVERS:
                yield process.name(), process


def _lines(stats: pstats.Stats, order: str, top: int) -> Iterator[tuple[str, str, str]]:
    table: Mapping[tuple[str, int, str], tuple[int, int, float, float, object]]
    table = stats.stats  # type: ignore[attr-defined]
    # Waiting for work is nobody's work.
    at = 2 if order == "tottime" else 3
    ordered = sorted(table.items(), key=lambda one: -one[1][at])
    for (path, line, name), entry in ordered[:top]:
        where = path.removeprefix(f"{ROOT}/").rpartition("site-packages/")[2]
        where = where.rpartition("/lib/python")[2]
        yield f"{entry[at]:.3f}", str(entry[1]), f"{where}:{line} {name}" if line else name


def main() -> None:
    """Profile a chain, a fan-out and many diamonds: first the servers, then Python."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.profile", description=__doc__)
    parser.add_argument("--top", type=int, default=15, help="lines of each table")
    parser.add_argument("--only", choices=["hop", "fan", "diamonds"], help="one of the loads")
    given = parser.parse_args()
    servers = Servers(preload="pg_stat_statements")
    try:
        folder = servers.home / "profiles"
        folder.mkdir()
        watching = {
            "pg_stat_statements.track": "all",
            "track_functions": "pl",
            "track_wal_io_timing": "on",
        }
        with servers.tuned(**watching):
            engine = Installation(servers, ZQ_WORKER__MODULES=_MODULES, BENCH_PROFILE=folder)
            try:
                engine.ask("CREATE EXTENSION pg_stat_statements")
                # So many side by side that each child has loaded its modules and can be asked.
                engine.time_many(diamond(), 40)
                profile = Profile(engine, folder, given.top)
                loads = {
                    "hop": (chain(100), 10),
                    "fan": (fan(500), 5),
                    "diamonds": (diamond(), 200),
                }
                for name, (shape, count) in loads.items():
                    if given.only in (None, name):
                        for python in (False, True):
                            profile.show(name, shape, count, python=python)
            finally:
                engine.close()
    finally:
        servers.close()


if __name__ == "__main__":
    main()
