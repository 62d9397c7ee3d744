"""What Linux tells and does for processes: parent-death signals, and lists of children.

psutil answers where Linux does not; an idle supervisor never imports it.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1
#: Opened once: between a fork and what follows, nothing may be loaded.
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(signal_number: int) -> None:
    """Ask the kernel to send this process a signal when its parent dies; nothing elsewhere."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal_number))


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
