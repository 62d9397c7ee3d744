"""A watch goes on whatever the record does, and stops its worker before the lease is over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import orjson
import psutil
import pytest

from orchestrator.adapters.memory.dispatch import MemoryDispatcher
from orchestrator.adapters.memory.fleet import MemoryFleet
from orchestrator.adapters.memory.runtime import MemoryArtifacts, SettableClock
from orchestrator.adapters.memory.store import MemoryStore
from orchestrator.errors import StoreUnavailable
from orchestrator.ports.fleet import Beat, Held, Pulse
from orchestrator.ports.moves import Owner
from orchestrator.services.runs.engine import WorkflowEngine
from orchestrator.services.runs.upkeep import Upkeep
from orchestrator.settings import Settings, Worker
from orchestrator.settings import Upkeep as UpkeepSettings
from tests.contract.player import Player
from tests.factories import chain
from tests.waiting import wait_for
from workers.identity import ALIVE, CARD, Identity
from workers.supervisor import poller, watchdog
from workers.supervisor.watchdog import Watchdog

#: A process with two children that it never asks about, so that they stay as zombies.
FAMILY = ("sh", "-c", "sleep 60 & sleep 60 & exec sleep 60")


class TroubledFleet(MemoryFleet):
    """A memory fleet that can be told to have trouble with beats."""

    trouble: Callable[[], None] | None = None
    beats = 0

    def beat(self, beat: Beat) -> Pulse:
        """See the port."""
        self.beats += 1
        if self.trouble is not None:
            self.trouble()
        return super().beat(beat)


class Rig:
    """A watch over a real process, with its record in memory."""

    def __init__(self, folder: Path, **knobs: float) -> None:
        given = {"beat_s": 0.05, "lease_s": 1.4, "grace_s": 0.05, **knobs}
        worker = replace(Worker(), slots=2, **given)  # type: ignore[arg-type]
        self.settings = Settings(worker=worker)
        self.answer_s = 0.2
        self.clock = SettableClock()
        self.store = MemoryStore(self.clock)
        self.fleet = TroubledFleet(self.store._tables)
        dispatcher = MemoryDispatcher()
        engine = WorkflowEngine(self.store, dispatcher, (), self.clock, MemoryArtifacts())
        self.upkeep = Upkeep(self.store, engine, dispatcher, self.clock, UpkeepSettings(), Worker())
        self.troubles: list[Exception] = []
        self.cuts = threading.Event()
        self.main = subprocess.Popen(FAMILY, start_new_session=True)
        wait_for(lambda: len(self.children()) == 2, what="the family")
        shared = folder / "shared"
        shared.mkdir()
        card = {"slots": 2, "queues": ["default"], "pid": self.main.pid, "threads": False}
        (shared / CARD).write_bytes(orjson.dumps(card))
        self.me = Identity(id=uuid4(), name="w", host="h", folder=shared)
        self.pulse, self.writing = os.pipe()
        os.write(self.writing, ALIVE)
        self.watch = Watchdog(self, self.me, self.main.pid, self.pulse)
        self.thread = threading.Thread(target=self.watch.run, daemon=True)

    def children(self) -> list[int]:
        """Return the children of the process that is watched."""
        return [child.pid for child in psutil.Process(self.main.pid).children()]

    def conclude(self, held: Held) -> bool:
        """See `Upkeep`."""
        if self.troubles:
            raise self.troubles.pop()
        return self.upkeep.conclude(held)

    def cut(self) -> None:
        """Note it."""
        self.cuts.set()

    def go(self) -> None:
        """Watch, until the first beat is in the record."""
        self.thread.start()
        wait_for(lambda: self.watch.beaten_at, what="a beat")

    def working(self, pid: int) -> Player:
        """Return a run whose task this child works on."""
        player = Player(self.store, chain(1), owner=Owner(worker_id=self.me.id, pid=pid))
        player.claim("n0")
        return player

    def beats_on(self) -> None:
        """Wait for two more beats."""
        now = self.fleet.beats
        wait_for(lambda: self.fleet.beats > now + 1, what="two more beats")

    def close(self) -> None:
        """End all of it."""
        os.killpg(self.main.pid, signal.SIGKILL)
        self.main.wait()
        self.thread.join(5)
        os.close(self.pulse)
        os.close(self.writing)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize(
    "error", [StoreUnavailable("too many connections"), RuntimeError("what is this")]
)
def test_a_beat_that_fails_is_followed_by_another(rig: Rig, error: Exception) -> None:
    rig.go()

    def once() -> None:
        rig.fleet.trouble = None
        raise error

    rig.fleet.trouble = once
    rig.beats_on()
    assert rig.main.poll() is None


def test_a_worker_whose_beats_fail_stops_before_its_lease_is_over(rig: Rig) -> None:
    rig.go()

    def always() -> None:
        raise StoreUnavailable("cut off")

    rig.fleet.trouble = always
    failing_at = time.monotonic()
    assert rig.main.wait(5) == -signal.SIGKILL
    assert time.monotonic() - failing_at < rig.settings.worker.lease_s
    rig.thread.join(5)
    assert not rig.me.folder.exists()


def test_a_record_that_refuses_has_nobody_to_give_the_work_to(rig: Rig) -> None:
    rig.go()

    def refuse() -> None:
        raise StoreUnavailable("connection refused", refused=True)

    rig.fleet.trouble = refuse
    until = time.monotonic() + 0.6
    wait_for(lambda: time.monotonic() > until, what="more than the lease's share to pass")
    assert rig.main.poll() is None


def test_a_beat_without_an_answer_is_cut_and_then_stops_the_worker(rig: Rig) -> None:
    rig.go()
    answer = threading.Event()

    def hang() -> None:
        answer.wait(20)

    rig.fleet.trouble = hang
    hanging_at = time.monotonic()
    try:
        assert rig.main.wait(5) == -signal.SIGKILL
        assert time.monotonic() - hanging_at < rig.settings.worker.lease_s
        assert rig.cuts.is_set()
    finally:
        answer.set()


def test_a_worker_that_was_given_up_is_stopped(rig: Rig) -> None:
    rig.go()
    rig.clock.advance(60)
    rig.fleet.expire(10)
    assert rig.main.wait(5) == -signal.SIGKILL


@pytest.mark.parametrize("told", [True, False], ids=["told by the system", "found by looking"])
def test_a_child_that_dies_gives_its_attempts_up_without_a_beat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    if not told:
        monkeypatch.setattr(poller, "_open", None)
    rig = Rig(tmp_path, beat_s=60, lease_s=200)
    try:
        rig.go()
        pid, other = rig.children()
        lost, kept = rig.working(pid), rig.working(other)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: lost.task("n0").attempt == 2, what="the attempt to be lost")
        assert kept.task("n0").state == "running"
        assert rig.fleet.beats == 1
    finally:
        rig.close()


def test_children_that_all_die_and_are_reaped_give_their_attempts_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path, beat_s=60, lease_s=200)
    try:
        rig.go()
        players = [rig.working(pid) for pid in rig.children()]
        # As it is when the worker asks about them before the watch looks.
        monkeypatch.setattr(watchdog, "children_of", lambda _pid: set())
        for pid in rig.children():
            os.kill(pid, signal.SIGKILL)
        for player in players:
            wait_for(lambda: player.task("n0").attempt == 2, what="a lost attempt")  # noqa: B023
    finally:
        rig.close()


def test_what_could_not_be_ended_does_not_end_the_watch(rig: Rig) -> None:
    rig.go()
    pid, _ = rig.children()
    player = rig.working(pid)
    rig.troubles += [RuntimeError("a lock was not to be had"), StoreUnavailable("away")]
    player.cancel()
    wait_for(lambda: not rig.troubles, what="two tries in vain")
    wait_for(lambda: player.task("n0").state == "cancelled", what="the one that succeeds")
    wait_for(lambda: psutil.Process(pid).status() == "zombie", what="the child's end")
    rig.beats_on()


def test_a_signal_to_a_process_that_has_gone_is_no_error() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    reading, writing = os.pipe()
    looking = poller.Poller(reading)
    looking.send(process.pid, signal.SIGUSR2)
    looking.close()
    os.close(reading)
    os.close(writing)


def test_a_supervisor_carries_nothing_that_only_its_worker_needs() -> None:
    heavy = ["celery", "httpx", "jsonschema_rs", "sqlalchemy", "psutil", "http.server"]
    code = (
        "import sys, workers.supervisor\n"
        f"print([m for m in {[*heavy, 'workers.handlers']} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
