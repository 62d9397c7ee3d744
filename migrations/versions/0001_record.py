"""The record: tenants, workflows and versions, runs, tasks, attempts, events, workers, keys."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from alembic import op

from orchestrator.adapters.postgres.partitions import default_statements, month_statements
from orchestrator.models.ids import DEFAULT_TENANT

revision = "0001"
down_revision = None

FUNCTIONS = Path(__file__).parents[1] / "functions"
TABLES = Path(__file__).with_suffix(".sql")
#: What is partitioned as of this revision; later tables come with their own.
PARTITIONED = ("runs", "run_counters", "tasks", "attempts", "events")

#: In the order in which they call each other. A changed function gets a new name (_v2) in a new
#: revision, and the old one goes a release later, so that old and new workers run side by side.
ORDER = (
    "end_run_v1",
    "goes_v1",
    "spread_v1",
    "spread_few_v1",
    "start_v1",
    "start_newest_v1",
    "take_v1",
    "held_v1",
    "claim_v1",
    "settle_v1",
    "queue_v1",
    "cancel_v1",
    "finish_v1",
    "steer_v1",
    "mark_v1",
    "rerun_v1",
)


def upgrade() -> None:
    """Build everything; partitions for this month and the next two come with it."""
    run = op.get_bind().execution_options(no_parameters=True).exec_driver_sql
    run(TABLES.read_text())
    for statement in (
        *default_statements(PARTITIONED),
        *month_statements(datetime.now(UTC), tables=PARTITIONED),
    ):
        run(statement)
    for name in ORDER:
        run((FUNCTIONS / f"{name}.sql").read_text())
    run(f"INSERT INTO tenants (id, name) VALUES ('{DEFAULT_TENANT}', 'default')")
