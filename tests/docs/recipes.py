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
from orchestrator.bootstrap.memory import build_in_memory
from orchestrator.models.access.permissions import Principal, PrincipalKind
from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.models.runs.event import Event
from orchestrator.models.runs.run import Run
from orchestrator.ports.moves import Owner
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


def paused_in_memory() -> tuple[Run, Event]:
    """Return the same of a run in memory, as its twin of the moves has it, and its last event."""
    core = build_in_memory()
    run_id = core.engine.execute(DEFAULT_TENANT, ONE).run_id
    owner = Owner(worker_id=uuid4(), pid=1)
    (task,) = core.store.reads.tasks(run_id)
    wanted = [(task.task_no, task.attempt)]
    assert core.store.moves.claim_attempts(run_id, wanted, claim_id=uuid4(), owner=owner)
    run = core.steering.pause(DEFAULT_TENANT, run_id)
    return run, core.store.reads.events(run_id, after=0, limit=100)[-1]


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
