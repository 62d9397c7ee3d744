"""Flower against a live installation: what its HTTP API says of runs must be what happened."""

from __future__ import annotations

import base64
import importlib.util
import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from orchestrator.adapters.embedded.process import free_port
from orchestrator.bootstrap import core as bootstrap
from orchestrator.models.runs.run import RunState
from orchestrator.ports.moves import Release
from orchestrator.settings import Broker
from tests.conftest import Databases
from tests.integration.live import Live, living
from tests.waiting import wait_for

USER = "watcher:a-password-of-tests"


class Flower:
    """Flower's HTTP API."""

    def __init__(self, live: Live, port: int) -> None:
        self.live = live
        word = base64.b64encode(USER.encode()).decode()
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            headers={"Authorization": f"Basic {word}"},
            trust_env=False,
            timeout=10,
        )

    def up(self) -> bool:
        """Tell whether it answers."""
        try:
            return self.client.get("/healthcheck").status_code == 200
        except httpx.TransportError:
            return False

    def attempts(self, run_id: UUID) -> dict[str, dict[str, Any]]:
        """Return what it knows of a run, by `node id/attempt`."""
        tasks = self.client.get("/api/tasks").raise_for_status().json()
        nodes = {t.task_no: t.node_id for t in self.live.core.store.reads.tasks(run_id)}
        found = {}
        for uuid, task in tasks.items():
            run, _, place = uuid.partition(":")
            if run == str(run_id):
                number, _, attempt = place.partition(":")
                found[f"{nodes[int(number)]}/{attempt}"] = task
        return found

    def states(self, run_id: UUID) -> dict[str, str]:
        """Return the states it shows of a run's attempts."""
        return {key: task["state"] for key, task in self.attempts(run_id).items()}

    def shows(self, run_id: UUID, expected: dict[str, str]) -> dict[str, dict[str, Any]]:
        """Wait until it shows exactly this, and return the attempts."""
        wait_for(
            lambda: self.states(run_id) == expected,
            timeout_s=20,
            what=f"{expected}; it shows {self.states(run_id)}",
        )
        return self.attempts(run_id)


def told() -> list[str]:
    """Return the command that docs/flower.md tells people."""
    page = (Path(__file__).parents[3] / "docs" / "flower.md").read_text()
    (command,) = re.findall(r"^celery .*flower .*$", page, re.MULTILINE)
    return shlex.split(command)


@pytest.fixture(scope="module")
def flower(
    databases: Databases, redis_server_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Flower]:
    """A scheduler, a worker and Flower, started as docs/flower.md says, but purging sooner."""
    if importlib.util.find_spec("flower") is None:
        why = "flower is not installed: pip install '.[flower]'"
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    folder = tmp_path_factory.mktemp("flower")
    with living(databases.migrated(), redis_server_url, folder) as live:
        live.environment["ZQ_BROKER__FLOWER_EVENTS"] = "true"
        live.environment["FLOWER_BASIC_AUTH"] = USER
        live.core.store.close()
        live.settings = replace(live.settings, broker=Broker(flower_events=True))
        live.core = bootstrap.build(live.settings)
        port = free_port()
        words = told()
        words[words.index("--port=5555")] = f"--port={port}"
        words[words.index("--purge-offline-workers=60")] = "--purge-offline-workers=1"
        live.spawn("flower", "-m", *words)
        made = Flower(live, port)
        wait_for(made.up, timeout_s=30, what=f"Flower; it said: {live.said('flower')}")
        live.scheduler()
        live.worker()
        yield made
        made.client.close()


@pytest.fixture
def live(flower: Flower, tmp_path: Path) -> Iterator[Live]:
    """The installation, with traces and a gate of this test's own."""
    flower.live.fresh(tmp_path)
    yield flower.live
    flower.live.let_go()


def test_a_chain_done_in_place_is_shown_task_by_task(flower: Flower, live: Live) -> None:
    nodes = [live.calling(id, "test.note") for id in ("a", "b", "c", "d")]
    run_id = live.start(nodes, ["a>b", "b>c", "c>d"])
    live.ended(run_id)
    tasks = flower.shows(run_id, {f"{id}/1": "SUCCESS" for id in "abcd"})
    assert {pid for id in "abcd" for _, pid in live.traces(id)} == {live.traces("a")[0][1]}
    (worker,) = {task["worker"] for task in tasks.values()}
    wait_for(
        lambda: worker in flower.client.get("/api/workers?refresh=1").json(),
        what="the worker's page",
    )
    for key, task in tasks.items():
        node_id = key.partition("/")[0]
        assert (task["name"], task["root_id"]) == (f"live/{node_id}", str(run_id))
        assert task["received"] <= task["started"] <= task["succeeded"]
        assert task["runtime"] < 5
    starts = [tasks[f"{id}/1"]["started"] for id in "abcd"]
    assert starts == sorted(starts)


def test_tasks_that_share_a_message_are_shown_one_by_one(flower: Flower, live: Live) -> None:
    many = [f"m{n}" for n in range(60)]
    nodes = [{"id": id} for id in ("first", *many, "last")]
    edges = [f"first>{id}" for id in many] + [f"{id}>last" for id in many]
    # The second time the announcing worker knows how short they are.
    for _ in range(2):
        run_id = live.start(nodes, edges)
        assert live.ended(run_id).state == "succeeded"
        tasks = flower.shows(run_id, {f"{node['id']}/1": "SUCCESS" for node in nodes})
        assert {task["name"] for task in tasks.values()} == {f"live/{n['id']}" for n in nodes}


def test_a_failure_is_no_success_and_what_never_ran_is_not_shown(
    flower: Flower, live: Live
) -> None:
    nodes = [
        live.calling("bad", "test.flaky", args={"good_from": 9}),
        live.calling("n", "test.note"),
    ]
    run_id = live.start(nodes, ["bad>n"])
    assert live.ended(run_id).state == "failed"
    tasks = flower.shows(run_id, {"bad/1": "FAILURE"})
    assert tasks["bad/1"]["exception"] == "flaky: attempt 1 is too early"


def test_each_attempt_is_shown_and_how_it_ended(flower: Flower, live: Live) -> None:
    retry = {"max_attempts": 3, "delay_s": 0.05, "jitter": False}
    nodes = [live.calling("f", "test.flaky", args={"good_from": 3}, retry=retry)]
    run_id = live.start(nodes)
    assert live.ended(run_id).state == "succeeded"
    tasks = flower.shows(run_id, {"f/1": "RETRY", "f/2": "RETRY", "f/3": "SUCCESS"})
    assert [tasks[f"f/{n}"]["retries"] for n in (1, 2, 3)] == [0, 1, 2]
    assert "attempt 2 is too early" in tasks["f/2"]["exception"]


def test_an_attempt_that_waits_is_one_entry(flower: Flower, live: Live) -> None:
    run_id = live.start([{"id": "w", "type": "wait", "config": {"seconds": 0.3}}])
    live.ended(run_id)
    flower.shows(run_id, {"w/1": "SUCCESS"})


def test_a_killed_child_leaves_nothing_started(flower: Flower, live: Live) -> None:
    run_id = live.start([live.calling("d", "test.die", args={"good_from": 2})])
    assert live.ended(run_id).state == "succeeded"
    tasks = flower.shows(run_id, {"d/1": "RETRY", "d/2": "SUCCESS"})
    assert tasks["d/1"]["exception"].startswith("worker_lost")


def test_what_is_cancelled_does_not_stay_started(flower: Flower, live: Live) -> None:
    run_id = live.start([live.holding("h"), live.calling("n", "test.note")], ["h>n"])
    flower.shows(run_id, {"h/1": "STARTED"})
    moved = live.core.store.moves.cancel_run(run_id, RunState.CANCELLED)
    assert moved is not None
    live.core.engine.announce(moved)
    live.ended(run_id)
    flower.shows(run_id, {"h/1": "REVOKED"})


def test_a_doubled_message_changes_nothing(flower: Flower, live: Live) -> None:
    run_id = live.start([live.holding("h")])
    flower.shows(run_id, {"h/1": "STARTED"})
    again = Release(run_id=run_id, task_no=0, attempt=1, queue="default", priority=5)
    for _ in range(3):
        assert live.core.engine.release([again])
    # The copies are lost before this run: one worker takes a queue's messages in order.
    later = live.start([live.calling("n", "test.note")])
    live.ended(later)
    flower.shows(later, {"n/1": "SUCCESS"})
    assert flower.states(run_id) == {"h/1": "STARTED"}
    live.let_go()
    live.ended(run_id)
    live.core.engine.release([again])
    after = live.start([live.calling("n", "test.note")])
    live.ended(after)
    flower.shows(after, {"n/1": "SUCCESS"})
    assert flower.states(run_id) == {"h/1": "SUCCESS"}


def test_only_attempts_and_workers_are_shown(flower: Flower, live: Live) -> None:
    run_id = live.start([live.calling("d", "test.die", args={"good_from": 2})])
    live.ended(run_id)
    flower.shows(run_id, {"d/1": "RETRY", "d/2": "SUCCESS"})
    tasks = flower.client.get("/api/tasks").json().values()
    assert {task["name"].partition("/")[0] for task in tasks} == {"live"}

    def listed() -> list[bool]:
        workers = flower.client.get("/workers?json=1").raise_for_status().json()["data"]
        return [worker["status"] for worker in workers]

    # Whoever recorded the loss in the worker's place is listed as offline, then purged.
    wait_for(lambda: listed() == [True], what=f"one worker; it lists {listed()}")


def test_what_a_worker_is_at_has_a_name(flower: Flower, live: Live) -> None:
    run_id = live.start([live.holding("h")])
    flower.shows(run_id, {"h/1": "STARTED"})

    (worker,) = {task["worker"] for task in flower.attempts(run_id).values()}

    def at() -> list[str]:
        answer = flower.client.get("/api/workers", params={"refresh": 1, "workername": worker})
        found = answer.raise_for_status().json()
        return [task["name"] for task in found[worker].get("active", ())]

    wait_for(lambda: at() == ["live/h"], what=f"the running task; Flower lists {at()}")
    found = flower.client.get("/api/tasks", params={"search": str(run_id)}).json()
    assert list(found) == [f"{run_id}:0:1"]


def test_it_wants_a_password_and_changes_nothing(flower: Flower) -> None:
    bare = {"Authorization": ""}
    for path in ("/", "/api/tasks", "/api/workers", "/tasks"):
        assert flower.client.get(path, headers=bare).status_code == 401, path
    for path in ("/healthcheck", "/metrics"):
        assert flower.client.get(path, headers=bare).status_code == 200, path
    for path in ("/api/task/revoke/x", "/api/worker/shutdown/x", "/api/task/send-task/zq.execute"):
        assert flower.client.post(path, json={}).status_code in {401, 403, 405}, path
