"""Which attempts share a message, and what becomes of a message's rest."""

from __future__ import annotations

import threading

from orchestrator.adapters.memory.dispatch import MemoryDispatcher
from orchestrator.models.definitions.plan import compile as compile_plan
from orchestrator.ports.moves import Release
from orchestrator.services.definitions.reading import read_definition
from orchestrator.services.runs.announcing import Announcer, Pace
from tests.factories import new_id
from tests.waiting import wait_for
from workers.child.batch import Batch, HandBack

RUN = new_id()


def _release(no: int, queue: str = "default") -> Release:
    return Release(run_id=RUN, task_no=no, attempt=1, queue=queue, priority=5)


def _plan(*types: str):  # type: ignore[no-untyped-def]
    config = {
        "noop": {}, "transform": {"expression": "1"}, "wait": {"seconds": 1},
        "python": {"function": "f"},
    }  # fmt: skip
    nodes = [
        {"id": f"n{no}", "type": type_, "data": {"config": config[type_]}}
        for no, type_ in enumerate(types)
    ]
    return compile_plan(read_definition({"name": "x", "nodes": nodes, "edges": []}))


def _sizes(pace: Pace, *types: str) -> list[int]:
    releases = [_release(no) for no in range(len(types))]
    return [len(m) for m in pace.grouped(releases, _plan(*types))]


def test_short_tasks_share_messages_up_to_the_most() -> None:
    assert _sizes(Pace(), *["noop"] * 60) == [25, 25, 10]
    assert _sizes(Pace(4), *["noop"] * 6) == [4, 2]


def test_one_switches_it_off() -> None:
    assert _sizes(Pace(1), *["noop"] * 3) == [1, 1, 1]


def test_a_type_nobody_has_measured_goes_alone() -> None:
    pace = Pace()
    assert _sizes(pace, *["transform"] * 3) == [1, 1, 1]
    for _ in range(20):
        pace.note("transform", 0.0005)
    assert _sizes(pace, *["transform"] * 12) == [10, 2]


def test_one_slow_call_shows_at_once() -> None:
    pace = Pace()
    for _ in range(20):
        pace.note("transform", 0.0001)
    pace.note("transform", 1.0)
    assert pace.together("transform") == 1


def test_what_waits_or_acts_outside_is_never_put_together() -> None:
    pace = Pace()
    for type_ in ("wait", "python", "http"):
        pace.note(type_, 0.00001)
    assert _sizes(pace, "python", "python", "wait", "wait") == [1, 1, 1, 1]


def test_types_are_not_mixed_in_a_message() -> None:
    assert _sizes(Pace(), "noop", "noop", "python", "noop") == [2, 1, 1]


def test_what_is_handed_back_comes_in_two_halves() -> None:
    dispatcher = MemoryDispatcher()
    Announcer(dispatcher, Pace()).hand_back(RUN, _plan(*["noop"] * 5), [(n, 1) for n in range(5)])
    assert [r.task_no for r in dispatcher.drain()] == [0, 1, 2, 3, 4]


def test_the_rest_is_given_away_while_somebody_works() -> None:
    given: list[tuple[int, int]] = []
    busy = threading.Event()
    batch = Batch([(no, 1) for no in range(5)])
    assert batch.take(1) == [(0, 1)]

    def give(rest: list[tuple[int, int]]) -> None:
        given.extend(rest)
        busy.set()

    HandBack(0.01).watch(batch, give)
    assert busy.wait(5)
    assert given == [(1, 1), (2, 1), (3, 1), (4, 1)]
    assert batch.take(9) == []


def test_what_was_taken_in_time_is_not_given_away() -> None:
    given: list[list[tuple[int, int]]] = []
    keeper = HandBack(0.01)
    done = Batch([(0, 1)])
    keeper.watch(done, given.append)
    done.take(1)
    later = Batch([(7, 1)])
    keeper.watch(later, given.append)
    wait_for(lambda: given, what="the second batch")
    assert given == [[(7, 1)]]


def test_one_that_cannot_be_given_away_stops_nothing() -> None:
    given: list[list[tuple[int, int]]] = []
    keeper = HandBack(0.01)
    failed = threading.Event()

    def fail(rest: list[tuple[int, int]]) -> None:
        failed.set()
        raise RuntimeError(rest)

    keeper.watch(Batch([(0, 1)]), fail)
    assert failed.wait(5)
    keeper.watch(Batch([(1, 1)]), given.append)
    wait_for(lambda: given, what="the next batch")
