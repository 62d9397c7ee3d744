"""W12: fan-outs of `http` nodes that call a slow site, from a pool of processes and from one of
threads. Raw Celery has no such node and is not measured. The site runs in a process of its own.
"""

from __future__ import annotations

import asyncio
import sys

import httpx

from tests.bench import memory
from tests.bench.figures import Row, at_least, single
from tests.bench.installation import Installation
from tests.bench.processes import Processes, environment
from tests.bench.servers import Servers
from tests.bench.shapes import Definition, definition
from tests.bench.turns import Sizes

_REPEATS = 2
#: A short call, and one so long that all that can wait at the same time do.
SHORT_S, LONG_S = 0.1, 20.0
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"


class Site:
    """A server that answers late, and counts how many wait for it."""

    def __init__(self) -> None:
        self._waiting = 0
        self._most = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while path := await _path(reader):
            if path == "/most":
                body = b'{"most": %d}' % self._most
                self._most = 0
            else:
                self._waiting += 1
                self._most = max(self._most, self._waiting)
                await asyncio.sleep(float(path[1:]))
                self._waiting -= 1
                body = b'{"ok": true}'
            writer.write(_ANSWER % (len(body), body))
            await writer.drain()
        writer.close()

    async def run(self) -> None:
        """Serve until the process ends; print the port first."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=2048)
        print(f"site: {server.sockets[0].getsockname()[1]}", flush=True)
        await server.serve_forever()


async def _path(reader: asyncio.StreamReader) -> str:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return ""
    return head.split(b" ", 2)[1].decode()


def calls(width: int, url: str) -> Definition:
    """Return first -> `width` calls of a site -> last."""
    middle = [f"m{i}" for i in range(width)]
    config = {"method": "GET", "url": url}
    nodes = [{"id": name, "type": "http", "data": {"config": config}} for name in middle]
    ends = [{"id": name, "type": "noop"} for name in ("first", "last")]
    edges = [("first", m) for m in middle] + [(m, "last") for m in middle]
    return definition(f"calls-{width}", [*ends, *nodes], edges)


def outside(servers: Servers, sizes: Sizes) -> list[Row]:
    """Measure two processes that call for a moment, then as many threads as there are calls."""
    site = Processes(servers.home / "site", environment(PYTHONUNBUFFERED=1))
    try:
        site.start("site", "-m", __name__, pipe=True)
        host = f"127.0.0.1:{site.line('site', 'site: ')}"
        few = max(1, sizes.calls_outside // 10)
        rows = _rows(servers, host, few, SHORT_S, slots=2)
        return rows[:1] + _rows(
            servers, host, sizes.calls_outside, LONG_S,
            slots=sizes.calls_outside, ZQ_WORKER__POOL="threads",
        )  # fmt: skip
    finally:
        site.stop()


def _rows(
    servers: Servers, host: str, width: int, answers_s: float, *, slots: int, **pool: object
) -> list[Row]:
    engine = Installation(servers, slots=slots, ZQ_EGRESS__ALLOW=host, **pool)
    try:
        shape = calls(width, f"http://{host}/{answers_s:g}")
        with memory.PeakWatch(engine.processes) as watch:
            taken = [engine.time_one(shape) for _ in range(_REPEATS)]
    finally:
        engine.close()
    most = httpx.get(f"http://{host}/most", trust_env=False).json()["most"]
    kind = pool.get("ZQ_WORKER__POOL", "prefork")
    what = f"1 → {width} http of {answers_s:g} s → 1, {slots} slots of {kind}"
    worst = max(watch.pss.items(), key=lambda one: one[1])
    note = f"greatest memory of a process: {worst[0]} {worst[1]:.0f} MB"
    return [
        single("W12", what, "s", taken, note=note),
        single("W12", f"{what}, most at a time", "calls", [most], at_least(width, "calls")),
    ]


if __name__ == "__main__":
    try:
        asyncio.run(Site().run())
    except KeyboardInterrupt:
        sys.exit()
