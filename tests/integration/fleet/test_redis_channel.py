"""The channel on a real Redis: what is announced arrives, and a dead Redis costs nobody a thing."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
import redis
from sqlalchemy.engine import make_url

from orchestrator.adapters.redis.channel import BATCHES, RedisChannel
from orchestrator.models.runs.event import Event, Kind
from tests.factories import new_id
from tests.gate import Gate
from tests.waiting import wait_for

TIMEOUT_S = 1.0


def event(run_id: UUID, seq: int, **more: Any) -> Event:
    at = datetime.now(UTC)
    return Event(run_id=run_id, seq=seq, kind=Kind.TASK, at=at, node_id="a", **more)


@pytest.fixture
def gate(redis_url: str) -> Iterator[Gate]:
    url = make_url(redis_url)
    with Gate(url.host or "127.0.0.1", url.port or 6379) as gate:
        yield gate


@pytest.fixture
def channel(redis_url: str, gate: Gate) -> RedisChannel:
    url = make_url(redis_url).set(host="127.0.0.1", port=gate.port)
    address = url.render_as_string(hide_password=False)
    return RedisChannel(address, prefix="zq-test:", timeout_s=TIMEOUT_S)


def test_frames_arrive_once_subscribed_and_only_of_that_run(channel: RedisChannel) -> None:
    run, other = new_id(), new_id()
    with channel.subscribe(run) as ear:
        channel.notify([event(other, 1)])
        channel.notify([event(run, 1), event(run, 2)])
        frames = ear.get(5.0)
        assert frames is not None
        assert [f["seq"] for f in frames] == [1, 2]
        assert frames[0]["run_id"] == str(run)
        assert ear.get(0.0) is None
        assert not ear.overflowed


def test_one_message_a_call(channel: RedisChannel, redis_url: str) -> None:
    run = new_id()
    client = redis.Redis.from_url(redis_url)
    with client.pubsub() as line:
        line.subscribe(f"zq-test:run:{run}")
        wait_for(lambda: line.get_message(timeout=0.1), what="the subscription")
        channel.notify([event(run, seq) for seq in range(1, 51)])
        channel.notify([event(run, 51)])
        found: list[Any] = []
        wait_for(
            lambda: (m := line.get_message(timeout=0.1)) and (found.append(m), len(found) > 1)[1]
        )
    client.close()
    assert len(found) == 2


def test_two_listeners_of_a_run_both_hear_it_and_share_one_connection(
    channel: RedisChannel, redis_url: str
) -> None:
    run = new_id()
    client = redis.Redis.from_url(redis_url)

    def listeners() -> set[str]:
        return {c["id"] for c in client.client_list() if int(c["sub"]) > 0}

    # Hubs of installations that earlier tests closed may still listen here.
    others = listeners()
    with channel.subscribe(run) as one, channel.subscribe(run) as two:
        with channel.subscribe(new_id()):
            assert len(listeners() - others) == 1
        channel.notify([event(run, 1)])
        assert one.get(5.0) == two.get(5.0) != None  # noqa: E711
    client.close()


def test_a_left_topic_is_closed_at_redis(channel: RedisChannel, redis_url: str) -> None:
    run = new_id()
    client = redis.Redis.from_url(redis_url)
    topic = f"zq-test:run:{run}".encode()
    with channel.subscribe(run):
        assert dict(client.pubsub_numsub(topic))[topic] == 1
    wait_for(lambda: dict(client.pubsub_numsub(topic))[topic] == 0, what="the unsubscription")
    with channel.subscribe(run) as ear:
        channel.notify([event(run, 1)])
        assert ear.get(5.0)
    client.close()


def test_a_listener_that_does_not_read_is_told_that_it_missed_frames(channel: RedisChannel) -> None:
    run = new_id()
    with channel.subscribe(run) as ear, channel.subscribe(run) as witness:
        for seq in range(1, BATCHES + 3):
            channel.notify([event(run, seq)])
            assert witness.get(5.0)
        ear.get(1.0)
        assert ear.overflowed
        wait_for(lambda: ear.get(0.1) is None)
        assert not ear.overflowed


def test_what_is_none_of_ours_is_not_handed_on(channel: RedisChannel, redis_url: str) -> None:
    run = new_id()
    client = redis.Redis.from_url(redis_url)
    with channel.subscribe(run) as ear:
        for text in (b"", b"{", b'{"seq":1}', b'[{"seq":"1"}]', b"[1]", b'[{"seq":true}]'):
            client.publish(f"zq-test:run:{run}", text)
            assert wait_for(lambda: (ear.get(0.1), ear.overflowed)[1], what=repr(text))
    client.close()


def test_redis_away_costs_no_error_and_at_most_one_timeout(
    channel: RedisChannel, gate: Gate
) -> None:
    run = new_id()
    channel.notify([event(run, 1)])
    gate.freeze()
    started = time.monotonic()
    for seq in range(2, 102):
        channel.notify([event(run, seq)])
    assert time.monotonic() - started < TIMEOUT_S + 0.5
    assert channel.ping() is False
    gate.shut()
    with channel.subscribe(run) as ear:
        ear.get(0.0)
        assert ear.overflowed


@pytest.mark.parametrize("trouble", ["shut", "freeze"])
def test_listening_goes_on_when_redis_is_back(
    channel: RedisChannel, gate: Gate, trouble: str
) -> None:
    run = new_id()
    with channel.subscribe(run) as ear:
        channel.notify([event(run, 1)])
        assert ear.get(5.0)
        getattr(gate, trouble)()
        channel.notify([event(run, 2)])
        if trouble == "shut":
            wait_for(lambda: (ear.get(0.1), ear.overflowed)[1], what="word of what was missed")
        gate.reopen()

        def heard() -> bool:
            channel.notify([event(run, 3)])
            return any(f["seq"] == 3 for f in ear.get(0.2) or ())

        assert wait_for(heard, timeout_s=15.0)


def test_the_first_notice_after_a_restart_of_redis_is_not_lost(
    channel: RedisChannel, gate: Gate, redis_url: str
) -> None:
    run = new_id()
    listener = RedisChannel(redis_url, prefix="zq-test:", timeout_s=TIMEOUT_S)
    with listener.subscribe(run) as ear:
        channel.notify([event(run, 1)])
        assert ear.get(5.0)
        gate.shut()
        gate.reopen()
        channel.notify([event(run, 2)])
        frames = ear.get(5.0)
        assert frames is not None
        assert frames[0]["seq"] == 2


def _in_child(channel: RedisChannel, run: UUID, heard: Any) -> None:
    with channel.subscribe(run) as ear:
        channel.notify([event(run, 7)])
        frames = ear.get(5.0)
        heard.put([f["seq"] for f in frames or ()])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_a_line_of_its_own(channel: RedisChannel) -> None:
    run = new_id()
    context = multiprocessing.get_context("fork")
    with channel.subscribe(run) as ear:
        channel.notify([event(run, 1)])
        assert ear.get(5.0)
        heard = context.Queue()
        child = context.Process(target=_in_child, args=(channel, run, heard))
        child.start()
        assert heard.get(timeout=10) == [7]
        child.join(10)
        frames = ear.get(5.0)
        assert frames is not None
        assert frames[0]["seq"] == 7


def test_who_listens_to_all_hears_every_run_and_others_still_theirs(
    channel: RedisChannel, redis_url: str
) -> None:
    one, two = new_id(), new_id()
    other = RedisChannel(redis_url, prefix="zq-test2:", timeout_s=TIMEOUT_S)
    with channel.subscribe_all() as every, channel.subscribe(one) as ear:
        channel.notify([event(one, 1)])
        other.notify([event(two, 7)])
        channel.notify([event(two, 1)])
        heard = [every.get(5.0), every.get(5.0)]
        assert [(f or [{}])[0]["run_id"] for f in heard] == [str(one), str(two)]
        assert every.get(0.0) is None
        assert [f["seq"] for f in ear.get(5.0) or ()] == [1]
        assert ear.get(0.0) is None
    with channel.subscribe_all() as again:
        channel.notify([event(one, 2)])
        assert [f["seq"] for f in again.get(5.0) or ()] == [2]


def test_a_prefix_is_no_pattern(redis_url: str) -> None:
    channel = RedisChannel(redis_url, prefix="z*[a]?:", timeout_s=TIMEOUT_S)
    near = RedisChannel(redis_url, prefix="zxa?:", timeout_s=TIMEOUT_S)
    run = new_id()
    with channel.subscribe_all() as ear:
        near.notify([event(run, 1)])
        channel.notify([event(run, 2)])
        assert [f["seq"] for f in ear.get(5.0) or ()] == [2]
