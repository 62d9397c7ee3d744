"""Raw Celery with a worker of its own, measured like the engine: from the client to the end."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import Any

from celery import chain, chord
from celery.exceptions import TimeoutError as NoResult

from tests.bench import raw_tasks
from tests.bench.processes import Processes, environment
from tests.bench.servers import RAW, Servers

_LOOK_S = 0.005
#: Far longer than any measurement takes; then a result was lost.
_LONGEST_S = 30.0
_TRIES = 3


class RawCelery:
    """A `celery worker -c N`, and canvases started from this process."""

    def __init__(
        self, servers: Servers, *, slots: int = 2, events: bool = False, at: int = RAW
    ) -> None:
        url = servers.redis_url(at)
        for number in (at, at + 1):
            servers.redis(number).flushdb()
        self._app = raw_tasks.make_app(url)
        self.slots = slots
        self.processes = Processes(servers.home / f"raw-{at}", environment(BENCH_REDIS_URL=url))
        command = ["-m", "celery", "-A", "tests.bench.raw_tasks", "worker", "-c", str(slots)]
        flags = ["--without-gossip", "--without-mingle", "-l", "WARNING"]
        self.processes.start("celery", *command, *flags, *(["-E"] if events else []))
        try:
            self._sig("noop").apply_async().get(timeout=60)
        except BaseException:
            self.processes.stop()
            raise

    def _sig(self, name: str) -> Any:
        return self._app.signature(f"{raw_tasks.__name__}.{name}", immutable=True)

    def _chord(self, width: int) -> Any:
        header = [self._sig("noop") for _ in range(width)]
        return chain(self._sig("noop"), chord(header, self._sig("done"), app=self._app))

    def chain(self, length: int) -> float:
        """Return the seconds of a chain, from starting it to having its result."""
        canvas = chain(*[self._sig("noop") for _ in range(length)])
        return self._time([canvas])

    def fan(self, width: int) -> float:
        """Return the seconds of 1 -> width -> 1: a chain of a task and a chord."""
        return self._time([self._chord(width)])

    def diamonds(self, count: int) -> float:
        """Return the seconds of `count` five-node diamonds, started one after the other."""
        return self._time([self._chord(3) for _ in range(count)])

    def _time(self, canvases: list[Any]) -> float:
        """Measure again where a result never came: raw Celery may lose one, and says nothing."""
        for _ in range(_TRIES):
            with suppress(NoResult):
                return self._once(canvases)
            print("raw Celery lost a result; it is measured again", file=sys.stderr)
        raise RuntimeError("raw Celery loses results")

    def _once(self, canvases: list[Any]) -> float:
        began = time.perf_counter()
        results = [canvas.apply_async() for canvas in canvases]
        for result in results:
            result.get(interval=_LOOK_S, timeout=_LONGEST_S)
        taken = time.perf_counter() - began
        for result in results:
            result.forget()
        return taken

    def trigger_ms(self) -> float:
        """Return the milliseconds from starting a task to the first line of it."""
        began = time.time()
        result = self._sig("clock").apply_async()
        started = result.get(interval=_LOOK_S, timeout=_LONGEST_S)["started"]
        result.forget()
        return float(started - began) * 1000

    def close(self) -> None:
        """Stop the worker."""
        self.processes.stop()
