"""What is killed, wiped or away in the middle of a run must not lose, double or hang anything."""

from __future__ import annotations

import os
import signal
import time
from urllib.parse import urlsplit
from uuid import UUID

import psutil
import pytest
import redis

from orchestrator.bootstrap import core as bootstrap
from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.models.runs.event import Kind
from orchestrator.models.runs.run import RunState
from orchestrator.ports.moves import Release
from tests.gate import Gate
from tests.integration.live import Live
from tests.waiting import wait_for


@pytest.fixture
def counted(live: Live) -> Live:
    """An installation that sends the body of every run's chord, and whose workers log each one."""
    live.environment |= {"ZQ_BROKER__FINISH_ALWAYS": "true", "ZQ_LOG_LEVEL": "DEBUG"}
    return live


def test_a_killed_child_loses_its_attempt_and_the_next_one_succeeds(counted: Live) -> None:
    live = counted
    worker = live.worker()
    run_id = live.start([live.holding(), {"id": "after"}], ["hold>after"])
    ((_, pid),) = wait_for(lambda: live.traces("hold"), what="the handler to start")
    assert pid in live.children(worker)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: len(live.traces("hold")) == 2, what="a second attempt")
    live.let_go()
    assert live.ended(run_id).state is RunState.SUCCEEDED
    assert [attempt for attempt, _ in live.traces("hold")] == [1, 2]
    (lost,) = live.core.store.reads.attempts(run_id, 0)
    assert (lost["attempt"], lost["state"]) == (1, "lost")
    _ended_once(live, run_id)


def test_a_task_that_kills_its_worker_each_time_ends_as_failed(live: Live) -> None:
    live.worker()
    run_id = live.start([live.calling("die", "test.die"), {"id": "other"}])
    run = live.ended(run_id, timeout_s=60)
    assert run.state is RunState.FAILED
    (task,) = live.core.store.reads.tasks(run_id, node_id="die")
    assert (task.state, task.reason) == ("failed", "worker_lost")
    assert len(live.traces("die")) == 4
    assert live.states(run_id)["other"] == "succeeded"


def test_at_most_once_when_the_definition_asks_for_it(live: Live) -> None:
    live.worker()
    retry = {"max_attempts": 1, "on_lost": "fail"}
    run_id = live.start([live.calling("die", "test.die", retry=retry)])
    assert live.ended(run_id).state is RunState.FAILED
    assert len(live.traces("die")) == 1


def test_a_killed_worker_main_is_started_again_and_its_work_is_redone(live: Live) -> None:
    supervisor = live.worker()
    run_id = live.start([live.holding()])
    wait_for(lambda: live.traces("hold"), what="the handler to start")
    (main,) = psutil.Process(supervisor.pid).children()
    main.kill()
    wait_for(lambda: len(live.traces("hold")) == 2, timeout_s=30, what="a second attempt")
    live.let_go()
    assert live.ended(run_id).state is RunState.SUCCEEDED


def test_a_whole_worker_killed_is_replaced_by_another_one(live: Live) -> None:
    first = live.worker()
    run_id = live.start([live.holding()])
    wait_for(lambda: live.traces("hold"), what="the handler to start")
    live.worker()
    for process in [*psutil.Process(first.pid).children(recursive=True), psutil.Process(first.pid)]:
        process.kill()
    wait_for(lambda: len(live.traces("hold")) == 2, timeout_s=30, what="a second attempt")
    live.let_go()
    assert live.ended(run_id).state is RunState.SUCCEEDED


def test_a_stopped_worker_comes_back_and_changes_nothing(live: Live) -> None:
    supervisor = live.worker()
    run_id = live.start([live.holding()])
    wait_for(lambda: live.traces("hold"), what="the handler to start")
    frozen = [*psutil.Process(supervisor.pid).children(recursive=True)]
    frozen.append(psutil.Process(supervisor.pid))
    for process in reversed(frozen):
        process.suspend()
    live.worker()
    wait_for(lambda: len(live.traces("hold")) == 2, timeout_s=30, what="a second attempt")
    live.let_go()
    assert live.ended(run_id).state is RunState.SUCCEEDED
    seq = live.run(run_id).seq
    for process in frozen:
        process.resume()
    wait_for(lambda: len(live.alive()) == 2, timeout_s=30, what="the thawed worker's new life")
    assert live.run(run_id).seq == seq


def test_a_wiped_redis_delays_a_run_and_loses_nothing(live: Live) -> None:
    live.worker()
    run_id = live.start(
        [live.holding(), *({"id": f"n{i}"} for i in range(20)), {"id": "end"}],
        [f"hold>n{i}" for i in range(20)] + [f"n{i}>end" for i in range(20)],
    )
    wait_for(lambda: live.traces("hold"), what="the handler to start")
    redis.Redis.from_url(live.settings.redis.url).flushdb()
    live.let_go()
    assert live.ended(run_id).state is RunState.SUCCEEDED


def _gate(url: str) -> Gate:
    server = urlsplit(url)
    return Gate(server.hostname or "", server.port or 0)


def _through(gate: Gate, url: str) -> str:
    server = urlsplit(url)
    netloc = server.netloc.replace(f":{server.port}", f":{gate.port}")
    return server._replace(netloc=netloc).geturl()


def test_redis_away_for_longer_than_leases_last_costs_no_attempt(live: Live) -> None:
    """One worker's Redis refuses, the other's says nothing more: neither worker is given up."""
    url = live.settings.redis.url
    with _gate(url) as gone, _gate(url) as silent:
        for gate in (gone, silent):
            live.environment["ZQ_REDIS__URL"] = _through(gate, url)
            live.worker()
        before = {worker["id"] for worker in live.alive()}
        # A worker has two slots, so four tasks that hold are on both.
        retry = {"max_attempts": 1, "on_lost": "fail"}
        run_id = live.start([live.holding(f"h{i}", retry=retry) for i in range(4)])
        wait_for(lambda: all(live.traces(f"h{i}") for i in range(4)), what="four handlers")
        gone.shut()
        silent.freeze()
        away_at = time.monotonic()
        # Silence of 5 s is taken for a hang, and the lease is over 3 s later.
        wait_for(lambda: time.monotonic() - away_at > 10, timeout_s=15, what="some time to pass")
        assert {worker["id"] for worker in live.alive()} == before
        gone.reopen()
        silent.reopen()
        live.let_go()
        assert live.ended(run_id).state is RunState.SUCCEEDED
        assert [live.traces(f"h{i}")[1:] for i in range(4)] == [[]] * 4
        app = bootstrap.celery(live.settings)
        wait_for(
            lambda: len(app.control.inspect(timeout=1).ping() or {}) == 2,
            timeout_s=20,
            what="both workers to be back at Redis",
        )
        app.close()


def test_a_worker_whose_postgres_says_nothing_more_stops_before_another_takes_its_work(
    live: Live,
) -> None:
    url = live.settings.database.url
    with _gate(url) as gate:
        live.environment["ZQ_DATABASE__URL"] = _through(gate, url)
        cut_off = live.worker()
        run_id = live.start([live.holding()])
        ((_, pid),) = wait_for(lambda: live.traces("hold"), what="the handler to start")
        child = psutil.Process(pid)
        live.environment["ZQ_DATABASE__URL"] = url
        live.worker()
        # Whatever is sent is taken, so that no timeout of TCP helps.
        gate.freeze()
        wait_for(lambda: len(live.traces("hold")) == 2, timeout_s=30, what="a second attempt")
        assert not _lives(child)
        cut_off.send_signal(signal.SIGTERM)
        cut_off.wait(timeout=15)
        live.let_go()
        assert live.ended(run_id).state is RunState.SUCCEEDED


def test_messages_that_vanish_are_announced_again(live: Live) -> None:
    run_id = live.start([{"id": f"n{i}"} for i in range(10)])
    redis.Redis.from_url(live.settings.redis.url).flushdb()
    live.worker()
    assert live.ended(run_id).state is RunState.SUCCEEDED
    assert all(t.attempt == 1 for t in live.core.store.reads.tasks(run_id))


def test_every_message_three_times_is_worked_on_once(counted: Live) -> None:
    live = counted
    nodes = [live.calling(f"n{i}", "test.note") for i in range(10)]
    run_id = live.start(nodes)
    again = [
        Release(run_id=run_id, task_no=i, attempt=1, queue="default", priority=5) for i in range(10)
    ]
    live.core.dispatcher.release([again])
    live.core.dispatcher.release([[release] for release in reversed(again)])
    live.worker()
    assert live.ended(run_id).state is RunState.SUCCEEDED
    assert len(live.effects.read_text().splitlines()) == 10
    _ended_once(live, run_id)


def _one_message(live: Live, others: int) -> UUID:
    """Start a run whose tasks are all announced in one message, a holding one first."""
    nodes = [live.holding(), *(live.calling(f"n{i}", "test.note") for i in range(others))]
    run_id = live.start(nodes)
    redis.Redis.from_url(live.settings.redis.url).flushdb()
    together = [
        Release(run_id=run_id, task_no=no, attempt=1, queue="default", priority=5)
        for no in range(others + 1)
    ]
    live.core.dispatcher.release([together])
    return run_id


def test_a_slow_task_holds_none_of_those_that_share_its_message(live: Live) -> None:
    live.worker()
    run_id = _one_message(live, 8)
    wait_for(
        lambda: list(live.states(run_id).values()).count("succeeded") == 8,
        what="the neighbours of a task that still runs",
    )
    assert live.states(run_id)["hold"] == "running"
    live.let_go()
    assert live.ended(run_id).state is RunState.SUCCEEDED
    assert all(len(live.traces(f"n{i}")) == 1 for i in range(8))


def test_a_child_killed_in_the_middle_of_a_message_redoes_only_what_it_held(live: Live) -> None:
    live.worker()
    run_id = _one_message(live, 8)
    ((_, pid),) = wait_for(lambda: live.traces("hold"), what="the handler to start")
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: len(live.traces("hold")) == 2, what="a second attempt")
    live.let_go()
    assert live.ended(run_id).state is RunState.SUCCEEDED
    assert all(len(live.traces(f"n{i}")) == 1 for i in range(8))


def test_a_run_cancelled_under_a_message_starts_no_more_of_it(live: Live) -> None:
    live.worker()
    run_id = live.start([live.holding(), *({"id": f"n{i}"} for i in range(200))],
                        [f"hold>n{i}" for i in range(200)])  # fmt: skip
    wait_for(lambda: live.traces("hold"), what="the handler to start")
    live.core.steering.cancel(DEFAULT_TENANT, run_id)
    live.let_go()
    assert live.ended(run_id).state is RunState.CANCELLED


def test_a_cancel_stops_a_chain_that_goes_on_in_place(live: Live) -> None:
    live.worker()
    # Each hop is a moment's work in the same child: the cancel comes in the middle of them.
    nodes = [{"id": f"n{i}"} for i in range(3000)]
    run_id = live.start(nodes, [f"n{i}>n{i + 1}" for i in range(2999)])
    wait_for(lambda: live.run(run_id).counts.get("succeeded", 0) > 20, what="some hops")
    live.core.steering.cancel(DEFAULT_TENANT, run_id)
    run = live.ended(run_id)
    assert run.state is RunState.CANCELLED
    assert set(run.counts) == {"succeeded", "cancelled"}
    last = live.events(run_id)[-1]
    assert (last.seq, last.state) == (run.seq, "cancelled")


def test_a_rest_that_is_handed_back_while_others_claim_it_is_done_once(live: Live) -> None:
    live.environment["ZQ_WORKER__HAND_BACK_S"] = "0"
    live.worker()
    live.worker()
    run_id = _one_message(live, 40)
    again = [
        Release(run_id=run_id, task_no=no, attempt=1, queue="default", priority=5)
        for no in range(1, 41)
    ]
    # The same tasks once more in other messages, while the first one's rest goes back at once.
    for start in range(0, 40, 5):
        live.core.dispatcher.release([again[start : start + 5]], again=True)
    live.let_go()
    assert live.ended(run_id).state is RunState.SUCCEEDED
    assert all(len(live.traces(f"n{i}")) == 1 for i in range(40))


def test_a_revoke_from_outside_changes_nothing(counted: Live) -> None:
    live = counted
    live.worker()
    busy = live.start([live.holding("h1"), live.holding("h2")])
    wait_for(lambda: live.traces("h1") and live.traces("h2"), what="both slots to be taken")
    run_id = live.start([live.calling("note", "test.note"), {"id": "after"}], ["note>after"])
    app = bootstrap.celery(live.settings)
    app.control.revoke(f"{run_id}:0:1", reply=False)
    # The worker answers in turn: it has seen the revoke by then.
    wait_for(lambda: app.control.inspect(timeout=1).ping(), what="an answer of the worker")
    assert not any((app.control.inspect(timeout=1).revoked() or {}).values())
    app.close()
    live.let_go()
    assert live.ended(busy).state is RunState.SUCCEEDED
    assert live.ended(run_id).state is RunState.SUCCEEDED
    assert live.traces("note") == [(1, live.traces("note")[0][1])]
    _ended_once(live, busy, run_id)


def test_a_worker_that_is_asked_to_stop_finishes_what_it_holds(live: Live) -> None:
    worker = live.worker()
    run_id = live.start([live.holding()])
    wait_for(lambda: live.traces("hold"), what="the handler to start")
    worker.send_signal(signal.SIGTERM)
    wait_for(lambda: not _takes_more(live), what="the worker to stop taking work")
    live.let_go()
    worker.wait(timeout=20)
    assert live.ended(run_id).state is RunState.SUCCEEDED
    assert len(live.traces("hold")) == 1
    assert [w["state"] for w in live.core.store.fleet.workers()] == ["stopped"]


def test_a_worker_keeps_its_lease_while_it_finishes(live: Live) -> None:
    worker = live.worker()
    run_id = live.start([live.holding()])
    wait_for(lambda: live.traces("hold"), what="the handler to start")
    worker.send_signal(signal.SIGTERM)
    wait_for(lambda: not _takes_more(live), what="the worker to stop taking work")
    beats: set[float] = set()

    def outlived_its_lease() -> bool:
        (row,) = live.core.store.fleet.workers()
        assert row["state"] == "active"
        beats.add(round(time.time() - row["age_s"], 1))
        return (max(beats) - min(beats)) > 2 * live.settings.worker.lease_s

    wait_for(outlived_its_lease, timeout_s=15, what="beats of a closing worker")
    live.let_go()
    worker.wait(timeout=20)
    assert live.ended(run_id).state is RunState.SUCCEEDED
    assert len(live.traces("hold")) == 1


def test_a_worker_whose_main_loop_hangs_is_started_anew(live: Live) -> None:
    supervisor = live.worker()
    (main,) = psutil.Process(supervisor.pid).children()
    main.suspend()
    wait_for(lambda: not _lives(main), timeout_s=30, what="the hung worker's end")
    run_id = live.start([{"id": "a"}])
    assert live.ended(run_id).state is RunState.SUCCEEDED


def test_a_cancel_wins_over_a_child_that_died(live: Live) -> None:
    live.worker()
    run_id = live.start([live.holding()])
    ((_, pid),) = wait_for(lambda: live.traces("hold"), what="the handler to start")
    live.core.steering.cancel(DEFAULT_TENANT, run_id)
    if psutil.pid_exists(pid):
        os.kill(pid, signal.SIGKILL)
    assert live.ended(run_id).state is RunState.CANCELLED
    assert len(live.traces("hold")) == 1
    (task,) = live.core.store.reads.tasks(run_id, node_id="hold")
    assert (task.state, task.reason, task.error) == ("cancelled", None, None)


def _ended_once(live: Live, *run_ids: UUID) -> None:
    """Demand one end of each run, and one body of its chord."""
    for run_id in run_ids:
        ends = [e for e in live.events(run_id) if e.kind is Kind.RUN and RunState(e.state).ended]
        assert len(ends) == 1
    # That no second one comes is seen when the workers have ended.
    wait_for(lambda: live.bodies() == len(run_ids), what="the bodies")


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _takes_more(live: Live) -> bool:
    return "Warm shutdown" not in live.said("worker")
