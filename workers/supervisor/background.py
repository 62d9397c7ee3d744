"""A thread that asks the record, so that whoever watches a worker never waits for an answer."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class BackgroundQuery:
    """Does jobs one after the other in a thread of its own, which begins with the first job."""

    def __init__(self, name: str, wake: Callable[[], None]) -> None:
        self._name = name
        self._wake = wake
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._answers: deque[Callable[[], None]] = deque()
        self._thread: threading.Thread | None = None

    def give(
        self, job: Callable[[], T], then: Callable[[T], None], failed: Callable[[Exception], None]
    ) -> None:
        """Have a job done; `take` then calls one of the two, in the thread that calls `take`."""
        self._put(partial(self._do, job, then, failed))

    def _put(self, job: Callable[[], None]) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        self._jobs.put(job)

    def take(self) -> None:
        """Hand over the answers that are there; never waits."""
        while self._answers:
            self._answers.popleft()()

    def last(self, job: Callable[[], Any], timeout_s: float) -> bool:
        """Do a last job; return whether it was done in time. Its error is raised here."""
        over, errors = threading.Event(), list[Exception]()

        def do() -> None:
            try:
                job()
            except Exception as error:
                errors.append(error)
            over.set()

        self._put(do)
        self.stop()
        done = over.wait(timeout_s)
        for error in errors:
            raise error
        return done

    def stop(self) -> None:
        """Let the thread end once it has done what it was given."""
        self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _do(
        self, job: Callable[[], Any], then: Callable[[Any], None], failed: Callable[..., None]
    ) -> None:
        try:
            answer = partial(then, job())
        except Exception as error:
            answer = partial(failed, error)
        self._answers.append(answer)
        self._wake()
