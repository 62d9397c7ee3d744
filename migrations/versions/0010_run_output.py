"""A run's output is worked out by one worker at a time: who does, and how often it was tried."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0010"
down_revision = "0009"

FUNCTION = Path(__file__).parents[1] / "functions" / "take_output_v1.sql"


def upgrade() -> None:
    """Add the columns, which costs nothing, and the function."""
    run = op.get_bind().execution_options(no_parameters=True).exec_driver_sql
    run(
        "ALTER TABLE run_counters ADD COLUMN output_tries SMALLINT NOT NULL DEFAULT 0,"
        " ADD COLUMN output_until TIMESTAMP WITH TIME ZONE"
    )
    run(FUNCTION.read_text())
