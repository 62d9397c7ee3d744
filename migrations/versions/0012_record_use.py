"""What a tenant has written into the record, in bytes, beside what it keeps as files."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add the count. What was written before is not in it."""
    op.execute("ALTER TABLE artifact_usage ADD COLUMN record_bytes BIGINT NOT NULL DEFAULT 0")
