"""Moves: one function decides their joins, one writes their events, one tells their time.

Expand: the functions of the release before stay, for its workers.
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0009"
down_revision = "0008"

FUNCTIONS = Path(__file__).parents[1] / "functions"

#: In the order in which they call each other.
ORDER = (
    "now_v1",
    "record_v1",
    "end_run_v2",
    "spread_v2",
    "spread_few_v2",
    "start_v2",
    "start_newest_v2",
    "take_v2",
    "claim_v2",
    "settle_v2",
    "queue_v2",
    "quota_v2",
    "cancel_v2",
    "finish_v2",
    "steer_v2",
    "mark_v2",
    "rerun_v2",
)


def upgrade() -> None:
    """Add the functions; they change no table."""
    run = op.get_bind().execution_options(no_parameters=True).exec_driver_sql
    for name in ORDER:
        run((FUNCTIONS / f"{name}.sql").read_text())
