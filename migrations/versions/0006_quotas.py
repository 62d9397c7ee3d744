"""Concurrent tasks of a tenant: the function that queues within a quota, and an index for it."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0006"
down_revision = "0005"

FUNCTIONS = Path(__file__).parents[1] / "functions"


def upgrade() -> None:
    """Only rows that wait as `ready` are in the index: a run that finds room never enters it."""
    run = op.get_bind().execution_options(no_parameters=True).exec_driver_sql
    run(
        "CREATE INDEX ix_tasks_tenant_ready ON tasks (tenant_id, priority DESC, run_id)"
        " WHERE state = 'ready'"
    )
    run((FUNCTIONS / "quota_v1.sql").read_text())
