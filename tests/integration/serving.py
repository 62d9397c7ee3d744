"""A real web server for tests, `python -m web.server.serve` as a process; tests play the worker."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import orjson
import websocket

from orchestrator.bootstrap.core import Core
from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.models.runs.task import Claim, Value
from orchestrator.ports.moves import LogLine, Owner
from tests.factories import SECRET_KEY

KEY = "an-admin-key-of-tests"
ROOT = Path(__file__).parents[2]


@dataclass
class Web:
    """A running server."""

    process: subprocess.Popen[str]
    url: str
    lines: list[websocket.WebSocket] = field(default_factory=list)

    def socket(self, run_id: UUID, after: int = 0, **options: Any) -> websocket.WebSocket:
        """Open the stream of a run."""
        address = f"{self.url.replace('http', 'ws', 1)}/api/v1/runs/{run_id}/stream?after={after}"
        headers = [f"Authorization: Bearer {KEY}", *options.pop("headers", ())]
        options = {"timeout": 10, "suppress_origin": True, **options}
        line = websocket.create_connection(address, header=headers, **options)
        self.lines.append(line)
        return line

    def hang_up(self) -> None:
        """Close every socket that a test opened."""
        while self.lines:
            self.lines.pop().shutdown()

    @property
    def headers(self) -> dict[str, str]:
        """What a request carries."""
        return {"Authorization": f"Bearer {KEY}"}


@contextmanager
def serving(database_url: str, redis_url: str, *flags: str, **settings: object) -> Iterator[Web]:
    """Run a server on a free port until the block ends; it must then stop by itself."""
    names = {"DATABASE__URL": database_url, "REDIS__URL": redis_url, "AUTH__ADMIN_KEY": KEY}
    names["AUTH__SECRET_KEY"] = SECRET_KEY
    names |= {"WEB__PORT": "0", **{k: str(v) for k, v in settings.items()}}
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ZQ_")}
    environment |= {f"ZQ_{name}": value for name, value in names.items()}
    environment |= {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "web.server.serve", *flags],
        env=environment, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    try:
        web = Web(process, _address(process))
        yield web
        web.hang_up()
    finally:
        process.terminate()
        try:
            code = process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        finally:
            assert process.stdout is not None
            process.stdout.close()
    assert code == 0


def _address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if select.select([process.stdout], [], [], 0.5)[0]:
            line = process.stdout.readline()
            if line.startswith("web: "):
                return line.removeprefix("web: ").strip()
            assert line, f"the server ended: {process.wait()}"
    raise AssertionError("the server did not start in time")


def frames(line: websocket.WebSocket, upto: int | None = None) -> Iterator[Mapping[str, Any]]:
    """Yield frames until the server closes, or `upto` frames have come."""
    while upto is None or upto > 0:
        frame = line.recv_frame()
        if frame.opcode == websocket.ABNF.OPCODE_PING:
            line.pong(frame.data)
        if frame.opcode in (websocket.ABNF.OPCODE_PING, websocket.ABNF.OPCODE_PONG):
            continue
        if frame.opcode == websocket.ABNF.OPCODE_CLOSE:
            # A server that closes over unread input may be gone before the answer.
            with suppress(OSError):
                line.send_close()
            yield {"closed": int.from_bytes(frame.data[:2])}
            return
        yield orjson.loads(frame.data)
        upto = None if upto is None else upto - 1


class Hand:
    """Plays the worker of a run, one task at a time, by the same services."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self._owner = Owner(worker_id=uuid4(), pid=1)

    def start(self, nodes: int) -> UUID:
        """Start a run of 1 -> many -> 1, `nodes` in the middle."""
        middle = [{"id": f"m{i}", "type": "noop"} for i in range(nodes)]
        edges = [{"source": "first", "target": n["id"]} for n in middle]
        edges += [{"source": n["id"], "target": "last"} for n in middle]
        ends = [{"id": "first", "type": "noop"}, {"id": "last", "type": "noop"}]
        definition = {"name": f"fan {uuid4()}", "nodes": [*ends, *middle], "edges": edges}
        run_id, _ = self.core.engine.execute(DEFAULT_TENANT, definition)
        return run_id

    def claims(self, run_id: UUID) -> list[Claim]:
        """Claim everything that is queued."""
        tasks = self.core.store.reads.tasks(run_id)
        wanted = [(t.task_no, t.attempt) for t in tasks if t.state == "queued"]
        if not wanted:
            return []
        moved = self.core.store.moves.claim_attempts(
            run_id, wanted, claim_id=uuid4(), owner=self._owner
        )
        assert moved is not None
        return list(self.core.engine.claimed(moved).claimed)

    def settle(self, claim: Claim, output: Any = None) -> None:
        """End a claimed attempt well."""
        run = self.core.engine.run(DEFAULT_TENANT, claim.run_id)
        plan = self.core.engine.plan(run.workflow_id, run.version)
        assert self.core.engine.report(claim, Value(output=output), plan) is not None

    def say(self, claim: Claim, *messages: str) -> None:
        """Write log lines of a claimed attempt."""
        lines = [
            LogLine(task_no=claim.task_no, level="info", message=m, age_s=0.0) for m in messages
        ]
        assert self.core.engine.append_logs(claim, lines)

    def step(self, run_id: UUID) -> bool:
        """Do what is queued; False when nothing was."""
        claims = self.claims(run_id)
        for claim in claims:
            self.say(claim, f"at work on {claim.task_no}")
            self.settle(claim, {"no": claim.task_no})
        return bool(claims)

    def finish(self, run_id: UUID) -> int:
        """Do everything; return the run's last seq."""
        while self.step(run_id):
            pass
        run = self.core.engine.run(DEFAULT_TENANT, run_id)
        assert run.state == "succeeded", run
        return run.seq
