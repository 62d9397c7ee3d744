"""The command line's tests run in one time zone, wherever they run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.place import Captured, Place, opened
from tests.servers import Servers


@pytest.fixture(autouse=True)
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Be in UTC; call it to be somewhere else."""

    def be_in(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    be_in("UTC0")
    yield be_in
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def place(
    tmp_path: Path, servers: Servers, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> Iterator[Place]:
    """The API without workers, and a home of one's own."""
    with opened(tmp_path, servers, monkeypatch, capsys) as made:
        yield made
