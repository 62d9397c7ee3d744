"""W6: one run of ten thousand nodes: its rate beside W2's, its messages, and everybody's memory."""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import orjson
import redis

from tests.bench import memory
from tests.bench.figures import Row, at_least, at_most, paired, single
from tests.bench.installation import Installation
from tests.bench.servers import OURS
from tests.bench.shapes import fan, layered
from tests.bench.turns import Sizes, in_turns

#: Bytes that a message may have: so many, and so many for each task it names.
_FIXED, _PER_TASK = 2048, 24
_ARGUMENT = re.compile(rb'"((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(rb"\\x([0-9a-f]{2})|\\(.)")
_PLAIN = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b"}
_STOP = "bench:stop"


def large(engine: Installation, sizes: Sizes) -> list[Row]:
    """Measure the large run in turns with W2, then once more while listening to Redis."""
    shape = layered(sizes.layers, sizes.layer_width)
    nodes = len(shape["nodes"])
    small = fan(sizes.width)
    engine.save(shape)
    with memory.PeakWatch(engine.processes) as watch:
        ours, beside = in_turns(
            sizes.large_repeats,
            lambda: engine.time_one(shape),
            lambda: engine.time_one(small),
        )
    peaks = memory.peaks(engine.processes)
    with Messages(engine.servers.redis(OURS), f"{engine.prefix}default") as heard:
        engine.time_one(shape)
    rates = [[nodes / s for s in ours], [(sizes.width + 2) / s for s in beside]]
    row = paired(
        "W6", f"{nodes:,} nodes in {sizes.layers} layers", "nodes/s", *rates, at_least(0.8, "×"),
        note="in place of raw Celery: this engine's own W2 in the same turns",
    )  # fmt: skip
    return [row, _messages(heard), *_memory(watch, peaks)]


def _messages(heard: Messages) -> Row:
    sizes = heard.sizes
    worst = max(size - _PER_TASK * tasks for size, tasks in sizes)
    largest = max(sizes)
    return single(
        "W6", f"largest message, less {_PER_TASK} bytes a task", "bytes", [worst],
        at_most(_FIXED, "bytes"),
        note=f"{len(sizes)} messages, the largest {largest[0]} bytes for {largest[1]} tasks",
    )  # fmt: skip


def _memory(watch: memory.PeakWatch, peaks: dict[str, float]) -> Iterator[Row]:
    worst = max(watch.pss.values())
    told = ", ".join(
        f"{name} {value:.0f} (resident {peaks.get(name, 0):.0f})"
        for name, value in watch.pss.items()
    )
    yield single(
        "W6", "greatest memory of a process (PSS)", "MB", [worst], at_most(250, "MB"), note=told
    )


class Messages:
    """Hears what is pushed to a queue while a block lasts: (bytes, tasks) of each message."""

    def __init__(self, client: redis.Redis, queue: str) -> None:
        self._client = client
        self._queue = queue.encode()
        self._thread = threading.Thread(target=self._listen, name="monitor", daemon=True)
        self._listening = threading.Event()
        self.sizes: list[tuple[int, int]] = []

    def _listen(self) -> None:
        line = self._client.connection_pool.get_connection()
        line.send_command("MONITOR")
        line.read_response()
        self._listening.set()
        while True:
            said = line.read_response()
            if isinstance(said, str):
                said = said.encode("latin-1")
            words = [plain(word) for word in _ARGUMENT.findall(said)]
            if _STOP.encode() in words:
                break
            if words and words[0].upper() == b"LPUSH" and words[1] == self._queue:
                self.sizes += [(len(word), tasks_of(word)) for word in words[2:]]
        line.disconnect()

    def __enter__(self) -> Self:
        self._thread.start()
        self._listening.wait(10)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.get(_STOP)
        self._thread.join(30)


def plain(word: bytes) -> bytes:
    """Return an argument as it was sent; MONITOR shows it escaped."""

    def one(found: re.Match[bytes]) -> bytes:
        if found[1]:
            return bytes([int(found[1], 16)])
        return _PLAIN.get(found[2], found[2])

    return _ESCAPE.sub(one, word)


def tasks_of(message: bytes) -> int:
    """Return how many tasks a message names."""
    args = orjson.loads(base64.b64decode(orjson.loads(message)["body"]))[0]
    return len(args[1]) if len(args) > 1 else 0
