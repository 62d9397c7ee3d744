"""Notes that ask a handler to stop: who reads them, and who takes them away."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from orchestrator.models.runs.task import Claim
from tests.waiting import wait_for
from workers.child.stopping import StopSwitch
from workers.child.thread_stopping import ThreadStops
from workers.handlers import StopRequested
from workers.stop_notes import STOP_SIGNAL, is_noted, leave_note, note

PID = 7


def claim(task_no: int = 0) -> Claim:
    return Claim(run_id=uuid4(), task_no=task_no, attempt=1, claim_id=uuid4())


@pytest.fixture
def switch(tmp_path: Path) -> Iterator[StopSwitch]:
    """A switch that has this process's signals for a while."""
    numbers = (STOP_SIGNAL, signal.SIGALRM, signal.SIGTERM)
    earlier = {number: signal.getsignal(number) for number in numbers}
    made = StopSwitch(tmp_path, PID)
    made.install()
    yield made
    for number, handler in earlier.items():
        signal.signal(number, handler)


def test_a_note_is_there_until_the_handler_is_left(switch: StopSwitch, tmp_path: Path) -> None:
    mine = claim()
    assert not is_noted(tmp_path, PID, mine)
    leave_note(tmp_path, PID, mine, "lost")
    assert is_noted(tmp_path, PID, mine)
    assert not is_noted(tmp_path, PID, claim())
    with pytest.raises(StopRequested, match="lost"), switch.watching(mine, 60):
        os.kill(os.getpid(), STOP_SIGNAL)
    assert not note(tmp_path, PID).exists()


def test_a_note_for_what_was_left_stops_nothing_and_goes(
    switch: StopSwitch, tmp_path: Path
) -> None:
    late = claim()
    with switch.watching(claim(), 60):
        leave_note(tmp_path, PID, late, "lost")
        os.kill(os.getpid(), STOP_SIGNAL)
        assert not is_noted(tmp_path, PID, late)
    leave_note(tmp_path, PID, late, "lost")
    os.kill(os.getpid(), STOP_SIGNAL)
    assert not is_noted(tmp_path, PID, late)


def test_a_note_for_a_thread_goes_when_its_handler_is_left(tmp_path: Path) -> None:
    stops, one, two, why = ThreadStops(tmp_path), claim(1), claim(2), list[str]()
    leave = threading.Event()

    def work(mine: Claim) -> None:
        try:
            with stops.watching(mine, 60):
                while not leave.is_set():
                    time.monotonic()
        except StopRequested as stop:
            why.append(stop.reason)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in (one, two)]
    for thread in threads:
        thread.start()
    leave_note(tmp_path, PID, one, "lost", alone=False)
    assert not is_noted(tmp_path, PID, two, alone=False)
    wait_for(
        lambda: not is_noted(tmp_path, PID, one, alone=False), what="the note to be taken away"
    )
    assert why == ["lost"]
    leave.set()
    for thread in threads:
        thread.join(10)
    assert why == ["lost"]
