"""`python -m workers.in_memory.dry_run`: the process behind `zq run FILE --dry`; no servers.

Reads one request as JSON from standard input, `{"definition", "input", "pins", "modules",
"secrets", "variables"}`, and
writes JSON lines to standard output: each event's frame as it happens, then `{"run", "tasks"}` or
`{"error"}`. What functions print around their log lines goes to standard error.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, BinaryIO

import orjson

from orchestrator import settings
from orchestrator.adapters.http import client as guarded_http
from orchestrator.errors import InvalidDefinition, ZQError
from orchestrator.models.runs.event import Event
from workers.handlers import StopRequested
from workers.in_memory.server import MemoryServer
from workers.in_memory.worker import refuse_unknown

#: A handler may swallow the first exception; the alarm rings again each second until it is out.
_AGAIN_S = 1.0


class Wire:
    """The line to whoever asked."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def send(self, message: Mapping[str, Any]) -> None:
        """Write one line at once."""
        with self._lock:
            self._stream.write(orjson.dumps(message) + b"\n")
            self._stream.flush()

    def notify(self, events: Sequence[Event]) -> None:
        """See `ports.live.Observer`."""
        for event in events:
            self.send(event.frame())


@contextmanager
def at_the_deadline(timeout_s: float) -> Iterator[None]:
    """Raise StopRequested inside the block when it takes too long; main thread only."""

    def rang(_number: int, _frame: FrameType | None) -> None:
        raise StopRequested("timeout")

    earlier = signal.signal(signal.SIGALRM, rang)
    signal.setitimer(signal.ITIMER_REAL, max(timeout_s, 0.001), _AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, earlier)


def answer(request: Mapping[str, Any], wire: Wire) -> None:
    """Run what was asked for and tell of it; a refusal is told too."""
    try:
        definition, pins = request["definition"], request["pins"]
        refuse_unknown(pins, definition)
        if any(node.get("type") == "python" for node in definition["nodes"]):
            from workers.functions import load_functions

            load_functions(request["modules"])
        rules = guarded_http.egress(settings.load())
        server = MemoryServer(
            pins=pins, watching=at_the_deadline, observers=[wire], egress=rules,
            secrets=request["secrets"], variables=request["variables"],
        )  # fmt: skip
        saved = server.create(definition)
        run_id = server.start(saved["id"], request["input"], trigger="manual")["id"]
        for _ in server.watch(run_id):
            pass
        run, tasks = server.whole(run_id)
        wire.send({"run": run, "tasks": tasks})
    except InvalidDefinition as invalid:
        problems = [
            {"path": p.path, "node": p.node, "code": p.code, "message": p.message}
            for p in invalid.problems
        ]
        wire.send({"error": {"detail": invalid.detail, "code": "invalid", "problems": problems}})
    except ZQError as error:
        wire.send({"error": {"detail": error.detail, "code": error.code, "problems": []}})


def main() -> int:
    """Answer the one request on standard input."""
    # Kept for the answer alone: what a child process of a function prints must not end up in it.
    wire = Wire(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)
    try:
        answer(orjson.loads(sys.stdin.buffer.read()), wire)
    except (KeyboardInterrupt, BrokenPipeError):
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
