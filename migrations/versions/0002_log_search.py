"""Log lines of a tenant by time, newest first: what `GET /logs/history` walks along."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Index the log lines among the events; the partitions to come get the index with them.

    Under a lock: no release came before it, so that no table is large yet.
    """
    op.execute(
        "CREATE INDEX ix_events_logs ON events (tenant_id, at DESC, run_id DESC, seq DESC)"
        " WHERE kind = 'log'"
    )
