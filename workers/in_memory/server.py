"""A server without servers: the calls of `client.http.Client`, answered in this process.

Documents have the fields of the HTTP API. A run goes on while somebody watches it; the real
handlers do its work, on this machine and with this process's rights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal
from uuid import UUID

import orjson

from orchestrator.bootstrap.memory import build_in_memory
from orchestrator.errors import BadRequest, NotFound, ZQError
from orchestrator.models.definitions.saved import SavedWorkflow, Version
from orchestrator.models.egress import Egress
from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.models.plain_json import BadValue, plain
from orchestrator.models.runs.event import moment
from orchestrator.models.runs.large_output import file_of
from orchestrator.models.runs.run import ASKED_TRIGGERS, RunState, StartRequest, Trigger
from orchestrator.models.runs.task import MARKS, TaskState
from orchestrator.ports.live import Observer
from orchestrator.ports.reads import RunFilter
from orchestrator.services.runs.rerunning import RerunRequest
from workers.in_memory.worker import MemoryWorker, Pin, Watching

Document = dict[str, Any]
_MANY = 1_000_000


class Stuck(ZQError):
    """The run waits for something that nobody does in memory; resume, cancel or signal it."""

    code = "stuck"


class MemoryServer:
    """Workflows and runs of one process. `pins` stand in for nodes' work (`worker.Pin`)."""

    def __init__(
        self,
        *,
        pins: Mapping[str, Pin] | None = None,
        watching: Watching | None = None,
        observers: Sequence[Observer] = (),
        egress: Egress = Egress(),  # noqa: B008
        secrets: Mapping[str, str] | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> None:
        self._core = build_in_memory(observers)
        self._worker = MemoryWorker(
            self._core, pins, watching, egress, secrets=secrets, variables=variables
        )
        self._tenant = DEFAULT_TENANT

    def close(self) -> None:
        """Nothing is held but memory."""

    # --- workflows ------------------------------------------------------------------------------

    def find(self, name: str) -> Document | None:
        """Return the live workflow of exactly this name."""
        saved = self._core.workflows.named(self._tenant, name)
        return _workflow(saved) if saved else None

    def create(self, definition: Mapping[str, Any]) -> Document:
        """Save a new workflow; InvalidDefinition, NameTaken."""
        return _workflow(*self._core.workflows.create(self._tenant, definition))

    def change(self, workflow_id: str, definition: Mapping[str, Any]) -> Document:
        """Save the next version; an equal definition makes none."""
        found = self._core.workflows.change(self._tenant, _id(workflow_id), definition)
        return _workflow(*found)

    # --- runs -----------------------------------------------------------------------------------

    def start(
        self,
        workflow: str,
        input: Mapping[str, Any] | None = None,
        *,
        tags: Sequence[str] = (),
        trigger: str = Trigger.API,
    ) -> Document:
        """Store a run of a workflow, by name or id; it begins when it is watched."""
        saved, _ = self._core.workflows.find(self._tenant, workflow)
        if trigger not in ASKED_TRIGGERS:
            raise BadRequest(f"a run's trigger is one of {', '.join(ASKED_TRIGGERS)}")
        asked = StartRequest(input=dict(input or {}), tags=tags, trigger=Trigger(trigger))
        run_id, _ = self._core.engine.start(self._tenant, saved.id, asked)
        return self.run(str(run_id))

    def run(self, run_id: str) -> Document:
        """Return one run as it stands; NotFound."""
        return self._core.engine.run(self._tenant, _id(run_id)).document()

    def runs(self, *, limit: int | None = None, **filters: Any) -> list[Document]:
        """Return runs, newest first; filters are `workflow_id`, `state`, `trigger`, `tags`."""
        states = filters.get("state", ())
        wanted = RunFilter(
            tenant_id=self._tenant,
            workflow_id=_id(filters["workflow_id"]) if "workflow_id" in filters else None,
            states=tuple(RunState(s) for s in ([states] if isinstance(states, str) else states)),
            trigger=Trigger(filters["trigger"]) if "trigger" in filters else None,
            tags=tuple(filters.get("tags", ())),
            limit=limit or _MANY,
        )
        return [each.document() for each in self._core.store.reads.runs(wanted)]

    def tasks(self, run_id: str) -> list[Document]:
        """Return every task of a run."""
        self.run(run_id)
        return [each.document() for each in self._core.store.reads.tasks(_id(run_id), limit=_MANY)]

    def watch(self, run_id: str, after: int = 0) -> Iterator[Document]:
        """Work on the run and yield its events until it has ended.

        Stuck when it has not ended and nothing is left that moves by itself.
        """
        number = _id(run_id)
        while True:
            ended = self._core.engine.run(self._tenant, number).state.ended
            for event in self._core.store.reads.events(number, after=after, limit=_MANY):
                after = event.seq
                yield event.frame()
            if ended:
                return
            if not self._worker.step():
                run = self._core.engine.run(self._tenant, number)
                if not run.state.ended:
                    raise Stuck(f"the run is {run.state} and nothing in it moves by itself")

    def cancel(self, run_id: str) -> Document:
        """Stop a run."""
        return self._core.steering.cancel(self._tenant, _id(run_id)).document()

    def mark(
        self, run_id: str, node_id: str, state: str, *, output: Any = None,
        reason: str | None = None, map_index: int | None = None,
    ) -> Document:  # fmt: skip
        """Settle a task of a live run by hand."""
        try:
            value = plain(output)
        except BadValue as bad:
            raise BadRequest(f"the output: {bad}") from None
        if state not in MARKS or (state != TaskState.SUCCEEDED and value is not None):
            raise BadRequest("a task is marked succeeded (with an output), failed or skipped")
        done = self._core.steering.mark(
            self._tenant, _id(run_id), node_id, TaskState(state),
            map_index=map_index, output=value, reason=reason,
        )  # fmt: skip
        return done.document()

    def pause(self, run_id: str) -> Document:
        """Let nothing new start."""
        return self._core.steering.pause(self._tenant, _id(run_id)).document()

    def resume(self, run_id: str) -> Document:
        """Go on with a paused run."""
        return self._core.steering.resume(self._tenant, _id(run_id)).document()

    def retry(
        self, run_id: str, from_node: str | None = None, *,
        version: int | Literal["latest"] | None = None, input: Any = None,
    ) -> Document:  # fmt: skip
        """Run an ended run again as a new one."""
        asked = RerunRequest(from_node=from_node, version=version, input=input)
        made = self._core.rerunning.rerun(self._tenant, _id(run_id), asked)
        more = {"newer_version": made.check.newer_version, "taken_over": len(made.check.kept)}
        return {**self.run(str(made.run_id)), **more}

    # --- what is left behind --------------------------------------------------------------------

    def artifacts(self, run_id: str) -> list[Document]:
        """Return the files a run has stored."""
        self.run(run_id)
        return [asdict(each) for each in self._core.artifacts.list(_id(run_id))]

    def artifact(self, run_id: str, name: str) -> bytes:
        """Return one of them; NotFound."""
        self.run(run_id)
        return self._core.artifacts.get(_id(run_id), name)[1]

    def whole(self, run_id: str) -> tuple[Document, list[Document]]:
        """Return a run and its tasks with their outputs, also with those kept in files."""
        run, tasks, number = self.run(run_id), self.tasks(run_id), _id(run_id)
        leaves = run["output"] if isinstance(run["output"], dict) else {}
        for task in tasks:
            name, node_id = file_of(number, task["output"]), task["node_id"]
            if name is None:
                continue
            value = orjson.loads(self.artifact(run_id, name))
            if leaves.get(node_id) == task["output"]:
                leaves[node_id] = value
            task["output"] = value
        return run, tasks


def _id(text: str) -> UUID:
    try:
        return UUID(str(text))
    except ValueError:
        raise NotFound(f"{str(text)[:100]!r} is no id") from None


def _workflow(saved: SavedWorkflow, version: Version | None = None) -> Document:
    return {
        "id": str(saved.id),
        "name": saved.name,
        "description": saved.description,
        "status": str(saved.status),
        "created_at": moment(saved.created_at),
        "updated_at": moment(saved.updated_at),
        **(version.definition if version else {}),
        "version": saved.version,
    }
