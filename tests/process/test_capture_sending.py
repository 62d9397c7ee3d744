"""Captured lines on their way: when they are sent, and what becomes of those nobody takes."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from orchestrator.errors import StoreUnavailable
from tests.process.capturing import Sink, kept_streams, messages, start
from tests.waiting import wait_for
from workers.child import capture, capture_hub
from workers.handlers import StopRequested

log = logging.getLogger("tests.capture")


@pytest.fixture(autouse=True)
def streams(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test has the process's streams for itself."""
    with kept_streams(monkeypatch):
        yield


class TestSending:
    def test_lines_are_sent_while_the_handler_works_and_the_rest_is_drained(self) -> None:
        sink = Sink()
        with start(sink=sink) as made:
            print("a")
            wait_for(lambda: sink.lines, what="the line")
            print("b")
        assert messages(sink.lines + made.drain()) == ["a", "b"]
        assert made.drain() == []

    def test_64_kb_are_sent_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(capture_hub, "hub", capture_hub._Hub(60.0))
        sink = Sink()
        with start(sink=sink) as made:
            for _ in range(100):
                print("x" * 900)
            wait_for(lambda: sink.lines, what="the lines")
        assert len(sink.lines + made.drain()) == 100

    def test_a_silent_handler_starts_nothing(self) -> None:
        before = threading.active_count()
        with start():
            pass
        assert threading.active_count() == before

    @pytest.mark.parametrize("error", [StoreUnavailable(), RuntimeError("a bug")])
    def test_what_could_not_be_sent_is_kept(self, error: Exception) -> None:
        sink = Sink()
        sink.error = error
        with start(sink=sink) as made:
            print("a")
            wait_for(lambda: sink.calls, what="the first try")
            print("b")
        assert sink.lines == []
        assert messages(made.drain()) == ["a", "b"]

    def test_a_sink_that_comes_back_gets_everything_in_order(self) -> None:
        sink = Sink()
        sink.error = StoreUnavailable()
        with start(sink=sink) as made:
            print("a")
            wait_for(lambda: sink.calls, what="the first try")
            sink.error = None
            print("b")
            wait_for(lambda: sink.lines, what="the lines")
        assert messages(sink.lines + made.drain()) == ["a", "b"]

    def test_beyond_1_mb_the_oldest_go_and_one_line_says_so(self) -> None:
        sink = Sink()
        sink.error = StoreUnavailable()
        with start(sink=sink, line_bytes=16_384) as made:
            print("first")
            wait_for(lambda: made._failing, what="the first failure")
            for no in range(300):
                print(f"{no} " + "x" * 10_000)
        lines = made.drain()
        assert sum(len(line.message) for line in lines) <= capture.KEEP_BYTES
        assert lines[0].level == "warning"
        dropped = 301 - (len(lines) - 1)
        assert lines[0].message.startswith(f"[{dropped} earlier log lines were dropped")
        assert lines[-1].message.startswith("299 ")

    def test_a_slow_record_holds_the_handler_up_and_loses_nothing(self) -> None:
        sink = Sink()
        sink.gate.clear()

        def open_later() -> None:
            wait_for(lambda: sink.calls, what="a sending under way")
            wait_for(lambda: made._bytes > capture.KEEP_BYTES - 20_000, what="a full buffer")
            sink.gate.set()

        with start(sink=sink, line_bytes=16_384) as made:
            opener = threading.Thread(target=open_later)
            opener.start()
            for no in range(500):
                print(f"{no} " + "x" * 10_000)
            opener.join()
        lines = sink.lines + made.drain()
        assert [int(line.message.split()[0]) for line in lines] == list(range(500))

    def test_drain_waits_for_a_sending_under_way(self) -> None:
        sink = Sink()
        sink.gate.clear()
        with start(sink=sink) as made:
            print("a")
            wait_for(lambda: sink.calls, what="a sending under way")
            print("b")
        with ThreadPoolExecutor(1) as pool:
            rest = pool.submit(made.drain)
            sink.gate.set()
            assert messages(rest.result(10)) == ["b"]
        assert messages(sink.lines) == ["a"]

    def test_a_stop_in_the_middle_of_a_line_leaves_no_lock_behind(self) -> None:
        def stop(*_: Any) -> None:
            raise StopRequested("lost")

        def chatter(for_s: float) -> None:
            signal.setitimer(signal.ITIMER_REAL, for_s)
            while True:
                print("a line")
                log.info("a line")

        logging.getLogger().handlers[:] = []  # those of others take locks of their own
        before = signal.signal(signal.SIGALRM, stop)
        try:
            for no in range(40):
                sink = Sink()
                with start(sink=sink) as made:
                    with pytest.raises(StopRequested):
                        chatter(0.002 + no * 0.00001)
                    thread = threading.Thread(target=log.info, args=("after",), daemon=True)
                    thread.start()
                    thread.join(10)
                    assert not thread.is_alive()
                assert messages(sink.lines + made.drain())[-1] in {"after", "a line"}
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
