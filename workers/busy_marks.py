"""The marks by which a pool child shows that it moves on, and a watch sees one that does not.

A child writes the time into a file of its own when it takes work and at each step after that, and
zero when it has none. Both sides read the machine's monotonic clock. A mark costs one small write.
"""

from __future__ import annotations

import contextlib
import os
import struct
import time
from collections.abc import Collection
from pathlib import Path

_TIME = struct.Struct("d")


def _place(folder: Path, pid: int) -> Path:
    return folder / f"busy-{pid}"


class BusyMark:
    """A child's own mark. Where it cannot be written (a full disk), there is none: work goes on."""

    def __init__(self, folder: Path, pid: int) -> None:
        self._fd = -1
        with contextlib.suppress(OSError):
            self._fd = os.open(_place(folder, pid), os.O_WRONLY | os.O_CREAT, 0o600)

    def busy(self) -> None:
        """Show that there is work, and that it has just moved on."""
        self._write(time.monotonic())

    def idle(self) -> None:
        """Show that there is none."""
        self._write(0.0)

    def _write(self, at: float) -> None:
        with contextlib.suppress(OSError):
            os.pwrite(self._fd, _TIME.pack(at), 0)


def silent_s(folder: Path, pid: int) -> float:
    """Return the seconds since a busy child moved on; 0 for an idle one, or one without a mark."""
    try:
        read = _place(folder, pid).read_bytes()
    except OSError:
        return 0.0
    since = _TIME.unpack(read)[0] if len(read) == _TIME.size else 0.0
    return time.monotonic() - since if since else 0.0


def forget(folder: Path, pids: Collection[int]) -> None:
    """Remove the marks of children that have ended: their numbers may come again."""
    for pid in pids:
        with contextlib.suppress(OSError):
            _place(folder, pid).unlink()
