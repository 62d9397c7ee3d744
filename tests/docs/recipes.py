"""What the checks of `docs/how-to/extend.md` begin with, on the servers that their test names."""

from __future__ import annotations

import os
from uuid import UUID, uuid4

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from orchestrator.adapters.postgres.access.tables import metadata
from orchestrator.adapters.postgres.connections.pool import normal_url
from orchestrator.adapters.postgres.migrate import migrate
from orchestrator.adapters.postgres.store import PostgresStore
from orchestrator.models.access.permissions import Principal, PrincipalKind
from tests.api.conftest import ONE, Api, build_core
from web.app import create_app

DATABASE = "ZQ_DATABASE__URL"


def store(role: str = "zq_engine") -> PostgresStore:
    """Return the database, of the newest schema, as a process in this role has it."""
    migrate(os.environ[DATABASE])
    return PostgresStore(os.environ[DATABASE], role=role)


def api() -> Api:
    """Return a client that is signed in; without a database it gets what needs none."""
    core = build_core(**({"store": store()} if DATABASE in os.environ else {}))
    return Api(create_app(core).test_client(), core)


def paused_run() -> tuple[Api, UUID]:
    """Return a client, and a run of one node that has been claimed, and paused once."""
    client = api()
    run_id = client.run(ONE)
    assert client.claims(run_id)
    answer = client.post(f"/runs/{run_id}/pause")
    assert answer.status_code < 300, answer.text
    return client, run_id


def principal() -> Principal:
    """Return somebody of a tenant of their own."""
    return Principal(tenant_id=uuid4(), kind=PrincipalKind.USER, id=uuid4(), name="somebody")


def differences(table: str) -> int:
    """Count what the migrations and `tables.py` say differently of a table."""

    def ours(name: str | None, kind: str, _parents: object) -> bool:
        return kind != "table" or name == table

    store().close()
    with create_engine(normal_url(os.environ[DATABASE])).connect() as connection:
        options = {"include_name": ours, "compare_server_default": False}
        found = compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
    return len([each for each in found if f"'{table}'" in str(each)])
