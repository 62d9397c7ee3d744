"""The documented backup line, word for word, by an owner of the tables who is no superuser."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.adapters.embedded.services import EmbeddedServices
from orchestrator.adapters.postgres.migrate import migrate
from orchestrator.adapters.postgres.store import PostgresStore
from tests.docs.pages import ROOT, blocks
from tests.factories import chain, new_run, store_workflow
from tests.integration.access.test_roles_and_owners import Server
from tests.integration.embedded_rig import wheels


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with EmbeddedServices(tmp_path / "home", wheels()) as services:
        yield Server(services.database_url)


def test_the_owner_of_the_tables_dumps_every_row(server: Server, tmp_path: Path) -> None:
    server.user("keeper", "CREATEROLE")
    url = server.database("kept", "keeper")
    migrate(url)
    store = PostgresStore(url)
    workflow = store_workflow(store, chain(2))
    with store.begin() as work:
        work.store_run(new_run(workflow))
    store.close()
    (line,) = [
        line
        for block in blocks(ROOT / "docs" / "operations.md")
        for line in block.text.splitlines()
        if line.startswith("pg_dump ")
    ]
    programs = wheels().postgres_bin
    env = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "ZQ_DATABASE__URL": url}
    command = ["bash", "-euo", "pipefail", "-c", line]
    done = subprocess.run(
        command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    server.database("restored", "keeper")
    subprocess.run(
        [
            programs / "pg_restore",
            "--exit-on-error",
            "--dbname",
            server.at("restored"),
            tmp_path / "zq.dump",
        ],
        check=True,
    )
    before, after = (counts(server, server.at(name)) for name in ("kept", "restored"))
    assert before == after
    assert before["runs"] == 1
    assert before["tasks"] == 2


def counts(server: Server, url: str) -> dict[str, int]:
    """Return how many rows each table has."""
    tables = server.run(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " AND relkind IN ('r', 'p') AND NOT relispartition",
        url,
    )
    return {name: server.run(f"SELECT count(*) FROM {name}", url)[0][0] for (name,) in tables}
