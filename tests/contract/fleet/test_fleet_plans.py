"""What the fleet asks all the time never reads the tasks and runs of the past."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from orchestrator.adapters.postgres.sql import statements
from tests.contract.rigs import PostgresRig

#: Enough of each placeholder for any of the statements.
_VALUES: dict[str, Any] = {
    "but": [], "children": [1], "host": "h", "id": str(uuid4()), "lease_s": 10.0, "limit": 9,
    "name": "n", "older_s": 5.0, "only": False, "pid": 1, "queue": "default",
    "queues": ["default"], "reason": "r", "slots": 2, "tenants": [], "version": "1",
    "worker_id": str(uuid4()),
}  # fmt: skip
#: Tables that grow with every run.
_GROWING = re.compile(r"(runs|run_counters|tasks|attempts|events)(_\w+)?")
_ASKED = sorted(statements("fleet"))


def scanned(plan: Any) -> Iterator[str]:
    """Yield the tables that a plan reads from their first row to their last."""
    if plan.get("Node Type") == "Seq Scan" and _GROWING.fullmatch(plan["Relation Name"]):
        yield plan["Relation Name"]
    for part in plan.get("Plans", ()):
        yield from scanned(part)


@pytest.mark.parametrize("name", _ASKED)
def test_each_statement_has_an_index_for_what_it_reads(
    name: str, postgres_rig: PostgresRig
) -> None:
    with postgres_rig.connection.cursor() as cursor:
        # What is read in full all the same has no index that knows what is asked for.
        cursor.execute("BEGIN; SET LOCAL enable_seqscan = off")
        try:
            cursor.execute(f"EXPLAIN (FORMAT JSON) {statements('fleet')[name]}", _VALUES)
            (plan,) = cursor.fetchone()
        finally:
            cursor.execute("ROLLBACK")
    found = plan if isinstance(plan, list) else json.loads(plan)
    assert list(scanned(found[0]["Plan"])) == []
