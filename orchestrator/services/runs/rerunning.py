"""Running an ended run again as a new one, of its version or another, with its input or another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal
from uuid import UUID

from orchestrator.errors import IllegalMove, NotFound, ServiceUnavailable, ZQError
from orchestrator.models.definitions.plan import Plan
from orchestrator.models.ids import uuid7
from orchestrator.models.runs.large_output import renumbered
from orchestrator.models.runs.run import Run, Trigger
from orchestrator.ports.moves import Moved, NewRun
from orchestrator.ports.runtime import Artifacts, Clock
from orchestrator.ports.store import Store
from orchestrator.services.auditing import note_run
from orchestrator.services.runs.engine import WorkflowEngine
from orchestrator.services.runs.starting import fitting_input
from orchestrator.services.runs.taking_over import NodeVerdict, judge


@dataclass(frozen=True, slots=True, kw_only=True)
class RerunRequest:
    """What is asked for. Without a version and an input, the run's own."""

    from_node: str | None = None
    version: int | Literal["latest"] | None = None
    input: Any = None
    #: An Idempotency-Key and the digest of its request.
    key: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RerunCheck:
    """What a rerun would do. `newest` is None where the workflow is not kept any more."""

    version: int
    newest: int | None
    nodes: Sequence[NodeVerdict]

    @property
    def newer_version(self) -> int | None:
        """The workflow's newest version, where it is newer than the one that runs."""
        return self.newest if self.newest is not None and self.newest > self.version else None

    @property
    def kept(self) -> dict[int, int]:
        """The numbers of the tasks that are taken over, and what they were in the ended run."""
        return {
            each.task_no: each.origin_no
            for each in self.nodes
            if each.taken_over and each.origin_no is not None
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Rerun:
    """A run that was made from an ended one. `new`: this request made it."""

    run_id: UUID
    new: bool
    check: RerunCheck


class Rerunning:
    """Makes new runs of ended ones. Safe to share between threads."""

    def __init__(
        self,
        store: Store,
        engine: WorkflowEngine,
        clock: Clock,
        artifacts: Artifacts,
        *,
        input_bytes: int = 262_144,
    ) -> None:
        self._store = store
        self._engine = engine
        self._clock = clock
        self._artifacts = artifacts
        self._input_bytes = input_bytes

    def check(self, tenant_id: UUID, run_id: UUID, asked: RerunRequest) -> RerunCheck:
        """Say node by node what `rerun` would take over; raises what it would."""
        return self._decide(self._ended(tenant_id, run_id), asked)[0]

    def rerun(self, tenant_id: UUID, run_id: UUID, asked: RerunRequest) -> Rerun:
        """Start a new run of an ended one.

        What did not succeed runs again, and with `from_node` that node too, each with all that
        depends on it; so does what another version or another input changes. The rest is taken
        over with its outputs. NotFound for an unknown version, or a node it does not have;
        InvalidDefinition for an input that does not fit it; IllegalMove while the run has not
        ended, or where an output in a file is gone.
        """
        origin = self._ended(tenant_id, run_id)
        check, plan, value = self._decide(origin, asked)
        if value is not None:
            self._engine.quotas.admit_record(tenant_id)
        new = NewRun(
            id=uuid7(self._clock.now()),
            tenant_id=tenant_id,
            workflow_id=origin.workflow_id,
            version=check.version,
            trigger=Trigger.RETRY,
            input=value,
            tags=origin.tags,
            origin_run_id=run_id,
            room=self._engine.room(plan.queues),
        )
        kept = check.kept
        try:
            self._copy(new, plan, kept)
            earlier, moved = self._stored(new, kept, asked.key)
        except ServiceUnavailable:
            # It may have been stored all the same; without a run, retention takes the files.
            raise
        except ZQError:
            self._artifacts.discard(new.id)
            raise
        if moved is None:
            self._artifacts.discard(new.id)
            return Rerun(run_id=earlier, new=False, check=check)
        self._engine.announce(moved)
        if not self._engine.quotas.concurrent(tenant_id):
            self._engine.queue(new.id, [no for no in plan.roots if no not in kept])
        return Rerun(run_id=new.id, new=True, check=check)

    def _ended(self, tenant_id: UUID, run_id: UUID) -> Run:
        origin = self._engine.run(tenant_id, run_id)
        if not origin.state.ended:
            raise IllegalMove("only a run that has ended can be run again; cancel it first")
        return origin

    def _decide(self, origin: Run, asked: RerunRequest) -> tuple[RerunCheck, Plan, Any]:
        """Return the verdicts, the new run's plan, and its input: None for the ended run's own."""
        with self._store.begin() as unit:
            saved = unit.workflows.get_workflow(origin.tenant_id, origin.workflow_id)
        newest = saved.version if saved is not None else None
        wanted = newest if asked.version == "latest" else asked.version
        version = origin.version if wanted is None else wanted
        old = self._engine.plan(origin.workflow_id, origin.version)
        plan = self._engine.plan(origin.workflow_id, version)
        if asked.from_node is not None and asked.from_node not in plan.numbers:
            raise NotFound(f"version {version} has no node {asked.from_node[:64]!r}")
        value = None
        if version != origin.version or asked.input is not None:
            before = self._store.reads.input(origin.id)
            given = before if asked.input is None else asked.input
            value = fitting_input(plan.workflow, given, self._input_bytes)
            value = None if value == before else value
        verdicts = judge(
            old,
            plan if version != origin.version else old,
            self._store.reads.tasks(origin.id, limit=len(old.nodes)),
            from_node=asked.from_node,
            same_input=value is None,
        )
        return RerunCheck(version=version, newest=newest, nodes=verdicts), plan, value

    def _copy(self, new: NewRun, plan: Plan, kept: Mapping[int, int]) -> None:
        """Give the new run the files of the outputs it takes over, by its own tasks' numbers.

        Files first, the record after: what the record names is there, whatever breaks in between.
        """
        origin_id = new.origin_run_id or new.id
        large = self._store.reads.large_outputs(origin_id)
        for no, origin_no in kept.items():
            if origin_no not in large:
                continue
            name = large[origin_no]
            try:
                self._artifacts.copy(origin_id, name, new.id, renumbered(name, no))
            except NotFound:
                node_id = plan.node_of(no).node.id
                raise IllegalMove(
                    f"the output of {node_id} was large and is not kept any more;"
                    f" run the workflow again, or this run from {node_id}"
                ) from None

    def _stored(
        self, new: NewRun, kept: Mapping[int, int], key: tuple[str, str] | None
    ) -> tuple[UUID, Moved | None]:
        """Store a rerun; return the run's id, and the move unless the key was used before."""
        with self._store.begin() as unit:
            if key is not None:
                earlier = unit.keys.take(new.tenant_id, key[0], key[1], new.id)
                if earlier is not None:
                    return earlier, None
            room = self._engine.quotas.admit_run(unit.quotas, new.tenant_id, new.room)
            new = replace(new, room=room)
            moved = unit.store_rerun(new, kept)
            note_run(new)
        return new.id, moved
