"""A worker whose supervisor is gone ends, idle or at work, before somebody else takes its work; one
that is watched goes on."""

from __future__ import annotations

import time

import psutil
import pytest

from orchestrator.models.runs.run import RunState
from tests.integration.live import Live
from tests.waiting import wait_for


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_a_supervisor_killed_alone_takes_its_worker_along(live: Live) -> None:
    supervisor = live.worker()
    family = psutil.Process(supervisor.pid).children(recursive=True)
    supervisor.kill()
    wait_for(lambda: not any(_lives(p) for p in family), timeout_s=20, what="the family's end")


def test_a_plain_celery_worker_holds_its_work_for_longer_than_a_lease(live: Live) -> None:
    live.plain_worker()
    run_id = live.start([live.holding()])
    wait_for(lambda: live.traces("hold"), what="the handler to start")
    held_at, lease_s = time.monotonic(), live.settings.worker.lease_s
    wait_for(lambda: time.monotonic() - held_at > lease_s + 1, what="more than a lease to pass")
    live.let_go()
    assert live.ended(run_id).state is RunState.SUCCEEDED
    assert len(live.traces("hold")) == 1


@pytest.mark.parametrize("plain", [False, True], ids=["zq worker", "celery worker"])
def test_a_worker_that_nobody_watches_ends_before_its_lease_is_over(
    live: Live, plain: bool
) -> None:
    process = live.plain_worker() if plain else live.worker()
    run_id = live.start([live.holding(args={"stubborn": True})])
    wait_for(lambda: live.traces("hold"), what="the handler to start")
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    (watching,) = [p for p in family if "workers.supervisor" in " ".join(p.cmdline())]
    live.worker()
    watching.kill()
    killed_at = time.monotonic()
    wait_for(lambda: not any(_lives(p) for p in family), timeout_s=20, what="the family's end")
    assert time.monotonic() - killed_at < live.settings.worker.lease_s
    assert len(live.traces("hold")) == 1, "two worked on it at once"
    wait_for(lambda: len(live.traces("hold")) == 2, timeout_s=30, what="a second attempt")
    live.let_go()
    assert live.ended(run_id).state is RunState.SUCCEEDED
