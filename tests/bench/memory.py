"""What processes cost: proportional memory, peaks and CPU time, from /proc. Linux only."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from tests.bench.processes import Processes

_PSS = re.compile(rb"^Pss:\s+(\d+) kB", re.MULTILINE)
_PEAK = re.compile(rb"^VmHWM:\s+(\d+) kB", re.MULTILINE)
_GONE = (psutil.Error, OSError)
#: What the members of a family are, from its root to its last descendants.
_PARTS = {
    "web": ("web: gunicorn", "web: server"),
    "stream": ("stream: gunicorn", "stream: server"),
    "worker": ("worker: supervisor", "worker: main", "worker: child"),
    "celery": ("celery: main", "celery: child"),
}


def members(processes: Processes) -> Iterator[tuple[str, psutil.Process]]:
    """Yield every process with what it is."""
    for name, family in processes.families().items():
        depth = {family[0].pid: 0}
        for process in family:
            with suppress(*_GONE):
                at = depth.setdefault(process.pid, depth.get(process.ppid(), 0) + 1)
                parts = _PARTS.get(name, (name,))
                yield parts[min(at, len(parts) - 1)], process


def _megabytes(pattern: re.Pattern[bytes], path: str) -> float:
    found = pattern.search(Path(path).read_bytes())
    return int(found[1]) / 1024 if found else 0.0


def pss(processes: Processes) -> dict[str, list[float]]:
    """Return the megabytes of each process, with shared pages divided among those who share."""
    found: dict[str, list[float]] = {}
    for name, process in members(processes):
        with suppress(*_GONE):
            found.setdefault(name, []).append(_megabytes(_PSS, f"/proc/{process.pid}/smaps_rollup"))
    return found


def total(by_name: Mapping[str, list[float]]) -> float:
    """Return the sum over all processes."""
    return sum(sum(each) for each in by_name.values())


def listed(by_name: Mapping[str, list[float]], unit: str = "MB") -> str:
    """Return `name 12 + 13 MB, ...`."""
    parts = [f"{k} {' + '.join(f'{v:.0f}' for v in each)}" for k, each in by_name.items()]
    return f"{', '.join(parts)} {unit}"


def forget_peaks(processes: Processes) -> None:
    """Let the kernel measure each process's peak anew."""
    for _, process in members(processes):
        with suppress(*_GONE):
            Path(f"/proc/{process.pid}/clear_refs").write_text("5")


def peaks(processes: Processes) -> dict[str, float]:
    """Return the greatest resident megabytes of any process of a name since `forget_peaks`."""
    found: dict[str, float] = {}
    for name, process in members(processes):
        with suppress(*_GONE):
            peak = _megabytes(_PEAK, f"/proc/{process.pid}/status")
            found[name] = max(found.get(name, 0.0), peak)
    return found


def cpu_s(processes: Processes) -> float:
    """Return the CPU seconds that all processes have used."""
    used = 0.0
    for _, process in members(processes):
        with suppress(*_GONE):
            times = process.cpu_times()
            used += times.user + times.system
    return used


class PeakWatch:
    """Looks at the proportional memory of each process once a second while a block lasts."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="peaks", daemon=True)
        #: The most megabytes that one process of a name had.
        self.pss: dict[str, float] = {}

    def _look(self) -> None:
        while True:
            for name, each in pss(self._processes).items():
                self.pss[name] = max(self.pss.get(name, 0.0), *each)
            if self._stop.wait(1.0):
                return

    def __enter__(self) -> Self:
        forget_peaks(self._processes)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
