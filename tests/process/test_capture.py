"""Log capture: whose line it is, what it looks like, and where it goes when nobody takes it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.models.text import printable
from orchestrator.ports.moves import LogLine
from tests.process.capturing import Sink, captured, kept_streams, messages, start
from workers.child import capture_hub

log = logging.getLogger("tests.capture")
#: The one that is told of forks.
PROCESS_HUB = capture_hub.hub


@pytest.fixture(autouse=True)
def streams(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test has the process's streams for itself."""
    with kept_streams(monkeypatch):
        yield


class TestSources:
    def test_logging_print_and_stderr_each_have_their_level(self) -> None:
        def work() -> None:
            log.debug("unseen")
            log.info("a %d", 1)
            log.warning("b")
            log.error("c")
            log.critical("d")
            print("e")
            print("f", file=sys.stderr)

        assert [(line.level, line.message) for line in captured(work)] == [
            ("info", "a 1"),
            ("warning", "b"),
            ("error", "c"),
            ("error", "d"),
            ("info", "e"),
            ("warning", "f"),
        ]

    def test_debug_is_seen_where_somebody_asked_for_it(self) -> None:
        logging.getLogger().setLevel(logging.DEBUG)
        assert [line.level for line in captured(lambda: log.debug("x"))] == ["debug"]

    def test_exceptions_come_with_their_traceback(self) -> None:
        def work() -> None:
            try:
                raise ValueError("why")
            except ValueError:
                log.exception("it broke")

        found = messages(captured(work))
        assert found[0] == "it broke"
        assert found[-1] == "ValueError: why"

    def test_a_broken_log_call_does_not_break_the_handler(self) -> None:
        logging.getLogger().handlers[:] = []  # pytest's own would raise
        found = messages(captured(lambda: log.info("%d", "no number")))
        assert any("Logging error" in message for message in found)

    def test_redirect_stdout_of_a_handler_still_works(self) -> None:
        kept = io.StringIO()

        def work() -> None:
            with contextlib.redirect_stdout(kept):
                print("inside")
            print("outside")

        assert messages(captured(work)) == ["outside"]
        assert kept.getvalue() == "inside\n"

    def test_outside_a_task_everything_goes_where_it_went(self) -> None:
        sys.stdout = before = io.StringIO()
        with start():
            assert not sys.stdout.isatty()
            assert capture_hub.original("stdout") is before
            print("task")
        print("worker")
        sys.stdout.write("more\n")
        assert before.getvalue() == "worker\nmore\n"
        assert sys.stdout.getvalue() == before.getvalue()

    def test_text_must_be_text(self) -> None:
        with start(), pytest.raises(TypeError):
            sys.stdout.write(b"bytes")  # type: ignore[arg-type]


class TestLines:
    @pytest.mark.parametrize(
        ("pieces", "lines"),
        [
            (["a", "b", "\n", "c"], ["ab", "c"]),
            (["a\nb\r\nc\rd"], ["a", "b", "c", "d"]),
            (["a\r", "\nb"], ["a", "b"]),
            (["a\r", "", "b\n"], ["a", "b"]),
            (["a\r", "\r\n", "b"], ["a", "b"]),
            (["\n\n", "\r", "\n", "a"], ["a"]),
            (["10%\r", "20%\r", "30%\n"], ["10%", "20%", "30%"]),
            (["tab\there", "\x1b[31mred\x07"], ["tab\there\\x1b[31mred\\x07"]),
            (["a\0b\ud800c\x85"], ["a\ufffdb\ufffdc\\x85"]),
            (["grüße 日本"], ["grüße 日本"]),
        ],
    )
    def test_pieces_become_lines(self, pieces: list[str], lines: list[str]) -> None:
        def work() -> None:
            for piece in pieces:
                sys.stdout.write(piece)

        assert messages(captured(work)) == lines

    @settings(max_examples=50)
    @given(st.text(st.sampled_from("ab\r\n"), max_size=30), st.data())
    def test_how_a_text_is_cut_into_pieces_does_not_matter(self, text: str, data: Any) -> None:
        cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=6).map(sorted))
        made = start()
        for first, last in zip([0, *cuts], [*cuts, len(text)], strict=True):
            made.write("info", text[first:last])
        made.write("info", "\n")
        expected = [
            line for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n") if line
        ]
        assert messages(made.drain()) == expected

    @pytest.mark.parametrize("text", ["x" * 5000, "ü" * 5000, "\x1b" * 5000])
    @pytest.mark.parametrize("step", [7, 5000])
    def test_long_lines_are_cut_with_a_mark(self, text: str, step: int) -> None:
        def work() -> None:
            for at in range(0, len(text), step):
                sys.stdout.write(text[at : at + step])
            print()
            log.info(text)

        for line in captured(work, line_bytes=200):
            assert len(line.message.encode()) <= 200
            assert line.message.endswith("[cut: 5000 characters]")

    def test_a_line_at_the_limit_is_whole(self) -> None:
        assert messages(captured(lambda: print("ü" * 50), line_bytes=100)) == ["ü" * 50]

    def test_a_line_without_end_takes_no_memory(self) -> None:
        with start(line_bytes=100) as made:
            for _ in range(1000):
                sys.stdout.write("x" * 1000)
            kept = sum(len(p) for partial in made._partial.values() for p in partial._pieces)
        assert kept < 2000
        assert made.drain()[0].message.endswith("[cut: 1000000 characters]")

    def test_age_counts_from_when_it_was_written(self) -> None:
        now = [100.0]
        with start(clock=lambda: now[0]) as made:
            print("a")
            now[0] = 103.5
            print("b")
            now[0] = 105.0
        assert [line.age_s for line in made.drain()] == [5.0, 1.5]

    @settings(max_examples=50)
    @given(st.text(max_size=20))
    def test_printable_lines_can_be_stored(self, text: str) -> None:
        shown = printable(text)
        shown.encode()
        assert not set(shown) & {"\0", "\n", "\r", "\x1b"}
        assert printable(shown) == shown


class TestAttribution:
    def test_several_tasks_in_a_pool_do_not_mix(self) -> None:
        together = threading.Barrier(4)

        def task(number: int) -> list[LogLine]:
            with start(number) as made:
                together.wait(10)
                for no in range(200):
                    sys.stdout.write(f"{number}")
                    sys.stdout.write(f":{no}\n")
                    log.info("%d:%d", number, no)
                together.wait(10)
            return made.drain()

        with ThreadPoolExecutor(4) as pool:
            for number, lines in enumerate(pool.map(task, range(4))):
                assert {line.task_no for line in lines} == {number}
                expected = [f"{number}:{no}" for no in range(200) for _ in range(2)]
                assert messages(lines) == expected

    def test_threads_of_the_handler_belong_to_it(self) -> None:
        def work() -> None:
            threads = [threading.Thread(target=print, args=("thread",)) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            asyncio.run(asyncio.to_thread(print, "async"))

        assert messages(captured(work)) == ["thread"] * 3 + ["async"]

    def test_pieces_of_two_threads_do_not_share_a_line(self) -> None:
        first, second = threading.Event(), threading.Event()

        def other() -> None:
            sys.stdout.write("other")
            first.set()
            second.wait(10)
            sys.stdout.write(" end\n")

        def work() -> None:
            thread = threading.Thread(target=other)
            thread.start()
            first.wait(10)
            print("mine")
            second.set()
            thread.join()

        assert messages(captured(work)) == ["mine", "other end"]

    def test_threads_that_were_there_before_do_not(self) -> None:
        say, said = threading.Event(), threading.Event()

        def left_behind() -> None:
            say.wait(10)
            print("an earlier task's thread")
            said.set()

        sys.stdout = before = io.StringIO()
        thread = threading.Thread(target=left_behind)
        thread.start()

        def work() -> None:
            say.set()
            said.wait(10)

        assert captured(work) == []
        thread.join()
        assert before.getvalue() == "an earlier task's thread\n"

    def test_with_two_at_work_a_strange_thread_belongs_to_nobody(self) -> None:
        sys.stdout = before = io.StringIO()
        with start(1) as outer, start(2) as inner:
            thread = threading.Thread(target=print, args=("whose?",))
            thread.start()
            thread.join()
            print("inner")
        assert (outer.drain(), messages(inner.drain())) == ([], ["inner"])
        assert before.getvalue() == "whose?\n"

    def test_nested_captures_give_back(self) -> None:
        with start(1) as outer:
            with start(2) as inner:
                print("in")
            print("out")
        assert (messages(outer.drain()), messages(inner.drain())) == (["out"], ["in"])

    def test_nobody_gets_lines_after_the_end(self) -> None:
        sys.stdout = before = io.StringIO()
        with start() as made:
            inside = copy_context()
        inside.run(print, "late")
        assert made.drain() == []
        assert before.getvalue() == "late\n"

    def test_a_forked_child_writes_to_its_own_stdout(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(capture_hub, "hub", PROCESS_HUB)
        sink = Sink()
        read, write = os.pipe()
        sys.stdout = os.fdopen(write, "w", buffering=1)
        with start(sink=sink) as made:
            print("parent")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                child = os.fork()
            if child == 0:
                try:
                    print("child")
                    sys.stdout.flush()
                    inner = start()
                    with inner:
                        print("a task in the child")
                    os.write(write, messages(inner.drain())[0].encode())
                finally:
                    os._exit(0)
            os.waitpid(child, 0)
        assert os.read(read, 1000) == b"child\na task in the child"
        capture_hub.original("stdout").close()
        os.close(read)
        assert messages(sink.lines + made.drain()) == ["parent"]
