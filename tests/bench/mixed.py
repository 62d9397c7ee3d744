"""W11: a mixed load held for minutes: does it keep up, and does memory stay where it was?"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Self

import websocket

from tests.bench import memory
from tests.bench.client import Client
from tests.bench.figures import Row, Spread, percentile, single
from tests.bench.installation import Installation
from tests.bench.shapes import chain, diamond, fan
from tests.bench.turns import Sizes

#: Runs started in a second, requests read in a second, and sockets open at a time.
RUNS_PER_S, READS_PER_S, SOCKETS = 4, 20, 10
_WARM_S = 10.0


class Load:
    """Threads that start runs, read the API and watch runs, each at its own pace."""

    def __init__(self, engine: Installation) -> None:
        self._engine = engine
        self._stop = threading.Event()
        shapes = (
            chain(10), fan(50), diamond(), chain(5, "bench.clock"),
            fan(8, "bench.work", seconds=0.02),
        )  # fmt: skip
        self._workflows = itertools.cycle([engine.save(shape) for shape in shapes])
        self.started: list[str] = []
        self.failures: list[str] = []
        works = [self._start, self._read, *[self._watch] * SOCKETS]
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,), daemon=True) for work in works
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(40)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            self.failures.append(f"{work.__name__}: {error!r}")

    def _paced(self, per_s: float) -> bool:
        """Wait for the next turn of this thread's pace, whatever the last one took."""
        now = time.monotonic()
        return not self._stop.wait(1 / per_s - now % (1 / per_s))

    def _start(self) -> None:
        with Client(self._engine.url, self._engine.key) as client:
            while self._paced(RUNS_PER_S):
                self.started.append(self._engine.begin(next(self._workflows), client))

    def _read(self) -> None:
        tails = itertools.cycle(("", "/tasks", "/events", "/timeline"))
        with Client(self._engine.url, self._engine.key) as client:
            while self._paced(READS_PER_S):
                if self.started:
                    client.call("GET", f"/runs/{self.started[-1]}{next(tails)}")
                client.call("GET", "/runs?limit=20")

    def _watch(self) -> None:
        base = self._engine.url.replace("http", "ws", 1)
        header = [f"Authorization: Bearer {self._engine.key}"]
        while self._paced(2):
            if not self.started:
                continue
            line = websocket.create_connection(
                f"{base}/api/v1/runs/{self.started[-1]}/stream?after=0",
                header=header, timeout=30, suppress_origin=True,
            )  # fmt: skip
            with suppress(websocket.WebSocketConnectionClosedException):
                while not self._stop.is_set() and line.recv():
                    pass
            line.shutdown()


def mixed(engine: Installation, sizes: Sizes) -> list[Row]:
    """Hold the load; report the memory of each process before and after, and the runs' times."""
    with Load(engine) as load:
        pause = threading.Event()
        pause.wait(_WARM_S)
        before = memory.pss(engine.processes)
        cpu, began = memory.cpu_s(engine.processes), time.monotonic()
        pause.wait(sizes.mixed_s)
        percent = 100 * (memory.cpu_s(engine.processes) - cpu) / (time.monotonic() - began)
        after = memory.pss(engine.processes)
    engine.ended(load.started)
    if load.failures:
        raise RuntimeError(f"the mixed load failed: {load.failures}")
    minute = len(load.started) // max(1, int(sizes.mixed_s / 60)) or 1
    first, last = (_took(engine, part) for part in (load.started[:minute], load.started[-minute:]))
    sums = [memory.total(m) for m in (before, after)]
    growth = (
        f"start: {memory.listed(before)}; end: {memory.listed(after)};"
        f" {percent:.0f} % of a core; {len(load.started)} runs, all succeeded"
    )
    held = f"mixed load for {sizes.mixed_s / 60:g} min"
    return [
        single("W11", f"{held}, memory at its start", "MB", [sums[0]]),
        single("W11", f"{held}, memory at its end", "MB", [sums[1]], note=growth),
        _times(f"{held}, a run in the first minute, p50", first),
        _times(f"{held}, a run in the last minute, p50", last),
    ]


def _took(engine: Installation, run_ids: list[str]) -> list[float]:
    rows = engine.ask(
        "SELECT extract(epoch FROM finished_at - created_at)::float8 * 1000"
        " FROM runs WHERE id = ANY(%s::uuid[])",
        run_ids,
    )
    return [value for (value,) in rows]


def _times(what: str, values: list[float]) -> Row:
    middle = Spread(percentile(values, 50), min(values), max(values), len(values))
    note = f"p99 {percentile(values, 99):.0f} ms"
    return Row(workload="W11", what=what, unit="ms", ours=middle, note=note)
