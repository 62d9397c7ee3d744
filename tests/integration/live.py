"""A live installation for tests: scheduler and workers as processes, and a core to steer them."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil

from orchestrator.bootstrap import core as bootstrap
from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.models.runs.event import Event
from orchestrator.models.runs.run import Run, StartRequest
from orchestrator.ports.dispatch import FINISH_RUN
from orchestrator.settings import Auth, Broker, Database, Redis, Settings, Upkeep, Worker
from tests.factories import SECRET_KEY
from tests.waiting import wait_for

#: What Celery's worker logs when a body comes.
_BODY = re.compile(rf"Task {re.escape(FINISH_RUN)}\[[0-9a-f-]+\] received")
ROOT = Path(__file__).parents[2]
#: Installations of one test process share a Redis and must not hear each other.
_NUMBERS = itertools.count()


class Live:
    """Processes of one installation. Everything it started is gone after `close`."""

    def __init__(self, database_url: str, redis_url: str, folder: Path, **knobs: Any) -> None:
        self.folder = folder
        self.fresh(folder)
        worker = {"beat_s": 0.5, "lease_s": 3.0, "grace_s": 0.5, **knobs}
        self.settings = Settings(
            home=folder / "home",
            auth=Auth(secret_key=SECRET_KEY),
            database=Database(url=database_url),
            redis=Redis(url=redis_url, prefix=f"zq{os.getpid()}-{next(_NUMBERS)}:", timeout_s=1.0),
            broker=Broker(flower_events=False),
            worker=replace(Worker(), **worker),
            upkeep=Upkeep(every_s=0.2, unclaimed_s=1.5, rest_s=5),
        )
        self.environment = self._environment(worker)
        self.core = bootstrap.build(self.settings)
        self.processes: list[subprocess.Popen[bytes]] = []

    def fresh(self, folder: Path) -> None:
        """Give the next test its own traces and its own gate."""
        self.effects = folder / "effects"
        self.effects.touch()
        self.gate = folder / "gate"

    def _environment(self, worker: Mapping[str, Any]) -> dict[str, str]:
        mine = {k: v for k, v in os.environ.items() if not k.startswith(("ZQ_", "_ZQ_"))}
        return {
            **mine,
            "PYTHONPATH": str(ROOT),
            "ZQ_HOME": str(self.settings.home),
            "ZQ_AUTH__SECRET_KEY": SECRET_KEY,
            "ZQ_DATABASE__URL": self.settings.database.url,
            "ZQ_REDIS__URL": self.settings.redis.url,
            "ZQ_REDIS__PREFIX": self.settings.redis.prefix,
            "ZQ_REDIS__TIMEOUT_S": "1",
            "ZQ_BROKER__FLOWER_EVENTS": "false",
            "ZQ_WORKER__MODULES": "tests.integration.functions",
            "ZQ_UPKEEP__EVERY_S": "0.2",
            "ZQ_UPKEEP__UNCLAIMED_S": "1.5",
            "ZQ_UPKEEP__REST_S": "5",
            **{f"ZQ_WORKER__{name}".upper(): str(value) for name, value in worker.items()},
        }

    def spawn(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        """Start a process of the product; what it prints is kept in the test's folder."""
        with (self.folder / f"{name}-{len(self.processes)}.log").open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, *command],
                env=self.environment,
                cwd=ROOT,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def scheduler(self) -> subprocess.Popen[bytes]:
        """Start upkeep."""
        return self.spawn("scheduler", "-m", "orchestrator.cli", "scheduler")

    def worker(self) -> subprocess.Popen[bytes]:
        """Start a supervised worker and wait until it has beaten."""
        before = {w["id"] for w in self.alive()}
        process = self.spawn("worker", "-m", "workers.supervisor")
        wait_for(
            lambda: {w["id"] for w in self.alive()} - before,
            timeout_s=30,
            what=f"a worker; it said: {self.said('worker')}",
        )
        return process

    def plain_worker(self) -> subprocess.Popen[bytes]:
        """Start a worker the way Celery's users do, and wait until it has beaten."""
        before = {w["id"] for w in self.alive()}
        command = ("-m", "celery", "-A", "workers.app", "worker", "-c", "2", "-l", "INFO")
        process = self.spawn("celery", *command)
        wait_for(lambda: {w["id"] for w in self.alive()} - before, timeout_s=30, what="a worker")
        return process

    def alive(self) -> list[Mapping[str, Any]]:
        """Return the workers whose lease runs."""
        return [w for w in self.core.store.fleet.workers() if w["state"] == "active"]

    def said(self, name: str) -> str:
        """Return the end of what processes of this name printed."""
        return "\n".join(p.read_text()[-2000:] for p in sorted(self.folder.glob(f"{name}-*.log")))

    def bodies(self) -> int:
        """Return how many chord bodies the workers have received, of all runs."""
        texts = [path.read_text() for path in self.folder.glob("*.log")]
        return sum(len(_BODY.findall(text)) for text in texts)

    def children(self, supervisor: subprocess.Popen[bytes]) -> list[int]:
        """Return the pool children of a supervised worker."""
        (main,) = psutil.Process(supervisor.pid).children()
        return [child.pid for child in main.children()]

    def start(
        self,
        nodes: Sequence[Mapping[str, Any]],
        edges: Sequence[str] = (),
        *,
        input: Any = None,
        settings: Mapping[str, Any] | None = None,
    ) -> UUID:
        """Start a run of nodes `{"id", "type", "config", ...}` and edges `a>b` or `a:handle>b`."""
        document = {
            "name": "live",
            "settings": dict(settings or {}),
            "nodes": [
                {
                    "id": n["id"],
                    "type": n.get("type", "noop"),
                    "position": {"x": 0, "y": 0},
                    "data": {k: v for k, v in n.items() if k not in ("id", "type")},
                }
                for n in nodes
            ],
            "edges": [self._edge(number, text) for number, text in enumerate(edges)],
        }
        run_id, _ = self.core.engine.execute(DEFAULT_TENANT, document, StartRequest(input=input))
        return run_id

    @staticmethod
    def _edge(number: int, text: str) -> dict[str, Any]:
        source, target = text.split(">")
        source, _, handle = source.partition(":")
        edge = {"id": f"e{number}", "source": source, "target": target}
        return {**edge, "sourceHandle": handle} if handle else edge

    def run(self, run_id: UUID) -> Run:
        """Return the run as it is now."""
        return self.core.engine.run(DEFAULT_TENANT, run_id)

    def ended(self, run_id: UUID, timeout_s: float = 30.0) -> Run:
        """Wait for a run's end."""

        def end() -> Run | None:
            run = self.run(run_id)
            return run if run.state.ended else None

        return wait_for(
            end, timeout_s=timeout_s, what=f"the end of {run_id}: {self.states(run_id)}"
        )

    def states(self, run_id: UUID) -> dict[str, str]:
        """Return the states of a run's tasks by node id."""
        return {t.node_id: str(t.state) for t in self.core.store.reads.tasks(run_id, limit=10_000)}

    def events(self, run_id: UUID) -> list[Event]:
        """Return the whole history of a run."""
        return self.core.store.reads.events(run_id, after=0, limit=100_000)

    def traces(self, node_id: str) -> list[tuple[int, int]]:
        """Return (attempt, pid) of each start of a node that the outside world saw."""
        lines = [line.split() for line in self.effects.read_text().splitlines()]
        return [(int(attempt), int(pid)) for _, node, attempt, pid in lines if node == node_id]

    def holding(self, id: str = "hold", **more: Any) -> dict[str, Any]:
        """Return a node that works until `let_go`."""
        args = {"effects": str(self.effects), "gate": str(self.gate), **more.pop("args", {})}
        return {
            "id": id, "type": "python", "config": {"function": "test.hold", "args": args}, **more,
        }  # fmt: skip

    def calling(self, id: str, function: str, **more: Any) -> dict[str, Any]:
        """Return a node that calls one of the test functions and leaves traces."""
        args = {"effects": str(self.effects), **more.pop("args", {})}
        return {
            "id": id, "type": "python", "config": {"function": function, "args": args}, **more,
        }  # fmt: skip

    def let_go(self) -> None:
        """Open the gate that holding nodes wait for."""
        self.gate.touch()

    def close(self) -> None:
        """End every process, and whatever it started."""
        self.gate.touch()
        families = [_family(process.pid) for process in self.processes]
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process, family in zip(self.processes, families, strict=True):
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for member in family:
                if member.is_running():
                    member.kill()
        self.core.store.close()


def _family(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


@contextmanager
def living(database_url: str, redis_url: str, folder: Path, **knobs: Any) -> Iterator[Live]:
    """A live installation without processes yet; it is closed at the end."""
    live = Live(database_url, redis_url, folder, **knobs)
    try:
        yield live
    finally:
        live.close()
