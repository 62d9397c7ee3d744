"""Run a workflow in memory from a test: no servers, milliseconds, waits and retries take no time.

    from workers.testing import run_workflow

    def test_the_total_is_right():
        result = run_workflow("report.yaml", input={"day": "2026-01-01"},
                              pins={"fetch": {"status": 200, "headers": {}, "body": [1, 2]}})
        assert result.state == "succeeded"
        assert result.outputs["total"] == 3

The real handlers run, but for pinned nodes. As a fixture it needs no more than
`@pytest.fixture` over a function that returns `partial(run_workflow, "report.yaml")`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from orchestrator.client.building import Workflow
from orchestrator.client.seen import Event, Run, Task
from orchestrator.models import egress
from orchestrator.ports.live import Observer
from workers.in_memory.server import Document, MemoryServer
from workers.in_memory.worker import Pin, Watching, refuse_unknown

__all__ = ["Result", "run_workflow"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of a run: all of it, as a client would have seen it."""

    run: Run
    #: By node id.
    tasks: Mapping[str, Task]
    #: Every move and log line, in order.
    events: Sequence[Event]
    #: Files that nodes have stored, and outputs too large for the record, by name.
    artifacts: Mapping[str, bytes]

    @property
    def state(self) -> str:
        """How the run ended: `succeeded`, `failed`, `timed_out`."""
        return self.run.state

    @property
    def output(self) -> Any:
        """The run's output."""
        return self.run.output

    @property
    def states(self) -> dict[str, str]:
        """How each node ended, by its id."""
        return {node_id: task.state for node_id, task in self.tasks.items()}

    @property
    def outputs(self) -> dict[str, Any]:
        """The output of every node that succeeded, by its id."""
        return {id: task.output for id, task in self.tasks.items() if task.state == "succeeded"}

    @property
    def errors(self) -> dict[str, Mapping[str, Any]]:
        """Why nodes did not succeed, by id: `{"code", "message"}`."""
        return {node_id: task.error for node_id, task in self.tasks.items() if task.error}

    def logs(self, node_id: str | None = None) -> list[str]:
        """Return the log lines, of one node or of all."""
        lines = (e for e in self.events if e.kind == "log" and node_id in (None, e.node_id))
        return [line.message or "" for line in lines]


def run_workflow(
    workflow: Workflow | Mapping[str, Any] | str | PathLike[str],
    input: Mapping[str, Any] | None = None,
    *,
    pins: Mapping[str, Pin] | None = None,
    watching: Watching | None = None,
    observers: Sequence[Observer] = (),
    allow: str = "",
    secrets: Mapping[str, str] | None = None,
    variables: Mapping[str, Any] | None = None,
) -> Result:
    """Run a workflow to its end in this thread; a failed run is a Result too, no exception.

    `workflow` is one built in Python, a definition, its YAML or JSON text, or the path of a file
    of it. `pins`
    maps node ids to what stands in for their work: an output, an exception to fail with
    (`workers.functions.Fail` has a code), or a function of the node's filled config that returns
    or raises one; `allow` names what is not public and may be called all the same, as
    ZQ_EGRESS__ALLOW does; `secrets` and `variables` are what expressions read as `secrets.NAME`
    and `vars.NAME`. InvalidDefinition for a wrong definition, input, or pinned id.
    Deadlines of nodes are not enforced unless `watching` does; those of HTTP requests are.
    """
    definition = _definition(workflow)
    refuse_unknown(pins or {}, definition)
    server = MemoryServer(
        pins=pins, watching=watching, observers=observers, egress=egress.rules(allow),
        secrets=secrets, variables=variables,
    )  # fmt: skip
    saved = server.create(definition)
    run_id = server.start(saved["id"], input)["id"]
    events = [Event.of(frame) for frame in server.watch(run_id)]
    run, tasks = server.whole(run_id)
    return Result(
        run=Run.of(run),
        tasks={task["node_id"]: Task.of(task) for task in tasks},
        events=events,
        artifacts={
            each["name"]: server.artifact(run_id, each["name"]) for each in server.artifacts(run_id)
        },
    )


def _definition(workflow: Workflow | Mapping[str, Any] | str | PathLike[str]) -> Document:
    if isinstance(workflow, Workflow):
        return workflow.definition()
    if isinstance(workflow, Mapping):
        return dict(workflow)
    from orchestrator.services.definitions.reading import from_yaml, taken_status

    # No path has several lines, or begins as an object does.
    is_text = isinstance(workflow, str) and ("\n" in workflow or workflow.lstrip().startswith("{"))
    text = str(workflow) if is_text else Path(workflow).read_text(encoding="utf-8")
    return taken_status(from_yaml(text))[0]
