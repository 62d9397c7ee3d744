"""One server process: ends with its launcher, is known after a crash, stops in bounded time."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from orchestrator.adapters.embedded.identity import Identity
from orchestrator.errors import EmbeddedUnavailable
from orchestrator.process.private_files import write_private

MAX_LOG_BYTES = 10 * 1024 * 1024
POLL_S = 0.02


@dataclass(slots=True)
class ServerProcess:
    """A running server that this process started."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path
    record: Path
    stop_signals: tuple[tuple[signal.Signals, float], ...]

    def alive(self) -> bool:
        return self.popen.poll() is None

    def stop(self) -> None:
        """End the server: each signal in turn, with its own patience in seconds."""
        for number, patience_s in self.stop_signals:
            if not self.alive():
                break
            self.popen.send_signal(number)
            try:
                self.popen.wait(patience_s)
            except subprocess.TimeoutExpired:
                continue
        self.record.unlink(missing_ok=True)

    def failure(self, why: str) -> EmbeddedUnavailable:
        """Return the error to raise when the server does not come up, with the log's last lines."""
        lines = self.log.read_text(errors="replace").splitlines()[-8:] if self.log.exists() else []
        tail = "\n  ".join(lines)
        return EmbeddedUnavailable(
            f"The embedded {self.name} server {why}. Its log ({self.log}) ends:\n  {tail}"
        )


def spawn(
    name: str,
    command: Sequence[str | Path],
    *,
    identity: Identity,
    log: Path,
    record: Path,
    stop_signals: tuple[tuple[signal.Signals, float], ...],
) -> ServerProcess:
    """Start a server in a session of its own, so that Ctrl-C reaches its launcher first.

    On Linux the server is stopped, by its first stop signal, when this process dies. The kernel
    ties that to the starting *thread*, so it is armed in the main thread only; a server that
    outlives its launcher all the same is stopped by the next start.
    """
    main_thread = threading.current_thread() is threading.main_thread()
    death_signal = int(stop_signals[0][0]) if main_thread else 0
    with _open_log(log) as output:
        popen = subprocess.Popen(
            identity.command(command, death_signal),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
            start_new_session=True,
            umask=0o077,
        )
    known = {"pid": popen.pid, "started": started(popen.pid)}
    write_private(record, json.dumps(known))
    return ServerProcess(name, popen, log, record, stop_signals)


def stop_orphan(record: Path, stop_signals: tuple[tuple[signal.Signals, float], ...]) -> None:
    """Stop the server that an earlier launcher recorded and left behind, if it still runs."""
    pid = recorded_pid(record)
    for number, patience_s in stop_signals if pid else ():
        try:
            os.kill(pid or 0, number)
        except ProcessLookupError:
            break
        if any(recorded_pid(record) is None for _ in within(patience_s)):
            break
    record.unlink(missing_ok=True)


def recorded_pid(record: Path) -> int | None:
    """Return the recorded server's pid if that very process still runs; a reused pid is not it."""
    try:
        known = json.loads(record.read_text())
    except (FileNotFoundError, ValueError):
        return None
    pid = int(known["pid"])
    began = started(pid)
    return pid if began is not None and began == known["started"] else None


def started(pid: int) -> str | None:
    """Return when a process began, in the system's own words; None if it runs no more."""
    if not Path("/proc/self/stat").exists():
        command = ["/bin/ps", "-o", "lstart=", "-p", str(pid)]
        said = subprocess.run(command, check=False, capture_output=True, text=True)
        return said.stdout.strip() or None
    try:
        # The command's name, in brackets, may itself hold spaces and brackets.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]


def within(patience_s: float) -> Iterator[float]:
    """Yield, with a short pause between, until the patience is over."""
    deadline = time.monotonic() + patience_s
    while (left_s := deadline - time.monotonic()) > 0:
        yield left_s
        time.sleep(POLL_S)


def free_port(wanted: int | None = None) -> int:
    """Return `wanted` if nobody listens there, else a free loopback TCP port."""
    for port in (wanted, 0) if wanted else (0,):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise EmbeddedUnavailable("No free TCP port on 127.0.0.1.")


def _open_log(log: Path) -> BinaryIO:
    if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
    return os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")
