"""What processes tell each other about sessions, through Redis, and with Redis away."""

from __future__ import annotations

import threading

import pytest
import redis

from orchestrator.adapters.redis.sessions import RedisSessions
from orchestrator.errors import ChannelUnavailable
from orchestrator.ports.access import AccessCache
from tests.waiting import wait_for


@pytest.fixture
def cache(redis_url: str) -> AccessCache:
    return RedisSessions(redis_url, prefix="zq:", timeout_s=2)


def test_a_mark_is_seen_until_it_is_replaced(cache: AccessCache) -> None:
    assert cache.marks(("user:1", "user:2")) == ("", "")
    cache.mark(("user:1", "user:3"), "a", ttl_s=60)
    assert cache.marks(("user:1", "user:2", "user:3")) == ("a", "", "a")
    cache.mark(("user:1",), "b", ttl_s=60)
    assert cache.marks(("user:1",)) == ("b",)
    assert cache.marks(()) == ()


def test_counts_go_up_until_they_are_forgotten(cache: AccessCache) -> None:
    counted = [cache.count("account:a", window_s=60) for _ in range(3)]
    assert [one[0] for one in counted if one] == [1, 2, 3]
    assert all(one and 0 < one[1] <= 60 for one in counted)
    assert cache.count("account:b", window_s=60) == (1, pytest.approx(60, abs=1))
    cache.forget("account:a")
    again = cache.count("account:a", window_s=60)
    assert again is not None
    assert again[0] == 1


def test_a_count_is_given_back_and_never_below_none(cache: AccessCache) -> None:
    cache.give_back("address:a")
    cache.count("address:a", window_s=60)
    for _ in range(3):
        cache.give_back("address:a")
    counted = cache.count("address:a", window_s=60)
    assert counted is not None
    assert counted[0] == 1


def test_a_ticket_is_taken_once(cache: AccessCache) -> None:
    assert cache.take_ticket("digest") is None
    cache.put_ticket("digest", "value", ttl_s=60)
    assert cache.take_ticket("digest") == "value"
    assert cache.take_ticket("digest") is None


def test_of_many_that_take_a_ticket_one_gets_it(redis_url: str) -> None:
    cache = RedisSessions(redis_url, prefix="zq:", timeout_s=2)
    cache.put_ticket("digest", "value", ttl_s=60)
    got: list[str | None] = []
    start = threading.Barrier(8)

    def take() -> None:
        start.wait()
        got.append(cache.take_ticket("digest"))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got, key=str) == [None] * 7 + ["value"]


def test_every_key_ends_by_itself(redis_url: str) -> None:
    cache = RedisSessions(redis_url, prefix="zq:", timeout_s=2)
    cache.mark(("user:1", "user:2"), "a", ttl_s=60)
    cache.count("account:a", window_s=60)
    cache.count("account:b", window_s=60)
    cache.give_back("account:b")
    cache.give_back("account:c")
    cache.put_ticket("digest", "value", ttl_s=60)
    client = redis.Redis.from_url(redis_url)
    lives = {key: client.pttl(key) for key in client.scan_iter()}
    client.close()
    assert len(lives) == 5
    assert all(key.startswith(b"zq:access:") and 0 < left <= 60_000 for key, left in lives.items())


def test_counts_start_anew_after_their_window(redis_url: str) -> None:
    cache = RedisSessions(redis_url, prefix="zq:", timeout_s=2)
    for _ in range(3):
        cache.count("account:a", window_s=0.05)
    wait_for(
        lambda: (cache.count("account:a", window_s=0.05) or (0,))[0] == 1,
        timeout_s=10,
        what="the end of the window",
    )


def test_installations_do_not_hear_each_other(redis_url: str) -> None:
    one, two = (RedisSessions(redis_url, prefix=p, timeout_s=2) for p in ("zq1:", "zq2:"))
    one.mark(("user:1",), "a", ttl_s=60)
    one.put_ticket("digest", "value", ttl_s=60)
    assert two.marks(("user:1",)) == ("",)
    assert two.take_ticket("digest") is None


def test_without_redis_it_says_so_and_only_tickets_fail() -> None:
    cache = RedisSessions("redis://127.0.0.1:1/0", prefix="zq:", timeout_s=0.2)
    assert cache.marks(("user:1",)) is None
    assert cache.count("account:a", window_s=60) is None
    cache.mark(("user:1",), "a", ttl_s=60)
    cache.forget("account:a")
    cache.give_back("account:a")
    with pytest.raises(ChannelUnavailable):
        cache.put_ticket("digest", "value", ttl_s=60)
    with pytest.raises(ChannelUnavailable):
        cache.take_ticket("digest")
