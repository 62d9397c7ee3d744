"""A sink for captured lines that can fail or be slow, and short ways to make a capture."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from orchestrator.ports.moves import LogLine
from workers.child import capture_hub
from workers.child.capture import Capture


class Sink:
    """Takes lines, unless it is told to fail."""

    def __init__(self) -> None:
        self.lines: list[LogLine] = []
        self.calls = 0
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, lines: list[LogLine]) -> bool:
        self.calls += 1
        self.gate.wait(10)
        if self.error is not None:
            raise self.error
        self.lines += lines
        return True


def start(task_no: int = 1, sink: Any = None, line_bytes: int = 1000, **more: Any) -> Capture:
    return Capture(sink or (lambda lines: False), task_no, line_bytes, **more)


def messages(lines: list[LogLine]) -> list[str]:
    return [line.message for line in lines]


def captured(work: Callable[[], Any], line_bytes: int = 1000) -> list[LogLine]:
    sink = Sink()
    with start(sink=sink, line_bytes=line_bytes) as made:
        work()
    return sink.lines + made.drain()


@contextmanager
def kept_streams(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A quick sender; afterwards pytest has its streams and its root logger back."""
    monkeypatch.setattr(capture_hub, "hub", capture_hub._Hub(0.02))
    root = logging.getLogger()
    was = sys.stdout, sys.stderr, root.level, list(root.handlers)
    # What another hub has left behind would take every line too.
    root.handlers[:] = [h for h in was[3] if not isinstance(h, capture_hub._LogHandler)]
    yield
    sys.stdout, sys.stderr = was[:2]
    root.setLevel(was[2])
    root.handlers[:] = was[3]
