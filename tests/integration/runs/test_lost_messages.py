"""Messages that are lost while every slot is busy do not wait for an idle fleet."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
import redis

from tests.integration.conftest import nothing_broken
from tests.integration.live import Live, living
from tests.waiting import wait_for

#: Seconds a lost attempt may wait under full load: the settings' own patience is 6 s.
MOST_S = 15.0


@pytest.fixture
def live(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Live]:
    with living(database_url, redis_url, tmp_path) as installation:
        installation.environment["ZQ_UPKEEP__UNCLAIMED_S"] = "6"
        installation.scheduler()
        installation.worker()
        yield installation
        nothing_broken(database_url)


class Load:
    """Runs that keep every slot busy, as long as somebody tops them up."""

    def __init__(self, live: Live, waiting: int = 6) -> None:
        self._live = live
        self._waiting = waiting
        self._open: list[UUID] = []
        self.ended = 0

    def top_up(self) -> None:
        """See that more runs are there than slots."""
        before = len(self._open)
        self._open = [each for each in self._open if not self._live.run(each).state.ended]
        self.ended += before - len(self._open)
        while len(self._open) < self._waiting:
            self._open.append(self._live.start([self.node("a"), self.node("b")], ["a>b"]))

    def node(self, id: str) -> dict[str, object]:
        """Return a node that takes a moment."""
        return self._live.calling(id, "test.work", args={"seconds": 0.1})


def test_messages_lost_under_full_load_are_announced_again_all_the_same(live: Live) -> None:
    load = Load(live)
    load.top_up()
    wait_for(lambda: len(live.traces("a")) >= 2, what="busy slots")
    lost = [live.start([{"id": "lost"}]) for _ in range(16)]
    redis.Redis.from_url(live.settings.redis.url).flushdb()
    wiped_at = time.monotonic()

    def over() -> bool:
        load.top_up()
        return all(live.run(each).state.ended for each in lost)

    wait_for(over, timeout_s=2 * MOST_S, what="the runs whose messages were lost")
    waited_s = time.monotonic() - wiped_at
    assert waited_s <= MOST_S
    assert load.ended > 16, "the fleet was not busy"
