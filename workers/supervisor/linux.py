"""What Linux tells of processes: lists of children, and whether they live.

psutil answers where Linux does not; an idle supervisor never imports it.
"""

from __future__ import annotations

from pathlib import Path


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
