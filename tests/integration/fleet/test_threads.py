"""A worker with a pool of threads: many that wait at once, deadlines, cancels, and kill -9."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from tests.integration.conftest import nothing_broken
from tests.integration.live import Live, living
from tests.waiting import wait_for

SLOTS = 60


@pytest.fixture
def threads(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Live]:
    with living(database_url, redis_url, tmp_path, pool="threads", slots=SLOTS) as live:
        live.environment["ZQ_EGRESS__ALLOW"] = "127.0.0.1"
        live.scheduler()
        yield live
        nothing_broken(database_url)


class Crowd(ThreadingHTTPServer):
    """Answers nobody until so many are there at once."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, size: int) -> None:
        self.all_here = threading.Barrier(size)
        super().__init__(("127.0.0.1", 0), _Guest)


class _Guest(BaseHTTPRequestHandler):
    server: Crowd

    def do_GET(self) -> None:
        try:
            self.server.all_here.wait(25)
        except threading.BrokenBarrierError:
            self.send_error(503)
            return
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def crowd() -> Iterator[str]:
    server = Crowd(SLOTS)
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


def test_as_many_requests_wait_at_once_as_there_are_threads(threads: Live, crowd: str) -> None:
    threads.worker()
    nodes = [{"id": f"n{i}", "type": "http", "config": {"url": crowd}} for i in range(SLOTS)]
    run = threads.ended(threads.start(nodes), timeout_s=40)
    assert (run.state, run.counts) == ("succeeded", {"succeeded": SLOTS})
    (worker,) = threads.alive()
    assert (worker["slots"], len(worker["children"])) == (SLOTS, 1)


def test_lines_stay_with_their_own_task(threads: Live) -> None:
    threads.worker()
    nodes = [
        threads.calling(f"n{i}", "test.chatty", args={"lines": 5})
        | {"config": {"function": "test.chatty", "args": {"lines": 5}}}
        for i in range(20)
    ]
    run_id = threads.start(nodes)
    assert threads.ended(run_id).state == "succeeded"
    said: dict[str, list[str]] = {}
    for event in threads.events(run_id):
        if event.message is not None:
            said.setdefault(event.node_id or "", []).append(event.message)
    lines = [*(f"line {i}" for i in range(5)), "that was all"]
    assert said == {f"n{i}": lines for i in range(20)}


def test_a_deadline_and_a_cancel_reach_a_thread(threads: Live) -> None:
    threads.worker()
    late = threads.start([threads.holding("late", timeout_s=1, retry={"max_attempts": 1})])
    assert threads.ended(late).error["code"] == "task_failed"  # type: ignore[index]
    assert threads.states(late) == {"late": "timed_out"}
    held = threads.start([threads.holding("held")])
    wait_for(lambda: threads.traces("held"), timeout_s=20, what="the handler at work")
    threads.core.steering.cancel(threads.run(held).tenant_id, held)
    assert threads.ended(held).state == "cancelled"
    # The thread is free again.
    after = threads.start([threads.calling("after", "test.note")])
    assert threads.ended(after).state == "succeeded"


def test_what_a_killed_process_held_is_done_by_the_next(threads: Live) -> None:
    supervisor = threads.worker()
    nodes = [threads.holding(f"n{i}") for i in range(10)]
    run_id = threads.start(nodes)
    wait_for(lambda: len(threads.effects.read_text().splitlines()) == 10, timeout_s=20)
    (main,) = psutil.Process(supervisor.pid).children()
    main.kill()
    threads.let_go()
    run = threads.ended(run_id, timeout_s=60)
    assert (run.state, run.counts) == ("succeeded", {"succeeded": 10})
    assert {attempt for i in range(10) for attempt, _ in threads.traces(f"n{i}")} == {1, 2}


def test_a_thread_that_will_not_stop_is_left_behind(threads: Live) -> None:
    threads.worker()
    node = threads.holding("deaf", timeout_s=1, retry={"max_attempts": 1}, args={"stubborn": True})
    run_id = threads.start([node])
    assert threads.ended(run_id, timeout_s=40).state == "failed"
    after = threads.start([threads.calling("after", "test.note")])
    assert threads.ended(after).state == "succeeded"
    assert {pid for _, pid in threads.traces("deaf")} == {pid for _, pid in threads.traces("after")}
