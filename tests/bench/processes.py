"""Processes of the benchmark: started with an environment of their own, stopped in order."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from orchestrator.adapters.embedded import parent_death

ROOT = Path(__file__).parents[2]
#: Ends a process when this one is killed.
_LEASH = (sys.executable, "-I", "-S", str(Path(parent_death.__file__)))
#: The name of a `zq up`, whose children are told apart.
TOGETHER = "zq up"
_ROLES = {"web": "web", "workers.supervisor": "worker", "scheduler": "scheduler"}
_STOP_S = 30.0
_START_S = 60.0


def environment(**names: object) -> dict[str, str]:
    """Return this process's environment without settings of the product, and with `names`."""
    mine = {k: v for k, v in os.environ.items() if not k.startswith(("ZQ_", "_ZQ_"))}
    return {**mine, "PYTHONPATH": str(ROOT), **{k: str(v) for k, v in names.items()}}


def _role(process: psutil.Process) -> str:
    """Return what a child of `zq up` is, by the name it has given itself."""
    called = " ".join(process.cmdline())
    return next(role for word, role in _ROLES.items() if word in called)


class Processes:
    """Named processes. What they print goes to files of `folder`."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self._folder = folder
        self._env = dict(env)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(
        self, name: str, *command: str, pipe: bool = False, **more: object
    ) -> subprocess.Popen[bytes]:
        """Start `python command...` with `more` in its environment; with `pipe` its standard output
        is the caller's to read. Call it in the main thread: with that one the process ends."""
        with (self._folder / f"{name}.log").open("ab") as out:
            process = subprocess.Popen(
                [
                    *_LEASH,
                    str(os.getpid()),
                    str(int(signal.SIGTERM)),
                    "-",
                    sys.executable,
                    *command,
                ],
                env={**self._env, **{k: str(v) for k, v in more.items()}},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipe else out,
                stderr=out,
                start_new_session=True,
            )
        self._running[name] = process
        return process

    def said(self, name: str) -> str:
        """Return the end of what a process printed."""
        return (self._folder / f"{name}.log").read_text(errors="replace")[-3000:]

    def everything_said(self) -> str:
        """Return the ends of what all processes printed."""
        return "\n".join(f"{name}: {self.said(name)}" for name in self._running)

    def line(self, name: str, prefix: str) -> str:
        """Wait for a line of a piped process that begins with `prefix`; return its rest."""
        out = self._running[name].stdout
        assert out is not None
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            if select.select([out], [], [], 0.5)[0]:
                text = out.readline().decode()
                if text.startswith(prefix):
                    return text.removeprefix(prefix).strip()
                if not text:
                    break
        raise RuntimeError(f"{name} did not start: {self.said(name)}")

    def families(self) -> dict[str, list[psutil.Process]]:
        """Return each process with its children, by name; those of `zq up` each by its own."""
        found: dict[str, list[psutil.Process]] = {}
        for name, process in self._running.items():
            with suppress(psutil.NoSuchProcess):
                root = psutil.Process(process.pid)
                found[name] = [root]
                for child in root.children():
                    role = _role(child) if name == TOGETHER else name
                    found.setdefault(role, []).extend([child, *child.children(recursive=True)])
        return found

    def ended(self) -> list[str]:
        """Return the names of processes that have ended by themselves."""
        return [name for name, process in self._running.items() if process.poll() is not None]

    def stop(self) -> None:
        """End all, the last started first, with whatever they have started."""
        for name in reversed(list(self._running)):
            self.stop_one(name)

    def stop_one(self, name: str) -> None:
        """End one process, with whatever it has started."""
        process = self._running.pop(name)
        family: list[psutil.Process] = []
        with suppress(psutil.NoSuchProcess):
            family = psutil.Process(process.pid).children(recursive=True)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process.stdout:
            process.stdout.close()
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.kill()
