"""The rules of quotas: what is believed how long, and what follows a move."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from orchestrator.adapters.memory.dispatch import MemoryDispatcher
from orchestrator.adapters.memory.runtime import MemoryArtifacts
from orchestrator.bootstrap.memory import SkippingClock
from orchestrator.errors import HandlerError, QuotaExceeded, StoreUnavailable
from orchestrator.models.access.permissions import ADMIN
from orchestrator.models.ids import DEFAULT_TENANT, uuid7
from orchestrator.models.quota import EVERYBODY, Quota
from orchestrator.models.runs.task import Value
from orchestrator.ports.acting import Acting, acting_as
from orchestrator.ports.moves import Owner, Take
from orchestrator.services.artifacts import CountedArtifacts
from orchestrator.services.quotas import Quotas
from orchestrator.services.runs.engine import WorkflowEngine
from orchestrator.services.runs.rerunning import Rerunning, RerunRequest
from orchestrator.services.runs.upkeep import Upkeep
from orchestrator.settings import Upkeep as UpkeepSettings
from orchestrator.settings import Worker
from tests.contract.player import Player
from tests.factories import chain, new_id
from tests.servers import Servers

OWNER = Owner(worker_id=uuid4(), pid=1)
TAKE = Take(owner=OWNER, queues=("default",), limit=25)


class Rig:
    """An engine whose tenants have quotas."""

    def __init__(self, servers: Servers, **defaults: int) -> None:
        self.servers = servers
        self.clock = SkippingClock()
        self.store = servers.store
        self.dispatcher = MemoryDispatcher()
        known = {Quota(name): value for name, value in defaults.items()}
        self.quotas = Quotas(self.store, known, self.clock)
        self.engine = WorkflowEngine(
            self.store, self.dispatcher, (), self.clock, MemoryArtifacts(), quotas=self.quotas
        )
        self.upkeep = Upkeep(
            self.store, self.engine, self.dispatcher, self.clock, UpkeepSettings(), Worker()
        )

    def start(self, width: int, depth: int = 1) -> UUID:
        """Start a run of `width` chains of `depth` tasks."""
        nodes = [{"id": f"n{i}_{j}", "type": "noop"} for i in range(width) for j in range(depth)]
        edges = [
            {"source": f"n{i}_{j}", "target": f"n{i}_{j + 1}"}
            for i in range(width)
            for j in range(depth - 1)
        ]
        document = {"name": "many", "nodes": nodes, "edges": edges}
        run_id, _ = self.engine.execute(DEFAULT_TENANT, document)
        return run_id

    def states(self, run_id: UUID) -> Mapping[str, int]:
        """Count the tasks of a run by state."""
        found: dict[str, int] = {}
        for task in self.store.reads.tasks(run_id, limit=1000):
            found[task.state] = found.get(task.state, 0) + 1
        return found

    def tenant(self) -> UUID:
        """Make another tenant."""
        made = new_id()
        self.servers.run("INSERT INTO tenants (id, name) VALUES (%s, %s)", made, f"t-{made}")
        return made

    def held(self) -> int:
        """Count what the tenant holds."""
        return self.quotas.held(DEFAULT_TENANT)


def test_a_value_is_believed_for_15_s(servers: Servers) -> None:
    rig = Rig(servers)
    assert rig.quotas.limit(DEFAULT_TENANT, Quota.WORKFLOWS) == 0
    # Behind its back, as another process does.
    rig.store.quotas.change(DEFAULT_TENANT, {Quota.WORKFLOWS: 3})
    rig.clock.skip(14)
    assert rig.quotas.limit(DEFAULT_TENANT, Quota.WORKFLOWS) == 0
    rig.clock.skip(1)
    assert rig.quotas.limit(DEFAULT_TENANT, Quota.WORKFLOWS) == 3


def test_a_default_holds_for_whoever_has_no_value(servers: Servers) -> None:
    rig = Rig(servers, workflows=2, concurrent_tasks=4)
    free = rig.tenant()
    rig.quotas.change(free, {Quota.CONCURRENT_TASKS: 0})
    assert rig.quotas.concurrent(DEFAULT_TENANT) == 4
    assert rig.quotas.concurrent(free) == 0
    others = rig.quotas.others()
    assert others.has(free)
    assert not others.has(DEFAULT_TENANT)


def test_without_any_quota_nothing_is_asked(servers: Servers) -> None:
    rig = Rig(servers)
    assert rig.quotas.others() is EVERYBODY
    assert rig.quotas.within(uuid4(), 7, TAKE) == (7, TAKE)


def test_what_one_tenant_sees_is_not_kept_for_another(servers: Servers) -> None:
    rig = Rig(servers)
    one, two = rig.tenant(), rig.tenant()
    rig.store.quotas.change(one, {Quota.CONCURRENT_TASKS: 1})
    for tenant_id, wanted in ((one, 1), (two, 0)):
        with acting_as(Acting(principal=replace(ADMIN, tenant_id=tenant_id))):
            assert rig.quotas.concurrent(tenant_id) == wanted


def test_a_run_is_played_within_its_quota(servers: Servers) -> None:
    rig = Rig(servers, concurrent_tasks=3)
    run_id = rig.start(10, depth=2)
    most = 0
    while work := rig.dispatcher.drain():
        for release in work:
            claim_id = uuid4()
            moved = rig.store.moves.claim_attempts(
                run_id, [(release.task_no, release.attempt)], claim_id=claim_id, owner=OWNER
            )
            assert moved is not None
            claims = rig.engine.claimed(moved).claimed
            while claims:
                most = max(most, rig.held())
                plan = rig.engine.plan(moved.workflow_id, moved.version)
                outcomes = [(claim, Value(output={})) for claim in claims]
                settled = rig.engine.report_all(outcomes, plan, take=TAKE)
                assert settled is not None
                claims = settled.claimed
                most = max(most, rig.held())
    assert rig.states(run_id) == {"succeeded": 20}
    assert most == 3


def test_whoever_takes_in_place_takes_one_for_one(servers: Servers) -> None:
    rig = Rig(servers, concurrent_tasks=3)
    run_id = rig.start(1, depth=2)
    assert rig.quotas.within(run_id, 100, TAKE) == (0, replace(TAKE, limit=1))
    assert rig.quotas.within(run_id, 100, replace(TAKE, limit=0)) == (0, replace(TAKE, limit=0))
    assert rig.quotas.within(run_id, 100, None) == (0, None)
    assert rig.quotas.within(uuid4(), 100, TAKE) == (100, TAKE)


def test_over_a_lowered_quota_nothing_is_taken_in_place(servers: Servers) -> None:
    rig = Rig(servers)
    run_id = rig.start(6)
    assert rig.held() == 6
    rig.quotas.change(DEFAULT_TENANT, {Quota.CONCURRENT_TASKS: 2})
    other = rig.start(1)
    assert rig.states(other) == {"ready": 1}
    assert rig.quotas.within(run_id, 100, TAKE) == (0, replace(TAKE, limit=0))


def test_upkeep_queues_what_a_crash_left_behind(servers: Servers) -> None:
    rig = Rig(servers, concurrent_tasks=2)
    player = Player(rig.store, chain(1), room=0)
    assert rig.held() == 0
    assert rig.upkeep.round().released == 1
    assert player.states() == {"n0": "queued"}
    assert rig.upkeep.round().released == 0


def test_a_tenant_within_its_quota_is_no_part_of_the_common_backlog(servers: Servers) -> None:
    rig = Rig(servers, concurrent_tasks=1)
    rig.start(3)
    assert rig.engine.refill("default") == 0
    assert rig.held() == 1


def test_without_the_record_a_move_is_followed_by_nothing(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(servers, concurrent_tasks=1)

    def away(*_: object) -> None:
        raise StoreUnavailable

    monkeypatch.setattr(rig.store.quotas, "queue_within", away)
    run_id = rig.start(2)
    assert rig.states(run_id) == {"ready": 2}
    monkeypatch.undo()
    assert rig.upkeep.round().released == 1


def test_a_minute_is_counted_from_the_oldest_run(servers: Servers) -> None:
    rig = Rig(servers, runs_per_minute=2)
    rig.start(1)
    rig.clock.skip(40)
    rig.start(1)
    with pytest.raises(QuotaExceeded) as refused:
        rig.start(1)
    assert refused.value.extra["retry_after_s"] == 20
    rig.clock.skip(20.5)
    rig.start(1)
    with pytest.raises(QuotaExceeded):
        rig.start(1)


class Full(MemoryArtifacts):
    """A place where nothing can be put."""

    def put(self, *_: object, **__: object) -> None:  # type: ignore[override]
        raise HandlerError("bad_artifact_name", "no")


def test_artifacts_count_until_they_are_gone(servers: Servers) -> None:
    rig = Rig(servers, storage_bytes=10)
    inner = MemoryArtifacts()
    kept = CountedArtifacts(inner, rig.store.reads, rig.quotas)
    run_id = rig.start(1)

    def used() -> int:
        return rig.store.quotas.used(DEFAULT_TENANT, rig.clock.now())[Quota.STORAGE_BYTES]

    kept.put(run_id, "a", b"12345", "text/plain", "n")
    kept.put(run_id, "b", b"12345", "text/plain", "n")
    with pytest.raises(QuotaExceeded):
        kept.put(run_id, "c", b"1", "text/plain", "n")
    assert [a.name for a in kept.list(run_id)] == ["a", "b"]
    # The same name again counts only what it is more, or less.
    kept.put(run_id, "a", b"1", "text/plain", "n")
    assert used() == 6
    kept.put(run_id, "c", b"1234", "text/plain", "n")
    assert used() == 10
    # What nobody's run left behind is nobody's.
    kept.put(uuid7(rig.clock.now()), "x", b"12345", "text/plain", "n")
    assert used() == 10
    assert kept.prune(rig.clock.now() + timedelta(days=3650)) == 2
    assert used() == 0


def test_a_copy_counts_for_the_same_tenant_and_a_discarded_one_no_more(servers: Servers) -> None:
    rig = Rig(servers, storage_bytes=10)
    kept = CountedArtifacts(MemoryArtifacts(), rig.store.reads, rig.quotas)
    run_id, coming, other = rig.start(1), uuid7(rig.clock.now()), uuid7(rig.clock.now())

    def used() -> int:
        return rig.store.quotas.used(DEFAULT_TENANT, rig.clock.now())[Quota.STORAGE_BYTES]

    kept.put(run_id, "a", b"12345", "text/plain", "n")
    kept.copy(run_id, "a", coming)
    kept.copy(run_id, "a", coming)
    assert used() == 10
    with pytest.raises(QuotaExceeded):
        kept.copy(run_id, "a", other)
    assert kept.list(other) == []
    kept.discard(coming)
    kept.discard(other)
    assert used() == 5
    # What nobody's run left behind is nobody's.
    kept.put(other, "x", b"1", "text/plain", "n")
    kept.copy(other, "x", coming)
    kept.discard(coming)
    assert used() == 5


def test_what_could_not_be_stored_is_not_counted(servers: Servers) -> None:
    rig = Rig(servers)
    kept = CountedArtifacts(Full(), rig.store.reads, rig.quotas)
    run_id = rig.start(1)
    with pytest.raises(HandlerError):
        kept.put(run_id, "a", b"12345", "text/plain", "n")
    used = rig.store.quotas.used(DEFAULT_TENANT, rig.clock.now())
    assert used[Quota.STORAGE_BYTES] == 0


def test_bytes_of_the_record_are_counted_and_bound_what_is_new(servers: Servers) -> None:
    rig = Rig(servers, record_bytes=4000)

    def used() -> int:
        rig.engine.quotas.note_record()
        return rig.store.quotas.used(DEFAULT_TENANT, rig.clock.now())[Quota.RECORD_BYTES]

    run_id = rig.start(1)
    began = used()
    assert began > 0
    moved = rig.store.moves.claim_attempts(run_id, [(0, 1)], claim_id=uuid4(), owner=OWNER)
    assert moved is not None
    plan = rig.engine.plan(moved.workflow_id, moved.version)
    rig.engine.report(moved.claimed[0], Value(output="x" * 3900), plan)
    assert used() - began == 3902
    with pytest.raises(QuotaExceeded, match="4,000 bytes of inputs"):
        rig.start(1)
    again = Rerunning(rig.store, rig.engine, rig.clock, MemoryArtifacts())
    with pytest.raises(QuotaExceeded, match="4,000 bytes of inputs"):
        again.rerun(DEFAULT_TENANT, run_id, RerunRequest(input={"another": 1}))
    rig.engine.quotas.change(DEFAULT_TENANT, {Quota.RECORD_BYTES: 0})
    rig.start(1)


def test_bytes_wait_for_a_record_that_is_away(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(servers)
    quotas = rig.engine.quotas

    def away(*_: object) -> int:
        raise StoreUnavailable

    quotas.count_record(DEFAULT_TENANT, 100)
    with monkeypatch.context() as patched:
        patched.setattr(rig.store.quotas, "add_record_bytes", away)
        quotas.note_record()
    quotas.count_record(DEFAULT_TENANT, 10)
    quotas.note_record()
    used = rig.store.quotas.used(DEFAULT_TENANT, rig.clock.now())
    assert used[Quota.RECORD_BYTES] == 110
