"""`connect()`: the product from Python, over HTTP or in this process, with the same few calls.

core = connect()
core.engine.save(flow)
run = core.engine.start("daily-report", input={"day": "2026-01-01"})
for event in core.engine.watch(run.id): ...
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, cast

from orchestrator.client.building import Workflow
from orchestrator.client.nouns import Nouns
from orchestrator.client.seen import Artifact, Event, Run, Saved, Task
from orchestrator.errors import ZQError

if TYPE_CHECKING:
    from orchestrator.client.documents import ArtifactDoc, Frame, RunDoc, TaskDoc, WorkflowDoc
    from orchestrator.client.transport import Http

#: Who runs workflows in memory. Named, not imported: the core may not know the workers' code.
_IN_MEMORY = "workers.in_memory.server"


class Server(Protocol):
    """Where workflows are kept and run: `client.Client` over HTTP, or this process's memory."""

    def find(self, name: str) -> WorkflowDoc | None:
        """Return the workflow of exactly this name."""

    def create(self, definition: Mapping[str, Any]) -> WorkflowDoc:
        """Save a new workflow."""

    def change(self, workflow_id: str, definition: Mapping[str, Any]) -> WorkflowDoc:
        """Save the next version; an equal definition makes none."""

    def start(
        self,
        workflow: str,
        input: Mapping[str, Any] | None = None,
        *,
        tags: Sequence[str] = (),
        trigger: str = "api",
    ) -> RunDoc:
        """Start a run of a workflow, by name or id."""

    def run(self, run_id: str) -> RunDoc:
        """Return one run."""

    def runs(self, *, limit: int | None = None, **filters: Any) -> list[RunDoc]:
        """Return runs, newest first."""

    def tasks(self, run_id: str) -> list[TaskDoc]:
        """Return every task of a run."""

    def watch(self, run_id: str, after: int = 0) -> Iterator[Frame]:
        """Yield a run's events with `seq > after` until it has ended."""

    def cancel(self, run_id: str) -> RunDoc:
        """Stop a run."""

    def mark(
        self, run_id: str, node_id: str, state: str, *, output: Any = None,
        reason: str | None = None, map_index: int | None = None,
    ) -> TaskDoc:  # fmt: skip
        """Settle a task of a live run by hand."""

    def pause(self, run_id: str) -> RunDoc:
        """Let nothing new start."""

    def resume(self, run_id: str) -> RunDoc:
        """Go on with a paused run."""

    def retry(
        self, run_id: str, from_node: str | None = None, *,
        version: int | Literal["latest"] | None = None, input: Any = None,
    ) -> RunDoc:  # fmt: skip
        """Run an ended run again as a new one."""

    def artifacts(self, run_id: str) -> Sequence[ArtifactDoc]:
        """Return the files a run has left behind."""

    def artifact(self, run_id: str, name: str) -> bytes:
        """Return what is in one of them."""

    def close(self) -> None:
        """Give back what it holds."""


class Engine:
    """Save workflows, start runs of them, watch and steer them. Errors are `ZQError`s.

    Ids are text. In memory a run goes on while somebody watches it or waits for it, in the
    caller's thread; over HTTP it goes on by itself.
    """

    def __init__(self, server: Server) -> None:
        self._server = server

    def save(self, workflow: Workflow | Mapping[str, Any]) -> Saved:
        """Create the workflow, or change the one of its name; an equal one makes no new version.

        `workflow` may be a document as the API takes it. Every problem is told at once.
        """
        definition = workflow.definition() if isinstance(workflow, Workflow) else workflow
        found = self._server.find(str(definition.get("name", "")))
        if found is None:
            return Saved.of(self._server.create(definition))
        return Saved.of(self._server.change(found["id"], definition))

    def start(
        self,
        workflow: str,
        *,
        input: Mapping[str, Any] | None = None,
        tags: Sequence[str] = (),
        trigger: str = "api",
    ) -> Run:
        """Start a run of a workflow, by name or id, and return it as it begins.

        `trigger` says why: `manual` where a person started it, else `api`.
        """
        return Run.of(self._server.start(workflow, input, tags=tags, trigger=trigger))

    def run(self, run_id: str) -> Run:
        """Return a run as it stands."""
        return Run.of(self._server.run(run_id))

    def runs(self, *, limit: int = 50, **filters: Any) -> list[Run]:
        """Return runs, newest first, without input and output; `filters` as in `GET /runs`."""
        return [Run.of(each) for each in self._server.runs(limit=limit, **filters)]

    def tasks(self, run_id: str) -> list[Task]:
        """Return a run's tasks, in the order of the definition."""
        return [Task.of(each) for each in self._server.tasks(run_id)]

    def watch(self, run_id: str, *, after: int = 0) -> Iterator[Event]:
        """Yield events with `seq > after` as they happen, until the run has ended.

        Each once and in order, whatever breaks in between.
        """
        return (Event.of(frame) for frame in self._server.watch(run_id, after))

    def wait(self, run_id: str) -> Run:
        """Wait for a run's end and return it with its output."""
        for _ in self._server.watch(run_id):
            pass
        return self.run(run_id)

    def cancel(self, run_id: str) -> Run:
        """Stop a run: nothing starts any more, what runs is told to stop."""
        return Run.of(self._server.cancel(run_id))

    def mark(
        self, run_id: str, node_id: str, state: str, *, output: Any = None,
        reason: str | None = None, map_index: int | None = None,
    ) -> Task:  # fmt: skip
        """Settle a task of a live run by hand: `succeeded` (with an output), `failed`, `skipped`.

        Whoever works on it has lost it, and what depends on it follows.
        """
        return Task.of(
            self._server.mark(
                run_id, node_id, state, output=output, reason=reason, map_index=map_index
            )
        )

    def pause(self, run_id: str) -> Run:
        """Let nothing new start; what runs goes on."""
        return Run.of(self._server.pause(run_id))

    def resume(self, run_id: str) -> Run:
        """Go on with a paused run."""
        return Run.of(self._server.resume(run_id))

    def retry(
        self, run_id: str, *, from_node: str | None = None,
        version: int | Literal["latest"] | None = None, input: Any = None,
    ) -> Run:  # fmt: skip
        """Start a new run that repeats what did not succeed, and all from `from_node` on.

        `version` is a number or "latest": what it changes runs again too, as does what reads
        another `input`. By default both are the run's own.
        """
        return Run.of(self._server.retry(run_id, from_node, version=version, input=input))

    def artifacts(self, run_id: str) -> list[Artifact]:
        """Return the files a run has left behind, outputs too large for the record among them."""
        return [Artifact.of(each) for each in self._server.artifacts(run_id)]

    def artifact(self, run_id: str, name: str) -> bytes:
        """Return what is in one of a run's files."""
        return self._server.artifact(run_id, name)


class NotInMemory(ZQError):
    """Only a server keeps users, keys, secrets and such; in memory there are workflows and runs."""

    code = "not_in_memory"


class _NoHttp:
    """Stands where a connection in memory has no session: every call is refused."""

    def __getattr__(self, name: str) -> Any:
        raise NotInMemory


class Connection(Nouns):
    """An open connection; close it, or use it in a `with`. One thread at a time.

    `engine` saves workflows and runs them, as typed values. The other nouns return the API's
    documents (`client.documents`), and need a server.
    """

    def __init__(self, server: Server, http: Http | None = None) -> None:
        super().__init__(http or cast("Http", _NoHttp()))
        self._server = server
        self.engine = Engine(server)

    def close(self) -> None:
        """Give back what it holds; what was in memory is gone."""
        self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def connect(
    server: str | None = None,
    key: str | None = None,
    *,
    memory: bool = False,
    pins: Mapping[str, Any] | None = None,
    patience_s: float = 30.0,
) -> Connection:
    """Connect to a server, found as the command line finds it, or to this process's memory.

    Without `server` and `key` the ZQ_ settings count, then who is signed in (`zq login`), then a
    `zq up` in $ZQ_HOME. No server:
    ServerUnreachable at once; later a request is repeated for `patience_s` while the server is
    away, and nothing is created twice. With `memory`
    the real handlers run here without any server, waits take no time, and `pins` are outputs by
    node id that stand in for their nodes' work (see `workers.testing`).
    """
    if memory:
        if server is not None or key is not None:
            raise TypeError("a server and a key have no meaning in memory")
        make = import_module(_IN_MEMORY).MemoryServer
        return Connection(cast("Server", make(pins=pins)))
    if pins is not None:
        raise TypeError("only connect(memory=True) takes pins: a server runs the real handlers")
    from orchestrator.client.discovery import connect as over_http

    client = over_http(server, key=key, patience_s=patience_s)
    client.ping()
    return Connection(client, client)
