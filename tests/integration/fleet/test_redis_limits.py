"""Counting in Redis: one round trip, every key ends by itself, and what happens without Redis."""

from __future__ import annotations

import time
from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest
import redis
from sqlalchemy.engine import make_url

from orchestrator.adapters.redis import sockets as redis_sockets
from orchestrator.adapters.redis.limiter import RedisWindows
from orchestrator.adapters.redis.sockets import RedisSockets
from tests.gate import Gate
from tests.waiting import wait_for


@pytest.fixture
def prefix() -> str:
    return f"zq-{uuid4()}:"


@pytest.fixture
def client(redis_server_url: str) -> Iterator[redis.Redis]:
    made = redis.Redis.from_url(redis_server_url)
    yield made
    made.close()


@pytest.fixture
def gate(redis_server_url: str) -> Iterator[Gate]:
    where = make_url(redis_server_url)
    with Gate(where.host or "127.0.0.1", where.port or 6379) as made:
        yield made


def _through(url: str, gate: Gate) -> str:
    return make_url(url).set(host="127.0.0.1", port=gate.port).render_as_string(hide_password=False)


def _windows(url: str, prefix: str, **more: int) -> RedisWindows:
    return RedisWindows(url=url, prefix=prefix, timeout_s=1.0, strict=("sign_in",), **more)


def _commands(client: redis.Redis) -> int:
    stats = client.info("commandstats")
    return sum(int(s["calls"]) for name, s in stats.items() if name.startswith("cmdstat_eval"))


def test_a_hit_is_one_round_trip_and_tells_what_is_left(
    redis_server_url: str, client: redis.Redis, prefix: str
) -> None:
    windows = _windows(redis_server_url, prefix)
    windows.incr("LIMITER/me/reads/5/1/minute", 60)
    before = _commands(client)
    counts = [windows.incr("LIMITER/me/reads/5/1/minute", 60) for _ in range(4)]
    assert counts == [2, 3, 4, 5]
    assert windows.get("LIMITER/me/reads/5/1/minute") == 5
    assert 50 < windows.get_expiry("LIMITER/me/reads/5/1/minute") - time.time() <= 60
    assert _commands(client) - before == 4
    # Other windows are not this one's.
    assert windows.get("LIMITER/you/reads/5/1/minute") == 0


def test_a_large_limit_costs_a_round_trip_now_and_then(
    redis_server_url: str, client: redis.Redis, prefix: str
) -> None:
    here, there = _windows(redis_server_url, prefix), _windows(redis_server_url, prefix)
    key = "LIMITER/me/reads/5000/1/minute"
    here.incr(key, 60)
    before = _commands(client)
    counts = [here.incr(key, 60) for _ in range(9)]
    assert counts == [2, 3, 4, 5, 6, 7, 8, 9, 10]
    # Five at once: the first five were taken before, the other five cost one round trip.
    assert _commands(client) - before == 1
    # What one process has taken, another does not give out again.
    assert there.incr(key, 60) == 11
    assert here.incr(key, 60) == 16
    assert there.get(key) == 11
    assert 0 < client.pttl(f"{prefix}limit:{key}") <= 60_000


def test_what_was_taken_ends_with_its_window(redis_server_url: str, prefix: str) -> None:
    windows = _windows(redis_server_url, prefix)
    key = "LIMITER/me/reads/9000/1/second"
    assert [windows.incr(key, 1) for _ in range(3)] == [1, 2, 3]
    wait_for(lambda: windows.incr(key, 1) == 1, what="a new window")


def test_a_window_ends_and_every_key_does(
    redis_server_url: str, client: redis.Redis, prefix: str
) -> None:
    windows = _windows(redis_server_url, prefix)
    for who in ("a", "b"):
        windows.incr(f"LIMITER/{who}/reads/5/1/minute", 1)
    keys = list(client.scan_iter(f"{prefix}*"))
    assert len(keys) == 2
    assert all(0 < client.pttl(key) <= 1000 for key in keys)
    wait_for(lambda: not list(client.scan_iter(f"{prefix}*")), what="the windows' end")
    assert windows.incr("LIMITER/a/reads/5/1/minute", 1) == 1


def test_windows_are_forgotten_one_by_one_or_all(redis_server_url: str, prefix: str) -> None:
    windows = _windows(redis_server_url, f"{prefix}[*?\\")
    neighbour = _windows(redis_server_url, f"{prefix}x")
    keys = [f"LIMITER/{who}/reads/5000/1/minute" for who in "abc"]
    for at in (windows, neighbour):
        for key in keys:
            at.incr(key, 60)
    windows.clear(keys[0])
    assert [windows.incr(key, 60) for key in keys] == [1, 2, 2]
    assert windows.reset() == 3
    assert windows.reset() == 0
    assert [windows.incr(key, 60) for key in keys] == [1, 1, 1]
    assert [neighbour.incr(key, 60) for key in keys] == [2, 2, 2]


def test_a_key_that_lost_its_end_gets_one(
    redis_server_url: str, client: redis.Redis, prefix: str
) -> None:
    windows = _windows(redis_server_url, prefix)
    client.set(f"{prefix}limit:LIMITER/a/reads/5/1/minute", 7)
    assert windows.incr("LIMITER/a/reads/5/1/minute", 60) == 8
    assert client.pttl(f"{prefix}limit:LIMITER/a/reads/5/1/minute") > 0


def test_without_redis_only_sign_ins_are_counted(
    redis_server_url: str, prefix: str, gate: Gate
) -> None:
    windows = _windows(_through(redis_server_url, gate), prefix, processes=2)
    windows.incr("LIMITER/me/reads/5/1/minute", 60)
    gate.shut()
    began = time.monotonic()
    assert [windows.incr("LIMITER/me/reads/5/1/minute", 60) for _ in range(200)] == [0] * 200
    # One of them has found out that Redis is away; the others have not waited for that.
    assert time.monotonic() - began < 3
    assert windows.get_expiry("LIMITER/me/reads/5/1/minute") == 0
    # Two processes count for each other, so together they let no more in.
    assert [windows.incr("LIMITER/me/sign_in/5/1/minute", 60) for _ in range(3)] == [2, 4, 6]
    assert windows.get_expiry("LIMITER/me/sign_in/5/1/minute") > time.time()
    gate.reopen()
    wait_for(
        lambda: windows.incr("LIMITER/me/reads/5/1/minute", 60) >= 2, what="Redis to be asked again"
    )


def test_sockets_are_counted_over_processes_and_given_back(
    redis_server_url: str, client: redis.Redis, prefix: str
) -> None:
    here, there = (RedisSockets(redis_server_url, prefix=prefix, timeout_s=1.0) for _ in range(2))
    tenant, me, you = uuid4(), uuid4(), uuid4()
    mine = [uuid4() for _ in range(3)]

    def take(at: RedisSockets, lease: UUID, who: UUID) -> str | None:
        return at.take(lease, tenant, who, tenant=3, principal=2)

    assert [take(here, mine[0], me), take(there, mine[1], me)] == [None, None]
    assert take(here, mine[2], me) == "principal"
    assert take(there, uuid4(), you) is None
    assert take(here, uuid4(), you) == "tenant"
    assert (here.held(tenant), there.held(tenant)) == (3, 3)
    assert here.held(uuid4()) == 0
    there.drop(mine[0], tenant, me)
    assert take(here, mine[2], me) is None
    assert all(0 < client.ttl(key) <= 60 for key in client.scan_iter(f"{prefix}*"))


def test_a_lease_that_nobody_renews_ends(
    redis_server_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_sockets, "LEASE_S", 2)
    sockets = RedisSockets(redis_server_url, prefix=prefix, timeout_s=1.0)
    tenant, me, dead, living = uuid4(), uuid4(), uuid4(), uuid4()
    for lease in (dead, living):
        assert sockets.take(lease, tenant, me, tenant=0, principal=0) is None

    def only_one() -> bool:
        sockets.renew(living, tenant, me)
        return sockets.held(tenant) == 1

    wait_for(only_one, what="the lease of a process that is gone to end")
    sockets.drop(living, tenant, me)
    assert sockets.held(tenant) == 0


def test_without_redis_sockets_open_uncounted(redis_server_url: str, prefix: str) -> None:
    away = RedisSockets("redis://127.0.0.1:1/0", prefix=prefix, timeout_s=0.5)
    assert away.take(uuid4(), uuid4(), uuid4(), tenant=1, principal=1) is None
    assert away.held(uuid4()) == 0
    away.renew(uuid4(), uuid4(), uuid4())
    away.drop(uuid4(), uuid4(), uuid4())
