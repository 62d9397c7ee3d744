"""`settings.output`: whatever it computes, its run ends."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from orchestrator.adapters.memory.dispatch import MemoryDispatcher
from orchestrator.adapters.memory.runtime import MemoryArtifacts, SettableClock
from orchestrator.adapters.memory.store import MemoryStore
from orchestrator.errors import NotFound, ServiceUnavailable
from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.models.runs.run import Run
from orchestrator.models.runs.task import Failure, TaskError, Value
from orchestrator.ports.runtime import Artifact
from orchestrator.services.runs import large_outputs
from orchestrator.services.runs.engine import OUTPUT_LEASE_S, WorkflowEngine
from orchestrator.services.runs.output import MAX_TRIES
from orchestrator.services.runs.upkeep import Upkeep
from orchestrator.settings import Upkeep as UpkeepSettings
from orchestrator.settings import Worker
from tests.contract.player import OWNER
from tests.factories import new_id

SMALL = 100


class Flaky(MemoryArtifacts):
    """Artifacts that are away, or gone, when a test says so."""

    away = gone = False

    def get(self, run_id: UUID, name: str) -> tuple[Artifact, bytes]:
        if self.gone:
            raise NotFound(f"run {run_id} has no artifact {name}")
        if self.away:
            raise ServiceUnavailable("the object store is away")
        return super().get(run_id, name)


class Rig:
    """One run of a node `big`, whose outputs are large above 100 bytes, and what it returns."""

    def __init__(self, output: str) -> None:
        self.clock = clock = SettableClock()
        self.store = MemoryStore(clock)
        self.kept = Flaky()
        self.dispatcher = dispatcher = MemoryDispatcher()
        self.engine = WorkflowEngine(self.store, dispatcher, (), clock, self.kept)
        self.upkeep = Upkeep(self.store, self.engine, dispatcher, clock, UpkeepSettings(), Worker())
        nodes = [{"id": "big", "type": "noop"}]
        document = {"name": "w", "nodes": nodes, "edges": [], "settings": {"output": output}}
        self.run_id, _ = self.engine.execute(DEFAULT_TENANT, document)

    def end(self, output: Any = None) -> Run:
        """End the node with this output, as a worker does; return the run."""
        claim_id = new_id()
        moved = self.store.moves.claim_attempts(
            self.run_id, [(0, 1)], claim_id=claim_id, owner=OWNER
        )
        assert moved is not None
        value = large_outputs.fitting(
            self.kept, self.run_id, "output-0-1.json", "big", output, SMALL
        )
        plan = self.engine.plan(moved.workflow_id, moved.version)
        reported = self.engine.report(moved.claimed[0], Value(output=value), plan)
        assert reported is not None
        assert reported.accepted == (0,)
        return self.run()

    def run(self) -> Run:
        """Read the run."""
        return self.engine.run(DEFAULT_TENANT, self.run_id)


@pytest.mark.parametrize(
    "output",
    [r"'\u0000'", r"""parse_json('"\\ud800"')""", r"{'a\u0000': 1}", "inputs.nobody.told"],
    ids=["NUL", "half a pair", "a key", "an error"],
)
def test_a_value_that_no_database_keeps_fails_the_run_with_a_reason(output: str) -> None:
    run = Rig(output).end()
    assert run.state == "failed"
    assert run.error is not None
    assert run.error["message"].startswith("settings.output: ")
    assert run.error["code"] in {"bad_output", "expression_error"}


def test_a_large_output_is_read_as_its_node_made_it() -> None:
    rows = [{"n": i} for i in range(50)]
    run = Rig("[size(nodes.big.output.rows), nodes.big.output.rows[7].n]").end({"rows": rows})
    assert (run.state, run.output) == ("succeeded", [50, 7])


def test_a_computed_output_that_is_large_itself_is_named() -> None:
    rig = Rig("nodes.big.output")
    text = "x" * (1 << 20)
    run = rig.end({"text": text})
    assert run.state == "succeeded"
    assert list(run.output) == ["$artifact"]
    assert large_outputs.fetched(rig.kept, run.id, run.output) == {"text": text}


def test_an_artifact_that_is_gone_fails_the_run() -> None:
    rig = Rig("nodes.big.output.n")
    rig.kept.gone = True
    run = rig.end({"n": 5, "pad": "x" * SMALL})
    assert run.state == "failed"
    assert run.error is not None
    assert run.error["code"] == "not_found"


def test_a_run_whose_artifacts_are_away_is_settled_and_ends_later() -> None:
    rig = Rig("nodes.big.output.n")
    rig.kept.away = True
    assert rig.end({"n": 5, "pad": "x" * SMALL}).state == "running"
    assert rig.upkeep.round().settled_runs == 0
    for _ in range(2 * MAX_TRIES):
        rig.clock.advance(60)
        assert rig.upkeep.round().settled_runs == 0
    rig.kept.away = False
    rig.clock.advance(60)
    assert rig.upkeep.round().settled_runs == 1
    assert rig.run().output == 5


def test_a_run_whose_definition_cannot_be_read_any_more_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig("1")
    moved = rig.store.moves.claim_attempts(rig.run_id, [(0, 1)], claim_id=new_id(), owner=OWNER)
    assert moved is not None
    plan = rig.engine.plan(moved.workflow_id, moved.version)
    rig.engine = WorkflowEngine(rig.store, MemoryDispatcher(), (), SettableClock(), rig.kept)
    monkeypatch.setattr(rig.store.reads, "definition", lambda *_: None)
    rig.engine.report(moved.claimed[0], Value(output=1), plan)
    run = rig.run()
    assert run.state == "failed"
    assert run.error is not None
    assert run.error["code"] == "bad_plan"


def test_the_body_of_a_run_that_has_ended_only_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig("nodes.big.output")
    assert rig.end(1).state == "succeeded"
    calls: list[object] = []
    monkeypatch.setattr(rig.store.moves, "end_run", lambda *given: calls.append(given))
    monkeypatch.setattr(rig.store.reads, "outputs", lambda *given: calls.append(given))
    assert rig.engine.finish_run(rig.run_id) is None
    assert calls == []


def test_what_failed_is_the_runs_error_and_not_what_its_output_misses() -> None:
    rig = Rig("nodes.big.output.rows")
    claim_id = new_id()
    moved = rig.store.moves.claim_attempts(rig.run_id, [(0, 1)], claim_id=claim_id, owner=OWNER)
    assert moved is not None
    plan = rig.engine.plan(moved.workflow_id, moved.version)
    failure = Failure(
        error=TaskError(code="value_error", message="division by zero"), retryable=False
    )
    rig.engine.report(moved.claimed[0], failure, plan)
    run = rig.run()
    assert (run.state, run.output) == ("failed", None)
    assert run.error == {
        "code": "task_failed", "node_id": "big", "message": "big: division by zero",
    }  # fmt: skip


def not_at_work(rig: Rig) -> WorkflowEngine:
    """Return the engine of an API or a scheduler beside the rig's."""
    return WorkflowEngine(
        rig.store, rig.dispatcher, (), rig.clock, rig.kept, works=False,
    )  # fmt: skip


def test_who_is_no_worker_asks_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig("nodes.big.output")
    rig.engine = not_at_work(rig)
    assert rig.end(7).state == "running"
    asked = rig.dispatcher.fired
    # The chord's body, and the request.
    assert asked == [rig.run_id] * 2
    upkeep = Upkeep(rig.store, rig.engine, rig.dispatcher, rig.clock, UpkeepSettings(), Worker())
    assert upkeep.round().settled_runs == 0
    assert upkeep.round().settled_runs == 0
    # Not each second: a worker has some time for it.
    assert len(asked) == 3
    rig.clock.advance(UpkeepSettings().unclaimed_s + 1)
    upkeep.round()
    assert len(asked) == 4


def test_workers_that_end_over_it_end_the_run_at_last() -> None:
    rig = Rig("nodes.big.output")
    rig.engine = not_at_work(rig)
    rig.end(7)
    for number in range(1, MAX_TRIES + 1):
        assert rig.store.moves.take_output(rig.run_id, OUTPUT_LEASE_S) == number
        # Nobody else begins meanwhile.
        assert rig.store.moves.take_output(rig.run_id, OUTPUT_LEASE_S) is None
        rig.clock.advance(OUTPUT_LEASE_S + 1)
    worker = WorkflowEngine(rig.store, rig.dispatcher, (), rig.clock, rig.kept)
    worker.finish_run(rig.run_id)
    run = rig.run()
    assert run.state == "failed"
    assert run.error is not None
    assert run.error["code"] == "worker_lost"
