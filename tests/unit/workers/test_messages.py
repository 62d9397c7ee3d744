"""What a pool child builds at once, so that its first message does not wait for it."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery

from orchestrator.settings import Auth, Database, Redis, Settings, Worker
from tests.waiting import wait_for
from workers.messages import Child, register
from workers.stop_notes import STOP_SIGNAL

_MARK = """
from pathlib import Path
Path({path!r}).write_text("loaded")
"""


@pytest.fixture(autouse=True)
def _handler() -> Iterator[None]:
    """Give back the signal that a runtime takes in the process that builds it."""
    before = signal.getsignal(STOP_SIGNAL)
    yield
    signal.signal(STOP_SIGNAL, before)


def settings(modules: str) -> Settings:
    """Settings of servers that are asked for nothing before there is work."""
    return Settings(
        database=Database(url="postgresql://zq@127.0.0.1:1/zq"),
        redis=Redis(url="redis://127.0.0.1:1/0"),
        auth=Auth(secret_key="a key of a test, long enough to be taken for one"),
        worker=Worker(modules=modules),
    )


def test_a_child_loads_its_modules_when_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "loaded_at_once.py").write_text(_MARK.format(path=str(tmp_path / "mark")))
    monkeypatch.syspath_prepend(tmp_path)
    child = Child(settings("loaded_at_once"), Celery())
    child.begin()
    assert (tmp_path / "mark").read_text() == "loaded"
    assert child.runtime is child.runtime
    sys.modules.pop("loaded_at_once")


def test_one_that_cannot_load_its_modules_ends_the_worker(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked = []
    before = signal.signal(signal.SIGTERM, lambda *_: asked.append("to stop"))
    try:
        child = Child(settings("not_there"), Celery())
        with caplog.at_level(logging.CRITICAL):
            child.begin()
        wait_for(lambda: asked, what="the signal")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "not_there cannot be loaded: ModuleNotFoundError" in caplog.text


def test_celery_waits_for_modules_that_take_their_time() -> None:
    app = Celery()
    register(app, settings(""))
    assert app.conf.worker_proc_alive_timeout >= 60
