"""Servers of one test alone, to be frozen, killed and started again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from orchestrator.adapters.embedded import EmbeddedServices
from orchestrator.errors import EmbeddedUnavailable
from tests.conftest import _unavailable


class Servers:
    """Servers of one test alone, to be killed and started again."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._services = EmbeddedServices(home)
        self.endpoints = self._services.start()

    def family(self, name: str) -> list[psutil.Process]:
        """Return a server's processes, its first one first."""
        found = [p for p in psutil.Process().children(recursive=True) if self._is(p, name)]
        assert found, f"no {name} here"
        # Postgres's backends say nothing of their folder.
        return list(dict.fromkeys([*found, *found[0].children(recursive=True)]))

    def freeze(self, name: str) -> None:
        """Let a server answer nothing any more, while the system goes on accepting for it."""
        for process in self.family(name):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()

    def thaw(self, name: str) -> None:
        """Let it go on."""
        for process in reversed(self.family(name)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    def kill(self, name: str) -> None:
        """kill -9 a server and all its processes."""
        family = self.family(name)
        for process in family:
            # A backend may end by itself between being listed and being killed.
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(family, timeout=5)

    def _is(self, process: psutil.Process, name: str) -> bool:
        try:
            # Valkey writes its address over its command line; Postgres keeps the folder there.
            said, port = " ".join(process.cmdline()), urlsplit(self.endpoints.redis_url).port
            return name in process.name() and (str(self._home) in said or f":{port}" in said)
        except psutil.NoSuchProcess:
            return False

    def restart(self) -> None:
        """Start both again on what they had, at the ports they had."""
        self._services.stop()
        self._services = EmbeddedServices(self._home)
        assert self._services.start() == self.endpoints

    def stop(self) -> None:
        """End them, frozen ones too."""
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.status() == psutil.STATUS_STOPPED:
                    process.resume()
        self._services.stop()


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    try:
        made = Servers(tmp_path / "servers")
    except EmbeddedUnavailable as error:
        _unavailable(error.detail)
        raise
    yield made
    made.stop()
