"""`zq` as its users run it: a process of its own, in a home of its own, and what it leaves."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]
#: What an installation of this test run must not inherit from the shell.
_OWN = "ZQ_"


class Zq:
    """One home, and the `zq` commands run in it."""

    def __init__(self, home: Path, port: int = 0) -> None:
        self.home = home
        # Whatever terminal the tests run in, what is printed here is not for it.
        self.env = {
            k: v for k, v in os.environ.items() if not k.startswith(_OWN) and k != "COLUMNS"
        }
        self.env |= {"ZQ_HOME": str(home), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        if port:
            self.env["ZQ_WEB__PORT"] = str(port)

    def command(self, *words: str) -> list[str]:
        """Return the command line of `zq words...`."""
        return [sys.executable, "-m", "orchestrator.cli", *words]

    def run(
        self, *words: str, timeout_s: float = 60, text: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            self.command(*words),
            check=False, env=self.env, capture_output=True, text=True, input=text,
            timeout=timeout_s, cwd=self.home.parent,
        )  # fmt: skip

    def start(self, *words: str) -> Running:
        """Start a command and read along."""
        return Running(
            subprocess.Popen(
                self.command(*words),
                env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, cwd=self.home.parent,
            )
        )  # fmt: skip

    @contextmanager
    def up(self, *words: str) -> Iterator[Running]:
        """Run `zq up` until it is ready, and to its end afterwards."""
        running = self.start("up", *words)
        try:
            running.said("ready: ", timeout_s=90)
            yield running
        finally:
            running.end()

    def processes(self) -> list[str]:
        """Return the command lines of the processes that belong to this home."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                line = " ".join(process.cmdline())
                # A copy of `zq up` has a name in the place of its environment; servers are
                # elsewhere.
                mine = process.environ().get("ZQ_HOME") == str(self.home)
                here = process.cwd() == str(self.home.parent)
                if mine or here or str(self.home) in line:
                    found.append(f"{process.pid}: {line}")
        return found

    def nothing_left(self, timeout_s: float = 30) -> None:
        """Wait until no process of this home is there any more."""
        wait_for(lambda: not self.processes(), timeout_s=timeout_s, what=f"{self.processes()}")


class Running:
    """A command on its way, and the lines it has printed."""

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        self.popen = popen
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.popen.stdout is not None
        with self.popen.stdout as stdout:
            for line in stdout:
                self.lines.append(line.rstrip("\n"))

    def said(self, part: str, *, timeout_s: float = 30) -> str:
        """Wait for a line with this part and return it."""

        def look() -> str | None:
            for line in list(self.lines):
                if part in line:
                    return line
            assert self.popen.poll() is None or self._reader.is_alive(), (
                f"it ended without saying {part!r}: {self.lines}"
            )
            return None

        found = wait_for(look, timeout_s=timeout_s, what=f"{part!r} in {self.lines}")
        assert found
        return found

    def children(self) -> dict[str, psutil.Process]:
        """Return its direct children by the module they run."""
        found = {}
        for child in psutil.Process(self.popen.pid).children():
            with suppress(psutil.Error):
                words = " ".join(child.cmdline()).split()
                if "-m" in words:
                    found[words[words.index("-m") + 1]] = child
                elif "[zq-web]" in words:
                    # Gunicorn has given itself another name.
                    found["web.server.serve"] = child
        return found

    def end(self, *, timeout_s: float = 60) -> int:
        """Stop it with SIGTERM if it runs, and return its exit code."""
        if self.popen.poll() is None:
            self.popen.terminate()
        try:
            code = self.popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            raise
        self._reader.join(10)
        return code
