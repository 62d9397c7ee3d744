"""The audit log: the same chain on memory and on Postgres, and no hand on it goes unseen."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from orchestrator.models.access.permissions import ADMIN, Principal, PrincipalKind
from orchestrator.models.audit import ORIGIN, AuditEntry, Happening, Head, chained, digest_of
from orchestrator.models.runs.run import RunState
from orchestrator.ports.acting import Acting, acting_as, note
from orchestrator.ports.audit import AuditFilter
from orchestrator.services.auditing import Auditing, Verdict
from tests.contract.player import Player
from tests.contract.rigs import PostgresRig
from tests.factories import chain, new_id, saved

NASTY = "eve\0\ud800" + "x" * 600


def happening(tenant_id: UUID, action: str = "runs.cancel_run", **more: Any) -> Happening:
    told: dict[str, Any] = {
        "principal_id": new_id(), "principal_kind": "user", "principal": "eve",
        "resource": "run", "resource_id": "r1", "before": digest_of(1), "after": digest_of(2),
        "detail": "why", "address": "192.0.2.7", "request_id": "q1", **more,
    }  # fmt: skip
    return Happening(tenant_id=tenant_id, action=action, **told)


def filled(rig: PostgresRig, count: int = 5) -> UUID:
    """Return a tenant with some entries."""
    tenant_id = rig.tenant()
    for no in range(count):
        rig.store.audit.add(happening(tenant_id, resource_id=f"r{no}"))
    return tenant_id


def entries(rig: PostgresRig, tenant_id: UUID, **more: Any) -> list[AuditEntry]:
    wanted = AuditFilter(tenant_id=tenant_id, **{"after": 0, "limit": 1000, **more})
    return list(rig.store.audit.list(wanted))


def verdict(rig: PostgresRig, tenant_id: UUID, anchor: Head | None = None) -> Verdict:
    return Auditing(rig.store.audit).verify(tenant_id, anchor)


def someone(tenant_id: UUID, **more: Any) -> Principal:
    return replace(ADMIN, **{"id": new_id(), "tenant_id": tenant_id, **more})


def test_entries_are_numbered_and_chained(rig: PostgresRig) -> None:
    tenant_id, before = filled(rig, 3), rig.now() - timedelta(seconds=1)
    found = entries(rig, tenant_id)
    assert [e.no for e in found] == [1, 2, 3]
    digest = ORIGIN
    for entry in found:
        assert entry.digest == chained(digest, entry)
        assert before < entry.at <= rig.now()
        assert entry.at.microsecond % 1000 == 0
        digest = entry.digest
    assert rig.store.audit.head(tenant_id) == Head(no=3, digest=digest)
    good = verdict(rig, tenant_id)
    assert (good.valid, good.entries, good.head) == (True, 3, Head(no=3, digest=digest))
    assert verdict(rig, tenant_id, Head(no=2, digest=found[1].digest)).valid
    assert tenant_id in rig.store.audit.tenants()


def test_a_chain_of_nothing_is_whole(rig: PostgresRig) -> None:
    tenant_id = rig.tenant()
    assert verdict(rig, tenant_id) == Verdict(entries=0)
    assert rig.store.audit.head(tenant_id) is None
    assert tenant_id not in rig.store.audit.tenants()


def test_whatever_a_request_sends_is_recorded_in_some_way(rig: PostgresRig) -> None:
    tenant_id = rig.tenant()
    texts = ("principal", "resource", "resource_id", "detail", "address", "request_id")
    rig.store.audit.add(happening(tenant_id, NASTY, **dict.fromkeys(texts, NASTY)))
    rig.store.audit.add(happening(tenant_id, "", **dict.fromkeys(texts, "")))
    odd = "1:a,\n-,2:é日本\U0001f600'\"\\ \x01\x7f"
    more = {"principal_id": None, "before": None, "after": None}
    rig.store.audit.add(happening(tenant_id, odd, **{**dict.fromkeys(texts, odd), **more}))
    cut, empty, kept = entries(rig, tenant_id)
    assert {getattr(cut, name) for name in texts} == {"eve\ufffd?" + "x" * 495}
    assert {getattr(empty, name) for name in texts} == {""}
    assert {getattr(kept, name) for name in texts} == {odd}
    with acting_as(Acting(principal=someone(tenant_id, name=NASTY), action="x", request_id=NASTY)):
        with rig.store.begin() as work:
            work.workflows.add_workflow(saved(tenant_id=tenant_id), {}, chain(1))
            note("workflow", NASTY)
    assert entries(rig, tenant_id)[3].resource_id == "eve\ufffd?" + "x" * 495
    assert verdict(rig, tenant_id).entries == 4


def test_entries_are_found_by_what_they_hold(rig: PostgresRig) -> None:
    tenant_id, other, eve = rig.tenant(), filled(rig), new_id()
    log = rig.store.audit
    log.add(happening(tenant_id, "a.one", principal_id=eve, resource="workflow"))
    rig.pass_time(60)
    log.add(happening(tenant_id, "a.two", principal="ada", resource_id="r2"))
    log.add(happening(tenant_id, "a.one", principal_id=None, principal="nobody"))
    first, second, third = entries(rig, tenant_id)

    def nos(**more: Any) -> list[int]:
        return [e.no for e in log.list(AuditFilter(tenant_id=tenant_id, **more))]

    assert nos() == [3, 2, 1]
    assert nos(after=0) == [1, 2, 3]
    assert nos(after=1, limit=1) == [2]
    assert nos(before=3, limit=1) == [2]
    assert nos(action="a.one") == [3, 1]
    assert nos(principal=str(eve)) == [1]
    assert nos(principal="ada") == [2]
    assert nos(principal="None") == []
    assert nos(resource="workflow") == [1]
    assert nos(resource_id="r2", action="a.two") == [2]
    assert nos(resource_id="r2", action="a.one") == []
    assert nos(since=third.at, after=1) == [
        n for n, e in ((2, second), (3, third)) if e.at >= third.at
    ]
    assert 1 not in nos(since=first.at + timedelta(milliseconds=1)) or first.at == second.at
    assert nos(until=first.at) == []
    assert nos(since=first.at, until=first.at + timedelta(days=1)) == [3, 2, 1]
    assert len(entries(rig, other)) == 5


def test_an_export_is_every_entry_in_order(
    rig: PostgresRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.services.auditing.PAGE", 2)
    tenant_id = filled(rig, 5)
    pages = list(Auditing(rig.store.audit).pages(AuditFilter(tenant_id=tenant_id)))
    assert [[e.no for e in page] for page in pages] == [[1, 2], [3, 4], [5]]
    assert verdict(rig, tenant_id).entries == 5


def acts(rig: PostgresRig, tenant_id: UUID, action: str | None) -> Any:
    return acting_as(Acting(principal=someone(tenant_id), action=action))


def test_what_a_transaction_changes_is_recorded_with_it_or_not_at_all(rig: PostgresRig) -> None:
    tenant_id = rig.tenant()

    def change(*noted: str, fails: bool = False) -> None:
        with rig.store.begin() as work:
            work.workflows.add_workflow(saved(tenant_id=tenant_id), {}, chain(1))
            for one in noted:
                note("workflow", one, after="b" * 64)
            if fails:
                raise ZeroDivisionError

    with acts(rig, tenant_id, "a.write"):
        change("w1", "w2", "w1")
        change()
        with pytest.raises(ZeroDivisionError):
            change("never", fails=True)
        change("w3")
        with rig.store.begin() as work:
            work.workflows.list(tenant_id, before=None, limit=5, query=None)
    with acts(rig, tenant_id, None):
        change("by a reader")
    change("by the engine")
    told = [(e.action, e.resource, e.resource_id) for e in entries(rig, tenant_id)]
    assert told == [
        ("a.write", "workflow", "w2"), ("a.write", "workflow", "w1"), ("a.write", "", ""),
        ("a.write", "workflow", "w3"),
    ]  # fmt: skip


def test_moves_of_a_run_say_from_where_to_where(rig: PostgresRig) -> None:
    play = Player(rig.store, chain(2), tenant_id=rig.tenant())
    tenant_id, run_id = play.tenant_id, play.run_id
    play.claim("n0")
    with acts(rig, tenant_id, "a.move"):
        assert rig.store.moves.steer_run(run_id, RunState.RUNNING, RunState.PAUSED) is not None
        again = rig.store.moves.steer_run(run_id, RunState.RUNNING, RunState.PAUSED)
        assert again is None or not again.events
        assert rig.store.moves.steer_run(run_id, RunState.PAUSED, RunState.RUNNING) is not None
        assert play.cancel() is not None
        again = play.cancel()
    assert again is None or not again.events
    with acts(rig, rig.tenant(), None):
        play.cancel()
    states = [("running", "paused"), ("paused", "running"), ("running", "cancelling")]
    assert [(e.resource, e.resource_id, e.before, e.after) for e in entries(rig, tenant_id)] == [
        ("run", str(run_id), digest_of({"state": a}), digest_of({"state": b})) for a, b in states
    ]


def test_a_sign_in_that_names_nobody_keeps_no_name(rig: PostgresRig) -> None:
    tenant_id, auditing = rig.tenant(), Auditing(rig.store.audit)
    auditing.happened(tenant_id, "eve@example.org", "auth.sign_in_failed", "192.0.2.7", "q")
    one = someone(tenant_id, name="ada", kind=PrincipalKind.USER)
    auditing.happened(None, one, "auth.sign_in", detail="why", resource_id=one.id)
    known, signed = entries(rig, tenant_id)
    assert (known.principal, known.principal_kind, known.principal_id) == (
        "eve@example.org", "unknown", None,
    )  # fmt: skip
    assert (signed.principal, signed.principal_kind, signed.principal_id) == ("ada", "user", one.id)
    auditing.happened(None, " My-Password1 ", "auth.sign_in_failed", "192.0.2.7")
    home = ADMIN.tenant_id
    (last,) = rig.store.audit.list(AuditFilter(tenant_id=home, limit=1))
    assert last.principal == f"sha256:{digest_of('my-password1')}"


def test_eight_at_once_make_one_chain(rig: PostgresRig) -> None:
    tenant_id, each, faults = rig.tenant(), 25, []
    go = threading.Barrier(8)

    def work(no: int) -> None:
        go.wait(30)
        try:
            for turn in range(each):
                if (no + turn) % 3:
                    rig.store.audit.add(happening(tenant_id, request_id=f"{no}.{turn}"))
                    continue
                one = Acting(principal=someone(tenant_id), action="w", request_id=f"{no}.{turn}")
                with acting_as(one), rig.store.begin() as unit:
                    unit.workflows.add_workflow(saved(tenant_id=tenant_id), {}, chain(1))
                    note("workflow", f"{no}.{turn}")
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=work, args=(no,)) for no in range(8)]
    for one in threads:
        one.start()
    seen = []
    while any(one.is_alive() for one in threads):
        seen.append(verdict(rig, tenant_id))
        threads[0].join(0.02)
    for one in threads:
        one.join(60)
    assert faults == []
    assert all(v.valid for v in seen)
    found = entries(rig, tenant_id)
    assert [e.no for e in found] == list(range(1, 8 * each + 1))
    assert len({e.request_id for e in found}) == 8 * each
    assert [e.at for e in found] == sorted(e.at for e in found)
    assert verdict(rig, tenant_id).entries == 8 * each
