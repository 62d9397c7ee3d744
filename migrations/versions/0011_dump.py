"""A dump by whoever owns the tables: the engine's role may read the partitions one by one.

It sees all of their rows through their parents anyway; row security holds the owner off.
"""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Let it read what there is, and what the owner of the tables will make."""
    run = op.get_bind().execution_options(no_parameters=True).exec_driver_sql
    run(
        "DO $$ BEGIN EXECUTE format('"
        "GRANT SELECT ON ALL TABLES IN SCHEMA %1$I TO zq_engine; "
        "ALTER DEFAULT PRIVILEGES IN SCHEMA %1$I GRANT SELECT ON TABLES TO zq_engine', "
        "current_schema()); END $$"
    )
