"""An ended run can be run again at another version of its workflow, and with another input.

Expand: `zq_rerun_v2` stays, for processes of the release before.
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0013"
down_revision = "0012"

FUNCTION = Path(__file__).parents[1] / "functions" / "rerun_v3.sql"


def upgrade() -> None:
    """Add the function; it changes no table."""
    run = op.get_bind().execution_options(no_parameters=True).exec_driver_sql
    run(FUNCTION.read_text())
