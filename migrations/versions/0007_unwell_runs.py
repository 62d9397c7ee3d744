"""Runs that failed, were cancelled or timed out, by state: found among millions that went well."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Index them; runs that succeed never enter it."""
    op.execute(
        "CREATE INDEX ix_runs_unwell ON runs (tenant_id, state, id DESC)"
        " WHERE state IN ('cancelled', 'failed', 'timed_out')"
    )
