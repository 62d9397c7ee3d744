"""W10: how long an event takes from its record to each of many sockets that follow one run."""

from __future__ import annotations

import selectors
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import orjson
import websocket

from tests.bench.figures import Row, at_most, percentile, single
from tests.bench.installation import Installation
from tests.bench.shapes import calling, definition
from tests.bench.turns import Sizes

_TEXT = 1
_QUIET_S = 20.0
#: Seconds each node takes: as long as a short call of something outside.
_WORK_S = 0.05


def watched(engine: Installation, sizes: Sizes) -> list[Row]:
    """Let every socket follow one chain whose nodes take a moment each."""
    url = engine.sockets(ZQ_WEB__SOCKETS=sizes.watchers + 16)
    try:
        lags = _lags(engine, url, sizes)
    finally:
        engine.processes.stop_one("stream")
    p50, p99 = percentile(lags, 50), percentile(lags, 99)
    note = f"{len(lags):,} frames; least {min(lags):.0f} ms, greatest {max(lags):.0f} ms"
    what = f"event to socket, {sizes.watchers} sockets on one run"
    return [
        single("W10", f"{what}, p50", "ms", [p50]),
        single("W10", f"{what}, p99", "ms", [p99], at_most(150, "ms"), note=note),
    ]


def _lags(engine: Installation, url: str, sizes: Sizes) -> list[float]:
    gate = engine.folder / "gate"
    gate.unlink(missing_ok=True)
    ids = [f"n{i}" for i in range(sizes.watched_hops)]
    nodes = [calling("hold", "bench.gate", path=str(gate))]
    nodes += [calling(i, "bench.work", seconds=_WORK_S) for i in ids]
    order = ["hold", *ids]
    shape = definition("watched", nodes, zip(order, ids, strict=False))
    run_id = engine.begin(engine.save(shape))
    address = f"{url.replace('http', 'ws', 1)}/api/v1/runs/{run_id}/stream?after=0"
    lines = [
        websocket.create_connection(
            address,
            header=[f"Authorization: Bearer {engine.key}"],
            timeout=30,
            suppress_origin=True,
        )
        for _ in range(sizes.watchers)
    ]
    opened = time.time()
    gate.touch()
    heard = _heard([line.sock for line in lines])
    engine.ended([run_id])
    for line in lines:
        line.shutdown()
    found = []
    for arrivals in heard:
        lags = [(at - sent) * 1000 for at, sent in _timed(arrivals) if sent > opened]
        if len(lags) < sizes.watched_hops:
            raise RuntimeError(f"a socket heard {len(lags)} of {sizes.watched_hops} hops or more")
        found += lags
    return found


def _heard(sockets: list[Any]) -> list[list[tuple[float, bytes]]]:
    """Return what arrived on each socket and when, until all have closed. Nothing is parsed here:
    what a client takes to read is not the server's lag."""
    heard: list[list[tuple[float, bytes]]] = [[] for _ in sockets]
    with selectors.DefaultSelector() as ready:
        for number, line in enumerate(sockets):
            line.setblocking(False)
            ready.register(line, selectors.EVENT_READ, number)
        while ready.get_map():
            events = ready.select(_QUIET_S)
            if not events:
                raise RuntimeError(f"sockets fell silent: {len(ready.get_map())} are open")
            for key, _ in events:
                if _drained(key.fileobj, heard[key.data]):
                    ready.unregister(key.fileobj)
    return heard


def _drained(line: Any, arrivals: list[tuple[float, bytes]]) -> bool:
    """Take what is there; True when the server has said goodbye."""
    try:
        data = line.recv(1 << 18)
    except BlockingIOError:
        return False
    except OSError:
        return True
    arrivals.append((time.time(), data))
    # A close frame is short and the last thing sent.
    return not data or any(kind == 8 for _, kind, _ in _frames(arrivals[-1:]))


def _frames(arrivals: list[tuple[float, bytes]]) -> Iterator[tuple[float, int, bytes]]:
    """Yield (when its last byte came, opcode, payload) of each frame; servers do not mask."""
    buffer = b""
    for at, data in arrivals:
        buffer += data
        while len(buffer) >= 2:
            size, start = buffer[1] & 0x7F, 2
            if size >= 126:
                start = 4 if size == 126 else 10
                if len(buffer) < start:
                    break
                size = int.from_bytes(buffer[2:start])
            if len(buffer) < start + size:
                break
            yield at, buffer[0] & 0x0F, buffer[start : start + size]
            buffer = buffer[start + size :]


def _timed(arrivals: list[tuple[float, bytes]]) -> Iterator[tuple[float, float]]:
    """Yield (arrived, recorded) of each event."""
    for at, kind, payload in _frames(arrivals):
        if kind == _TEXT:
            frame = orjson.loads(payload)
            if "at" in frame:
                yield at, datetime.fromisoformat(frame["at"]).timestamp()
