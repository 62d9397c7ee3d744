"""The document of a run and of a task: one form that all who show them have."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime, timedelta

from orchestrator.client import seen
from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.models.runs.run import Run, RunState, Trigger
from orchestrator.models.runs.task import Task, TaskState
from tests.factories import new_id
from web.schemas.runs import RunRow, RunSchema, TaskSchema

AT = datetime(2026, 1, 1, tzinfo=UTC)
LATER = AT + timedelta(seconds=1.5)
RUN = Run(
    id=new_id(), tenant_id=DEFAULT_TENANT, workflow_id=new_id(), workflow_name="report", version=3,
    state=RunState.FAILED, trigger=Trigger.MANUAL, tags=("a", "b"), input={"n": 1}, output=[1, 2],
    error={"code": "boom"}, origin_run_id=new_id(), created_at=AT, started_at=AT,
    finished_at=LATER, counts={"failed": 1}, seq=9,
)  # fmt: skip
TASK = Task(
    run_id=RUN.id, task_no=0, node_id="a", map_index=None, type="noop", state=TaskState.RETRYING,
    reason=None, attempt=1, max_attempts=2, queued_at=AT, started_at=AT, finished_at=None,
    due_at=LATER, worker="w", output=None, error={"code": "boom"}, waits_for=0,
)  # fmt: skip


def test_documents_have_the_fields_that_the_api_describes() -> None:
    assert RUN.document().keys() == RunSchema().fields.keys() == RunSchema().dump(RUN).keys()
    assert RUN.document(large=False).keys() == RunRow().fields.keys() == RunRow().dump(RUN).keys()
    assert TASK.document().keys() == TaskSchema().fields.keys() == TaskSchema().dump(TASK).keys()


def test_a_client_reads_every_field_back() -> None:
    run = seen.Run.of(RUN.document())
    same = {f.name for f in fields(run)} - {"id", "workflow_id", "origin_run_id"}
    assert {n: getattr(run, n) for n in same} == {n: getattr(RUN, n) for n in same}
    assert (run.id, run.origin_run_id) == (str(RUN.id), str(RUN.origin_run_id))
    assert run.duration_ms == 1500
    task = seen.Task.of(TASK.document())
    same = {f.name for f in fields(task)} - {"run_id"}
    assert {n: getattr(task, n) for n in same} == {n: getattr(TASK, n) for n in same}


def test_what_an_older_server_does_not_tell_keeps_its_default() -> None:
    names = ("id", "workflow_id", "version", "state", "trigger", "created_at")
    run = seen.Run.of({name: RUN.document()[name] for name in names})
    assert (run.tags, run.counts, run.seq, run.workflow_name, run.output) == ((), {}, 0, "", None)


def test_a_task_says_what_holds_it_back() -> None:
    assert TASK.waiting_for == {"until": "2026-01-01T00:00:01.500Z"}
