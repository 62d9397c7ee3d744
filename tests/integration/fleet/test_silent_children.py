"""A child that is busy, owns nothing and does not move on is killed; no other is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests.integration.fleet.test_watchdog import Rig
from tests.waiting import wait_for
from workers.busy_marks import BusyMark, silent_s
from workers.supervisor import watchdog


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """A watch that lets a child be silent for a second."""
    monkeypatch.setattr(watchdog, "_MARK_MARGIN_S", 0.0)
    made = Rig(tmp_path, silent_s=1.0)
    made.settings = replace(
        made.settings, database=replace(made.settings.database, statement_timeout_s=1)
    )
    yield made
    made.close()


def ended(pid: int) -> bool:
    """Whether a process has ended; its parent may not have asked about it."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_busy_child_that_owns_nothing_and_does_not_move_on_is_killed(rig: Rig) -> None:
    stuck, idle = rig.children()
    rig.go()
    BusyMark(rig.me.folder, idle).idle()
    BusyMark(rig.me.folder, stuck).busy()
    psutil.Process(stuck).suspend()
    began = time.monotonic()
    wait_for(lambda: ended(stuck), what="the silent one's end")
    assert time.monotonic() - began >= 1.0
    rig.beats_on()
    assert not ended(idle)


def test_a_child_with_a_living_claim_is_judged_by_its_deadline(rig: Rig) -> None:
    working, moving = rig.children()
    player = rig.working(working)
    rig.go()
    BusyMark(rig.me.folder, working).busy()
    mark = BusyMark(rig.me.folder, moving)

    def moved_on() -> bool:
        mark.busy()
        return silent_s(rig.me.folder, working) > 1.5

    wait_for(moved_on, what="more than its time")
    rig.beats_on()
    assert not ended(working)
    assert not ended(moving)
    player.end("n0")
    wait_for(lambda: ended(working), what="its end, now that it owns nothing")
