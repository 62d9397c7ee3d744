"""One installation on real processes, with the product's own defaults: this engine, measured."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg2

from orchestrator.adapters.embedded.process import free_port
from tests.bench.client import Client
from tests.bench.processes import TOGETHER, Processes, environment
from tests.bench.servers import OURS, Servers
from tests.bench.shapes import Definition
from tests.waiting import wait_for

_ADMIN_KEY = "an-admin-key-of-the-benchmark-32-bytes"
#: How often the end of runs is looked for, seconds: what raw Celery's client does too.
LOOK_S = 0.005
#: Connections that start runs at the same time.
CLIENTS = 4
_LONGEST_S = 600.0
_numbers = itertools.count()


class Installation:
    """Scheduler, one supervised worker with a prefork pool, web server: what `zq up` starts, or
    each by itself, as in containers of their own. Later the sockets' own process."""

    def __init__(
        self,
        servers: Servers,
        *,
        slots: int = 2,
        events: bool = False,
        apart: bool = False,
        **more: object,
    ) -> None:
        self.servers = servers
        self.number = next(_numbers)
        self.folder: Path = servers.home / f"installation-{self.number}"
        self.database_url = servers.database()
        self.prefix = f"bench{os.getpid()}-{self.number}:"
        self.slots = slots
        self.processes = Processes(
            self.folder,
            environment(**{**self._settings(events), **more}),
        )
        self._record = psycopg2.connect(self.database_url)
        self._record.autocommit = True
        self._pause = threading.Event()
        self._saved: dict[str, str] = {}
        try:
            self._start_apart() if apart else self._start_together()
            self._come_up()
        except BaseException:
            self.processes.stop()
            raise

    def _settings(self, events: bool) -> dict[str, object]:
        wanted: dict[str, object] = {
            "ZQ_HOME": self.folder / "home",
            "ZQ_DATABASE__URL": self.database_url,
            "ZQ_REDIS__URL": self.servers.redis_url(OURS),
            "ZQ_REDIS__PREFIX": self.prefix,
            "ZQ_BROKER__FLOWER_EVENTS": events,
            "ZQ_AUTH__ADMIN_KEY": _ADMIN_KEY,
            "ZQ_AUTH__SECRET_KEY": "a-secret-key-of-the-benchmark-that-is-long-enough",
            "ZQ_WEB__PORT": free_port(),
            "ZQ_WORKER__SLOTS": self.slots,
            "ZQ_WORKER__MODULES": "tests.bench.functions",
        }
        # Requests are counted as always; the counts are only higher than a benchmark's.
        limits = ("READS", "WRITES", "STARTS", "SOCKETS")
        return {
            **wanted,
            **{f"ZQ_LIMITS__{name}": "10000000/minute" for name in limits},
            "ZQ_LIMITS__SOCKETS_EACH": 10_000,
        }

    def _made_key(self) -> str:
        with Client(self.url, _ADMIN_KEY) as admin:
            body = {"name": "benchmark", "roles": ["owner"]}
            return str(admin.call("POST", "/api-keys", body)["key"])

    def _start_together(self) -> None:
        self.processes.start(TOGETHER, "-m", "orchestrator.cli", "up", pipe=True)
        self.url = self.processes.line(TOGETHER, "ready: ")

    def _start_apart(self) -> None:
        self.processes.start("scheduler", "-m", "orchestrator.cli", "scheduler")
        self.processes.start("worker", "-m", "workers.supervisor")
        self.processes.start("web", "-m", "web.server.serve", pipe=True)
        self.url = self.processes.line("web", "web: ")

    def _come_up(self) -> None:
        #: An API key like any client's; the admin key only makes it.
        self.key = self._made_key()
        self.client = Client(self.url, self.key)
        wait_for(
            lambda: self.ask("SELECT 1 FROM workers WHERE state = 'active'"),
            timeout_s=60,
            what=f"a worker; it said: {self.processes.everything_said()}",
        )

    def sockets(self, **settings: object) -> str:
        """Start the process that serves sockets alone; return its address."""
        words = ("-m", "web.server.serve", "--only", "sockets")
        self.processes.start("stream", *words, pipe=True, **{"ZQ_WEB__PORT": 0, **settings})
        return self.processes.line("stream", "web: ")

    def ask(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a statement on the record."""
        with self._record.cursor() as cursor:
            cursor.execute(statement, values)
            rows: list[tuple[Any, ...]] = cursor.fetchall() if cursor.description else []
            return rows

    def save(self, definition: Definition) -> str:
        """Return the id of a workflow of this definition, saved once."""
        name = str(definition["name"])
        if name not in self._saved:
            self._saved[name] = str(self.client.call("POST", "/workflows", definition)["id"])
        return self._saved[name]

    def begin(
        self, workflow_id: str, client: Client | None = None, *, tags: Sequence[str] = ()
    ) -> str:
        """Start a run over HTTP; return its id."""
        body = {"tags": list(tags)} if tags else {}
        answer = (client or self.client).call("POST", f"/workflows/{workflow_id}/runs", body)
        return str(answer["id"])

    def ended(self, run_ids: Iterable[str], ends: Sequence[str] = ("succeeded",)) -> None:
        """Wait until all these runs have ended; RuntimeError unless all have done so as wished."""
        ids = list(run_ids)
        deadline = time.monotonic() + _LONGEST_S
        # One small index answers for any number of runs: only what is measured is live.
        live = (
            "SELECT 1 FROM runs WHERE id >= %s::uuid"
            " AND state IN ('cancelling', 'paused', 'queued', 'running') LIMIT 1"
        )
        while self.ask(live, min(ids)):
            if time.monotonic() > deadline or self.processes.ended():
                raise RuntimeError(f"runs did not end; ended processes: {self.processes.ended()}")
            self._pause.wait(LOOK_S)
        states = self.ask("SELECT DISTINCT state FROM runs WHERE id = ANY(%s::uuid[])", ids)
        if not {state for (state,) in states} <= set(ends):
            raise RuntimeError(f"runs ended as {states}")

    def time_one(self, definition: Definition) -> float:
        """Return the seconds from starting one run over HTTP until its end is in the record."""
        workflow_id = self.save(definition)
        began = time.perf_counter()
        self.ended([self.begin(workflow_id)])
        return time.perf_counter() - began

    def time_many(self, definition: Definition, count: int) -> float:
        """Return the seconds from starting the first of `count` runs until all have ended."""
        workflow_id = self.save(definition)
        clients = [Client(self.url, self.key) for _ in range(CLIENTS)]
        for client in clients:
            client.call("GET", f"/workflows/{workflow_id}")

        def some(at: int) -> list[str]:
            return [self.begin(workflow_id, clients[at]) for _ in range(at, count, CLIENTS)]

        with ThreadPoolExecutor(CLIENTS) as threads:
            began = time.perf_counter()
            parts: Sequence[list[str]] = list(threads.map(some, range(CLIENTS)))
            self.ended(run_id for part in parts for run_id in part)
            taken = time.perf_counter() - began
        for client in clients:
            client.close()
        return taken

    def outputs(self, run_id: str) -> dict[str, Any]:
        """Return the outputs of a run's tasks by node id."""
        rows = self.ask("SELECT node_id, output FROM tasks WHERE run_id = %s", run_id)
        return dict(rows)

    def close(self) -> None:
        """Stop every process."""
        self._record.close()
        self.client.close()
        self.processes.stop()
