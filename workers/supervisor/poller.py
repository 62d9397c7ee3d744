"""What a watch waits for: a pulse, the end of a process, an answer; whichever comes first.

Linux says at once when a process ends. Elsewhere `sees_ends` is False, and whoever waits has to
look again and again. psutil answers where Linux does not; an idle supervisor never imports it.
"""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_open: Callable[[int], int] | None = getattr(os, "pidfd_open", None)
_send: Callable[[int, int], None] | None = getattr(signal, "pidfd_send_signal", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What happened during a wait. `pulse` is what was read, empty when there is no more."""

    pulse: bytes | None = None
    ended: set[int] = field(default_factory=set)


class Poller:
    """Waits for one pulse and any number of processes. One thread alone, but for `wake`."""

    def __init__(self, pulse_fd: int) -> None:
        self._selector = selectors.DefaultSelector()
        self._lock = threading.Lock()
        self._waking, self._writing = os.pipe()
        for end in (self._waking, self._writing):
            os.set_blocking(end, False)
        self._pulse_fd = pulse_fd
        self._selector.register(self._waking, selectors.EVENT_READ)
        self._selector.register(pulse_fd, selectors.EVENT_READ)
        self._fds: dict[int, int] = {}
        self.sees_ends = self._can_open()

    @staticmethod
    def _can_open() -> bool:
        if _open is None or _send is None:
            return False
        try:
            os.close(_open(os.getpid()))
        except OSError:
            # A sandbox may forbid it.
            return False
        return True

    def watch(self, pid: int) -> bool:
        """Notice the end of a process; False where that cannot be, or it has gone already."""
        if not self.sees_ends or _open is None:
            return False
        try:
            fd = _open(pid)
        except OSError:
            return False
        self._fds[pid] = fd
        self._selector.register(fd, selectors.EVENT_READ, pid)
        return True

    def has_ended(self, pid: int) -> bool:
        """Whether a process has ended since it is watched; asks without waiting."""
        fd = self._fds.get(pid)
        return fd is not None and bool(select.select([fd], [], [], 0)[0])

    def forget(self, pid: int) -> None:
        """Do not notice it any more."""
        fd = self._fds.pop(pid, None)
        if fd is not None:
            self._selector.unregister(fd)
            os.close(fd)

    def send(self, pid: int, number: signal.Signals) -> None:
        """Send a signal, never to another process that got the same number; none to a gone one."""
        with contextlib.suppress(ProcessLookupError):
            if (fd := self._fds.get(pid)) is not None and _send is not None:
                _send(fd, number)
            else:
                os.kill(pid, number)

    def wake(self) -> None:
        """End the wait, from any thread."""
        # A full pipe wakes as well as one byte does; once closed there is nobody to wake.
        with self._lock, contextlib.suppress(BlockingIOError):
            if self._writing >= 0:
                os.write(self._writing, b"\0")

    def deaf(self) -> None:
        """Read no more pulses."""
        with contextlib.suppress(KeyError):
            self._selector.unregister(self._pulse_fd)

    def wait(self, timeout_s: float) -> Seen:
        """Return what happened, at the latest after so many seconds. Each end is seen once."""
        pulse, ended = None, set[int]()
        found: list[tuple[selectors.SelectorKey, Any]] = self._selector.select(timeout_s)
        for key, _ in found:
            if key.fd == self._waking:
                os.read(self._waking, 4096)
            elif key.fd == self._pulse_fd:
                pulse = os.read(self._pulse_fd, 4096)
            else:
                ended.add(key.data)
        for pid in ended:
            self.forget(pid)
        return Seen(pulse=pulse, ended=ended)

    def close(self) -> None:
        """Give everything back but the pulse's own end."""
        for pid in list(self._fds):
            self.forget(pid)
        self._selector.close()
        with self._lock:
            os.close(self._waking)
            os.close(self._writing)
            self._writing = -1


def children_of(pid: int) -> set[int]:
    """Return the direct children of a process; empty when it is gone.

    The kernel's own list, where it has one: psutil looks at every process of the machine, which
    costs an idle supervisor more than all the rest it does.
    """
    found: set[int] = set()
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found.update(map(int, (thread / "children").read_text().split()))
    except OSError:
        import psutil

        try:
            return {child.pid for child in psutil.Process(pid).children()}
        except psutil.NoSuchProcess:
            return set()
    return found


def lives(pid: int) -> bool:
    """Return whether a process is there and has not ended."""
    import psutil

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
