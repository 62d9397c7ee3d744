"""Workers that refuse to work say so in the record: which module could not be loaded, and why."""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0013"


def upgrade() -> None:
    """Add a state and its reason; the table of workers is small."""
    run = op.get_bind().execution_options(no_parameters=True).exec_driver_sql
    run("ALTER TABLE workers ADD COLUMN refusal TEXT")
    run("ALTER TABLE workers DROP CONSTRAINT ck_workers_state")
    run(
        "ALTER TABLE workers ADD CONSTRAINT ck_workers_state"
        " CHECK (state IN ('active', 'lost', 'stopped', 'refused'))"
    )
