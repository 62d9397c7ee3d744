"""Child processes of `zq up`: tied to its life, logged, started again when they die, stopped.

Spawn and tend them from the main thread: Linux ties a child's life to the thread that started it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from orchestrator.adapters.embedded.identity import itself
from orchestrator.adapters.embedded.process import within
from orchestrator.process import forks, own_packages, start_check

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 15.0
#: A child that lived this long was healthy: its next pause is short again.
HEALTHY_S = 30.0
MAX_LOG_BYTES = 10 * 1024 * 1024
#: How long a child gets that is not to be waited for any more.
HURRY_S = 0.2

_LEVEL = re.compile(r"\b(WARNING|ERROR|CRITICAL)\b")
_LOUD = {"warning", "error", "critical"}

#: Takes the name of a child and a line that a person should see.
Report = Callable[[str, str], None]


@dataclass(slots=True, kw_only=True)
class Child:
    """One process that is to run all the time."""

    name: str
    #: What `python -m` is to run: a module and its arguments.
    words: Sequence[str]
    env: Mapping[str, str]
    log: Path
    report: Report
    #: Seconds from SIGTERM to SIGKILL.
    patience_s: float
    #: Whether it begins as a copy of this process, which has imported what it needs.
    copied: bool = False
    #: What it said when it refused to start with these settings.
    refused: str = ""
    _popen: forks.Started | None = None
    _since: float = 0.0
    _pause_s: float = FIRST_PAUSE_S
    _due: float = 0.0
    _quiet: bool = False
    _last: str = field(default="", repr=False)
    _reader: threading.Thread | None = None

    @property
    def pid(self) -> int | None:
        """The process's id while it runs."""
        return self._popen.pid if self._popen else None

    def start(self) -> None:
        """Start it, in a session of its own: Ctrl-C reaches its parent first."""
        reading, writing = os.pipe()
        try:
            if self.copied:
                self._popen = forks.copy(self.words, self.env, output=writing)
            else:
                self._popen = self._spawned(writing)
        finally:
            os.close(writing)
        self._since = time.monotonic()
        # Open before the thread runs: a log that cannot be written must fail here.
        self._reader = threading.Thread(
            target=self._pump,
            args=(os.fdopen(reading, "rb"), _open_log(self.log)),
            name=f"log of {self.name}",
            daemon=True,
        )
        self._reader.start()

    def _spawned(self, output: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            itself().command(own_packages.command(*self.words), signal.SIGTERM),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(self.env),
            start_new_session=True,
        )

    def tend(self) -> None:
        """Notice its death, and start it again when its pause is over."""
        now = time.monotonic()
        if self._popen is None:
            if now >= self._due:
                self.start()
            return
        if not _has_died(self._popen):
            return
        # What it left in its group would work on beside its successor.
        _kill_group(self._popen.pid)
        code = self._popen.wait()
        self._popen = None
        if code == start_check.REFUSED and self._reader is not None:
            self._reader.join(timeout=1.0)
            self.refused = self._last
        if now - self._since > HEALTHY_S:
            self._pause_s = FIRST_PAUSE_S
        last = f' Its last words: "{self._last}".' if self._last else ""
        self.report(
            self.name,
            f"ended by itself ({_how(code)}); it starts again in {self._pause_s:g} s."
            f"{last} Log: {self.log}",
        )
        self._due = now + self._pause_s
        self._pause_s = min(LONGEST_PAUSE_S, self._pause_s * 2)

    def ask(self) -> None:
        """Ask it to stop; `gone` tells when it has."""
        self._quiet = True
        if self._popen is not None:
            with contextlib.suppress(ProcessLookupError):
                self._popen.terminate()

    def end(self, hurry: Callable[[], bool]) -> None:
        """Wait until it has stopped, for its patience or hardly at all in a hurry; then kill it."""
        if self._popen is None:
            return
        began = time.monotonic()
        for _ in within(self.patience_s):
            if _has_died(self._popen):
                break
            if hurry() and time.monotonic() - began > HURRY_S:
                break
        else:
            self.report(self.name, f"did not stop within {self.patience_s:g} s: killed")
        _kill_group(self._popen.pid)
        self._popen.wait()
        self._popen = None

    def _pump(self, source: BinaryIO, log: BinaryIO) -> None:
        with source, log:
            for raw in source:
                log.write(raw)
                log.flush()
                line = raw.decode(errors="replace").rstrip()
                self._last = line or self._last
                loud = important(line)
                if loud and not self._quiet:
                    self.report(self.name, loud)


def important(line: str) -> str | None:
    """Return what a person should see of a log line, None when it is only for the file."""
    if line.startswith("{"):
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if isinstance(entry, dict):
            level = str(entry.get("level", "")).lower()
            text = entry.get("msg") or entry.get("message") or entry.get("event") or ""
            return f"{level}: {text}" if level in _LOUD else None
    return line if _LEVEL.search(line[:100]) else None


def stop_all(groups: Sequence[Sequence[Child]], hurry: Callable[[], bool]) -> None:
    """Stop groups of children one after the other, the children of a group together."""
    for group in groups:
        for child in group:
            child.ask()
        for child in group:
            child.end(hurry)


def _has_died(popen: forks.Started) -> bool:
    """Whether it has ended, without reaping it: until then its group's number stays its own."""
    if popen.returncode is not None:
        return True
    try:
        found = os.waitid(os.P_PID, popen.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return found is not None


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _how(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _open_log(log: Path) -> BinaryIO:
    if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
    return os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")
