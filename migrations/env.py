"""Alembic's entry: runs the revisions on the connection that `adapters/postgres/migrate.py` gives.

It is never called by the alembic command alone: `zq migrate` holds the advisory lock.
"""

from __future__ import annotations

from alembic import context

from orchestrator.adapters.postgres.access.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
