"""`zq audit`, against a real server and beside the database."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import psycopg2
import pytest

from orchestrator.cli import main
from orchestrator.models.ids import DEFAULT_TENANT
from tests.conftest import Databases
from tests.contract.rigs import PostgresRig
from tests.factories import new_id
from tests.integration.serving import KEY, Web, serving

Said = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def rig(databases: Databases) -> Iterator[PostgresRig]:
    made = PostgresRig(databases.migrated())
    yield made
    made.close()


@pytest.fixture(scope="module")
def web(rig: PostgresRig, redis_server_url: str) -> Iterator[Web]:
    with serving(rig.url, redis_server_url, REDIS__PREFIX=f"audit{new_id().hex}:") as made:
        yield made


@pytest.fixture(autouse=True)
def here(
    rig: PostgresRig, redis_server_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty log, and the settings of whoever runs the servers."""
    rig.run("DELETE FROM audit_log; DELETE FROM audit_heads")
    for name in [n for n in os.environ if n.startswith("ZQ_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "HOME": str(tmp_path), "AUTH__ADMIN_KEY": KEY, "DATABASE__URL": rig.url,
        "REDIS__URL": redis_server_url,
    }.items():  # fmt: skip
        monkeypatch.setenv(f"ZQ_{name}", value)


def fill(rig: PostgresRig, tenant_id: UUID, count: int, action: str = "a.b") -> None:
    rig.run(
        "SELECT zq_audit_v1(%s, NULL, 'user', E'e\x1b[31mve', %s, '', '', '',"
        " (SELECT jsonb_agg(jsonb_build_array('run', n, NULL, NULL))"
        "    FROM generate_series(1, %s) n))",
        tenant_id, action, count,
    )  # fmt: skip


def test_entries_are_listed_and_filtered(rig: PostgresRig, web: Web, capsys: Said) -> None:
    at = ("--server", web.url)
    assert main(["audit", "list", *at]) == 0
    assert "no entries" in capsys.readouterr().err
    fill(rig, DEFAULT_TENANT, 450)
    fill(rig, DEFAULT_TENANT, 1, "c.d")
    assert main(["audit", "list", *at, "--limit", "430", "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [e["no"] for e in found] == list(range(451, 21, -1))
    assert main(["audit", "list", *at, "--action", "c.d"]) == 0
    (_, line) = capsys.readouterr().out.splitlines()
    assert line.startswith("451 ")
    assert "\x1b" not in line
    assert main(["audit", "list", *at, "--since", "yesterday"]) == 2
    assert "write a time" in capsys.readouterr().err


def test_an_export_is_whole_or_is_not_there(
    rig: PostgresRig, web: Web, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    fill(rig, DEFAULT_TENANT, 2500)
    file, at = tmp_path / "audit.csv", ("--server", web.url)
    words = ["audit", "export", *at, "--format", "csv", "--file", str(file)]
    assert main(words) == 0
    rows = list(csv.DictReader(io.StringIO(file.read_text())))
    assert [int(row["no"]) for row in rows] == list(range(1, 2501))
    assert file.stat().st_mode & 0o077 == 0
    assert main(["audit", "export", *at, "--resource-id", "7"]) == 0
    (line,) = capfdbinary.readouterr().out.splitlines()
    assert json.loads(line)["no"] == 7
    file.unlink()
    assert main([*words, "--until", "never"]) == 2
    assert list(tmp_path.iterdir()) == []


def test_verify_names_the_first_bad_entry(rig: PostgresRig, web: Web, capsys: Said) -> None:
    at = ("--server", web.url)
    fill(rig, DEFAULT_TENANT, 5)
    assert main(["audit", "verify", *at]) == 0
    said = capsys.readouterr().out.strip()
    assert said.startswith("5 entries, all as they were written, head 5:")
    head = said.rpartition(" ")[2]
    assert main(["audit", "verify", *at, "--anchor", head]) == 0
    rig.run("UPDATE audit_log SET principal = 'x' WHERE no = 4")
    assert main(["audit", "verify", *at]) == 1
    assert "entry 4 is bad" in capsys.readouterr().err
    assert main(["audit", "verify", *at, "-o", "json"]) == 1
    assert json.loads(capsys.readouterr().out)["first_bad"] == 4
    rig.run("DELETE FROM audit_log; DELETE FROM audit_heads")
    assert main(["audit", "verify", *at]) == 0
    assert main(["audit", "verify", *at, "--anchor", head]) == 1
    assert "entry 1 is bad" in capsys.readouterr().err


def test_beside_the_database_every_chain_is_checked(rig: PostgresRig, capsys: Said) -> None:
    tenant_id = rig.tenant()
    fill(rig, tenant_id, 4)
    fill(rig, DEFAULT_TENANT, 2)
    words = ["audit", "verify", "--database"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert f"tenant {tenant_id}: 4 entries" in said
    assert f"tenant {DEFAULT_TENANT}: 2 entries" in said
    rig.run("UPDATE audit_log SET action = 'x' WHERE tenant_id = %s AND no = 3", tenant_id)
    assert main(words) == 1
    both = capsys.readouterr()
    assert f"tenant {tenant_id}: entry 3 is bad" in both.err
    assert f"tenant {DEFAULT_TENANT}: 2 entries" in both.out
    assert main([*words, "-o", "json"]) == 1
    told = {v["tenant_id"]: v for v in json.loads(capsys.readouterr().out)}
    assert (told[str(tenant_id)]["first_bad"], told[str(DEFAULT_TENANT)]["valid"]) == (3, True)
    assert main([*words, "--anchor", "1:00"]) == 2


def test_nobody_but_the_function_writes_the_log(rig: PostgresRig) -> None:
    fill(rig, DEFAULT_TENANT, 1)
    for role in ("zq_api", "zq_engine", "zq_access"):
        for statement in (
            "UPDATE audit_log SET action = 'x'", "DELETE FROM audit_log", "TRUNCATE audit_log",
            "DELETE FROM audit_heads", "ALTER TABLE audit_log DISABLE ROW LEVEL SECURITY",
        ):  # fmt: skip
            rig.run(f"SET ROLE {role}")
            try:
                with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                    rig.run(statement)
            finally:
                rig.run("RESET ROLE")
