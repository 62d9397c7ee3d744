"""Access: users, sessions, API keys, roles, grants, secrets, variables, quotas, the audit log."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0003"
down_revision = "0002"

TABLES = Path(__file__).with_suffix(".sql")


def upgrade() -> None:
    """Build the tables; they are empty until somebody is invited."""
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(TABLES.read_text())
