"""Hands on the audit log: what was edited, deleted, swapped or forged is found, and which."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from orchestrator.models.audit import ORIGIN, AuditEntry, chained
from tests.contract.access.test_audit import entries, filled, happening, verdict
from tests.contract.rigs import PostgresRig
from tests.factories import new_id

Hand = Callable[[PostgresRig, UUID], None]


def edit(which: int, /, **values: Any) -> Hand:
    """Return who changes columns of an entry."""

    def act(rig: PostgresRig, tenant_id: UUID) -> None:
        if "tenant_id" in values:
            made = values["tenant_id"]
            rig.run("INSERT INTO tenants (id, name) VALUES (%s, %s)", made, f"t-{made}")
        names = ", ".join(f"{name} = %s" for name in values)
        where = "WHERE tenant_id = %s AND no = %s"
        rig.run(f"UPDATE audit_log SET {names} {where}", *values.values(), tenant_id, which)

    return act


def drop(*nos: int) -> Hand:
    """Return who deletes entries."""

    def act(rig: PostgresRig, tenant_id: UUID) -> None:
        gone = "DELETE FROM audit_log WHERE tenant_id = %s AND no = ANY(%s)"
        rig.run(gone, tenant_id, list(nos))

    return act


def swap(a: int, b: int) -> Hand:
    """Return who swaps two entries' places."""

    def act(rig: PostgresRig, tenant_id: UUID) -> None:
        for was, now in ((a, -1), (b, a), (-1, b)):
            edit(was, no=now)(rig, tenant_id)

    return act


def forge(no: int, *, chained_on: bool = False) -> Hand:
    """Return who inserts an entry, with a digest that would be right there if asked."""

    def act(rig: PostgresRig, tenant_id: UUID) -> None:
        last = entries(rig, tenant_id)[-1]
        made = replace(last, no=no, principal="mallory")
        made = replace(made, digest=chained(last.digest if chained_on else ORIGIN, made))
        rig.run(
            "INSERT INTO audit_log SELECT tenant_id, %s, at, principal_id, principal_kind, %s,"
            " action, resource, resource_id, before, after, detail, address, request_id, %s"
            " FROM audit_log WHERE tenant_id = %s AND no = %s",
            no, made.principal, made.digest, tenant_id, last.no,
        )  # fmt: skip

    return act


def head(**values: Any) -> Hand:
    """Return who changes the recorded end; with nothing, takes it away."""

    def act(rig: PostgresRig, tenant_id: UUID) -> None:
        if not values:
            rig.run("DELETE FROM audit_heads WHERE tenant_id = %s", tenant_id)
        for name, value in values.items():
            change = f"UPDATE audit_heads SET {name} = %s WHERE tenant_id = %s"
            rig.run(change, value, tenant_id)

    return act


TEXTS = (
    "principal_kind", "principal", "action", "resource", "resource_id", "before", "after",
    "detail", "address", "request_id",
)  # fmt: skip
HANDS: dict[str, tuple[Hand, int]] = {
    **{f"edit {name}": (edit(3, **{name: "changed"}), 3) for name in TEXTS},
    **{f"empty {name}": (edit(3, **{name: ""}), 3) for name in TEXTS},
    **{f"no {name}": (edit(3, **{name: None}), 3) for name in ("before", "after", "principal_id")},
    "edit at": (edit(3, at=datetime(2020, 1, 1, tzinfo=UTC)), 3),
    "edit principal_id": (edit(3, principal_id=new_id()), 3),
    "edit no": (edit(3, no=9), 3),
    "edit tenant_id": (edit(3, tenant_id=new_id()), 3),
    "edit digest": (edit(3, digest=b"x" * 32), 3),
    "shorten digest": (edit(3, digest=b""), 3),
    "move text to the next column": (edit(3, resource="runr", resource_id="2"), 3),
    "edit the first": (edit(1, action="changed"), 1),
    "edit the last": (edit(5, action="changed"), 5),
    "delete the first": (drop(1), 1),
    "delete a middle one": (drop(3), 3),
    "delete the last": (drop(5), 5),
    "delete the last two": (drop(4, 5), 4),
    "delete all": (drop(1, 2, 3, 4, 5), 1),
    "swap neighbours": (swap(2, 3), 2),
    "swap the ends": (swap(1, 5), 1),
    "forge 0": (forge(0), 0),
    "forge a lower one": (forge(-7), -7),
    "forge the lowest": (forge(-(2**63)), -(2**63)),
    "forge the next": (forge(6), 6),
    "forge the next in the chain": (forge(6, chained_on=True), 6),
    "forge the highest": (forge(2**63 - 1), 6),
    "take the head": (head(), 1),
    "head before the end": (head(no=3), 4),
    "head beyond the end": (head(no=6), 6),
    "head with another digest": (head(digest=b"x" * 32), 5),
}


@pytest.mark.parametrize("hand", HANDS)
def test_a_hand_on_the_log_is_found(rig: PostgresRig, hand: str) -> None:
    act, first_bad = HANDS[hand]
    tenant_id, other = filled(rig), filled(rig)
    act(rig, tenant_id)
    found = verdict(rig, tenant_id)
    assert (found.valid, found.first_bad, found.head) == (False, first_bad, None)
    assert found.reason
    assert found.entries == max(0, min(first_bad, 6) - 1)
    assert verdict(rig, other).valid


def test_every_column_is_in_the_chain(rig: PostgresRig) -> None:
    edited = {name.partition(" ")[2] for name in HANDS if name.startswith("edit ")}
    assert set(AuditEntry.__dataclass_fields__) <= edited


@pytest.mark.parametrize("at", ["infinity", "-infinity", "0044-03-15 BC", "20000-01-01"])
def test_a_time_that_no_clock_shows_is_found(rig: PostgresRig, at: str) -> None:
    tenant_id = filled(rig)
    rig.run("UPDATE audit_log SET at = %s WHERE tenant_id = %s AND no = 2", at, tenant_id)
    assert verdict(rig, tenant_id).first_bad == 2


def test_only_an_anchor_shows_a_chain_that_was_written_anew(rig: PostgresRig) -> None:
    tenant_id = filled(rig)
    anchor = verdict(rig, tenant_id).head
    assert anchor is not None
    drop(1, 2, 3, 4, 5)(rig, tenant_id)
    head()(rig, tenant_id)
    assert verdict(rig, tenant_id).valid
    assert verdict(rig, tenant_id, anchor).first_bad == 1
    for _ in range(6):
        rig.store.audit.add(happening(tenant_id))
    assert verdict(rig, tenant_id).valid
    found = verdict(rig, tenant_id, anchor)
    assert (found.first_bad, found.entries) == (5, 4)
