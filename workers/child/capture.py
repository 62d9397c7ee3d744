"""Log capture: what a handler logs, prints or writes to stderr becomes lines of its own task.

Output that goes around Python (a subprocess on fd 1, `os.write`) is not captured.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from contextvars import Token
from typing import Self

from orchestrator.errors import ServiceUnavailable
from orchestrator.models.text import printable
from orchestrator.ports.moves import LogLine
from orchestrator.services.secrets.masking import LineMasker, Masker
from workers.child import capture_hub

log = logging.getLogger(__name__)

FLUSH_BYTES = 64 * 1024
KEEP_BYTES = 1024 * 1024
#: How long a handler that writes faster than the record takes it is held up before lines go.
ROOM_S = 5.0
#: What a line costs besides its text, so that a million empty lines are bounded too.
_LINE_BYTES = 64

#: When a line was said, its level, and how many of its characters are not there.
_Tag = tuple[float, str, int]

_ENDS = re.compile(r"\r\n|\n|\r(?!\Z)")


class Capture:
    """The lines of one call of a handler. Use it around the call, then `drain()`.

    Lines go to `sink` from a thread of their own every 250 ms, or at 64 KB. When it returns False
    or raises they are kept, 1 MB of them: beyond that the oldest go, and one line says how many.
    """

    __slots__ = (
        "_bytes", "_clock", "_dropped", "_failing", "_line_bytes", "_lines", "_lock", "_masked",
        "_masker", "_open", "_partial", "_room", "_send", "_sink", "_task_no", "_token", "before",
    )  # fmt: skip

    def __init__(
        self,
        sink: Callable[[list[LogLine]], bool],
        task_no: int,
        line_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sink = sink
        self._task_no = task_no
        self._line_bytes = line_bytes
        self._clock = clock
        self._lines: deque[tuple[float, str, str, int]] = deque()
        self._bytes = 0
        self._dropped = 0
        self._failing = False
        self._open = False
        self._partial: dict[tuple[int, str], _Partial] = {}
        self._masker: Masker | None = None
        #: By thread: a secret may go on from one line to the next.
        self._masked: dict[int, LineMasker[_Tag]] = {}
        # Reentrant: a signal handler may log while the line before it is being taken down. Taken
        # itself, not through the Condition, whose Python code a StopRequested could leave between
        # taking the lock and guarding it.
        self._lock = threading.RLock()
        self._room = threading.Condition(self._lock)
        self._send = threading.Lock()
        self._token: Token[capture_hub.Receiver | None]
        #: The threads that were there before: what they write is not this handler's.
        self.before: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._open = True
        self.before = threading.enumerate()
        self._token = capture_hub.current.set(self)
        capture_hub.hub.enter(self)
        return self

    def __exit__(self, *_: object) -> None:
        capture_hub.hub.leave(self)
        capture_hub.current.reset(self._token)
        with self._lock:
            self._open = False
            for (thread, level), partial in self._partial.items():
                self._line(level, *partial.take(), thread=thread)
            self._partial.clear()
            for lines in self._masked.values():
                self._let_go(lines.end())
            self._masked.clear()

    @property
    def open(self) -> bool:
        """Whether the handler is still at work; later lines belong to nobody."""
        return self._open

    def hide(self, masker: Masker) -> None:
        """Mask these values in every line from now on, also where one goes over a line's end."""
        with self._lock:
            self._masker = masker

    def forget(self) -> None:
        """Take down nothing more: in a forked child the lines are the parent's."""
        self._open = False

    @property
    def pending(self) -> bool:
        """Whether lines wait to be sent."""
        return bool(self._lines)

    def write(self, level: str, text: str) -> None:
        """Take down a piece of a stream; it becomes lines where they end, per thread."""
        if not text:
            return
        with self._lock:
            key = (threading.get_ident(), level)
            partial = self._partial.pop(key, None) or _Partial(self._line_bytes)
            start = 0
            if partial.returned:
                # The last piece ended in CR: together with this LF it was one line end.
                start = 1 if text.startswith("\n") else 0
                partial.returned = False
                self._line(level, *partial.take())
            for end in _ENDS.finditer(text, start):
                partial.add(text[start : end.start()])
                self._line(level, *partial.take())
                start = end.end()
            rest = text[start:]
            partial.returned = rest.endswith("\r")
            partial.add(rest.removesuffix("\r"))
            if rest:
                self._partial[key] = partial

    def say(self, level: str, text: str) -> None:
        """Take down whole lines."""
        with self._lock:
            for line in _ENDS.split(text):
                self._line(level, line, len(line))

    def _line(self, level: str, text: str, total: int, *, thread: int | None = None) -> None:
        """Take down a line of which `text` is known, `total` characters long."""
        if not text:
            return
        if self._masker is None:
            self._keep(self._clock(), level, _cut(text, total, self._line_bytes))
            return
        missing = total - len(text)
        if missing > 0:
            # What is missing may have been the rest of a secret.
            text = self._masker.error(text)
        lines = self._masked.setdefault(thread or threading.get_ident(), self._masker.lines())
        self._let_go(lines.add(text, (self._clock(), level, missing)))

    def _let_go(self, lines: list[tuple[str, _Tag]]) -> None:
        for text, (at, level, missing) in lines:
            self._keep(at, level, _cut(text, len(text) + missing, self._line_bytes))

    def _keep(self, at: float, level: str, line: str) -> None:
        if not line:
            return
        size = len(line) + _LINE_BYTES
        if self._bytes + size > KEEP_BYTES:
            self._make_room(size)
        self._lines.append((at, level, line, size))
        self._bytes += size
        if len(self._lines) == 1 or self._bytes - size < FLUSH_BYTES <= self._bytes:
            capture_hub.hub.wake(urgent=self._bytes >= FLUSH_BYTES)

    def _make_room(self, size: int) -> None:
        if not self._failing and self._open:
            capture_hub.hub.wake(urgent=True)
            self._failing = not self._room.wait_for(
                lambda: self._failing or self._bytes + size <= KEEP_BYTES, timeout=ROOM_S
            )
        while self._lines and self._bytes + size > KEEP_BYTES:
            self._bytes -= self._lines.popleft()[3]
            self._dropped += 1

    def flush(self) -> bool:
        """Send what waits; False when the sink did not take it. Only one sends at a time."""
        with self._send:
            with self._lock:
                taken, dropped = self._take()
                self._room.notify_all()
            if not taken:
                return True
            stored = False
            try:
                stored = self._sink(self._told(taken, dropped))
            except ServiceUnavailable:
                pass
            except Exception as error:
                log.warning("log lines could not be stored: %s: %s", type(error).__name__, error)
            finally:
                if not stored:
                    self._put_back(taken, dropped)
            with self._lock:
                self._failing = not stored
                self._room.notify_all()
            return stored

    def drain(self) -> list[LogLine]:
        """Return what was not sent, after a sending under way has come to its end.

        The caller stores these lines; they are forgotten here.
        """
        with self._send, self._lock:
            return self._told(*self._take())

    def _take(self) -> tuple[list[tuple[float, str, str, int]], int]:
        taken, dropped = list(self._lines), self._dropped
        self._lines.clear()
        self._bytes = self._dropped = 0
        return taken, dropped

    def _put_back(self, taken: list[tuple[float, str, str, int]], dropped: int) -> None:
        with self._lock:
            self._dropped += dropped
            self._lines.extendleft(reversed(taken))
            self._bytes += sum(line[3] for line in taken)
            while self._bytes > KEEP_BYTES:
                self._bytes -= self._lines.popleft()[3]
                self._dropped += 1

    def _told(self, taken: list[tuple[float, str, str, int]], dropped: int) -> list[LogLine]:
        now = self._clock()
        lines = [
            LogLine(task_no=self._task_no, level=level, message=text, age_s=max(0.0, now - at))
            for at, level, text, _ in taken
        ]
        if dropped:
            said = f"[{dropped} earlier log lines were dropped: they could not be stored in time]"
            age_s = lines[0].age_s if lines else 0.0
            notice = LogLine(task_no=self._task_no, level="warning", message=said, age_s=age_s)
            lines.insert(0, notice)
        return lines


class _Partial:
    """The beginning of a line whose end has not been written yet; a long one is cut at once."""

    __slots__ = ("_most", "_pieces", "_total", "returned")

    def __init__(self, most: int) -> None:
        self._most = most
        self._pieces: list[str] = []
        self._total = 0
        self.returned = False

    def add(self, piece: str) -> None:
        if piece:
            if self._total <= self._most:
                self._pieces.append(piece[: self._most + 1])
            self._total += len(piece)

    def take(self) -> tuple[str, int]:
        """Return what is known of the line, and how long it is."""
        line, total = "".join(self._pieces), self._total
        self._pieces.clear()
        self._total = 0
        return line, total


def _cut(line: str, total: int, most: int) -> str:
    """Return a line of at most `most` bytes; a longer one ends in how long it was."""
    text = printable(line.removesuffix("\r")[: most + 1])
    if total <= most and (len(text) * 4 <= most or len(text.encode()) <= most):
        return text
    mark = f" [cut: {total} characters]"
    return text.encode()[: max(0, most - len(mark))].decode(errors="ignore") + mark
