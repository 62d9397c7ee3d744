"""Secrets through the command line and two tenants: on a real server, under row security."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import psycopg2
import pytest

from orchestrator.adapters.postgres.store import PostgresStore
from orchestrator.bootstrap import core as bootstrap
from orchestrator.models.access.permissions import Principal, PrincipalKind
from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.ports.acting import Acting, acting_as
from orchestrator.services.quotas import Quotas
from orchestrator.services.secrets.variables import Variables
from orchestrator.settings import Auth, Database, Redis, Secrets, Settings
from tests.factories import SECRET_KEY
from tests.integration.live import Live
from tests.integration.serving import KEY, ROOT, Web, serving

NEW_KEY = "a-master-key-that-only-these-tests-know"


@pytest.fixture
def web(database_url: str, redis_url: str) -> Iterator[Web]:
    with serving(database_url, redis_url) as made:
        yield made


def zq(web: Web, *words: str, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command as somebody without a terminal does."""
    names = {"ZQ_AUTH__ADMIN_KEY": KEY, "PYTHONPATH": str(ROOT), **more}
    return subprocess.run(
        [sys.executable, "-m", "orchestrator.cli", *words],
        input=stdin, text=True, capture_output=True, timeout=60, check=False, cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", **names},
    )  # fmt: skip


def test_secrets_and_variables_by_command(web: Web, tmp_path: Path) -> None:
    to = ("--server", web.url)
    done = zq(web, "secrets", "set", "token", *to, "--description", "of the CRM", stdin="s3cret!\n")
    assert (done.returncode, done.stdout) == (0, "secret token has its value no. 1\n"), done
    file = tmp_path / "key.pem"
    file.write_text("line one\nline two\n")
    assert zq(web, "secrets", "set", "pem", "--file", str(file), *to).returncode == 0
    listed = zq(web, "secrets", "list", *to, "-o", "json")
    assert [(s["name"], s["description"]) for s in json.loads(listed.stdout)] == [
        ("pem", ""), ("token", "of the CRM"),
    ]  # fmt: skip
    assert "s3cret" not in listed.stdout
    assert "CHANGED" in zq(web, "secrets", "list", *to).stdout
    nothing = zq(web, "secrets", "set", "token", *to)
    assert nothing.returncode == 1
    assert "no value" in nothing.stderr
    short = zq(web, "secrets", "set", "token", *to, stdin="abc")
    assert short.returncode == 1
    assert "4 characters" in short.stderr or "4" in short.stderr
    assert "abc" not in short.stderr + short.stdout
    assert zq(web, "secrets", "set", "token", "value-as-argument", *to).returncode == 2
    assert zq(web, "secrets", "delete", "pem", *to).returncode == 1
    assert zq(web, "secrets", "delete", "pem", "--yes", *to).returncode == 0
    for words in (("rows", "5"), ("region", "eu"), ("region", "us", "--environment", "prod")):
        assert zq(web, "variables", "set", *words, *to).returncode == 0
    shown = json.loads(zq(web, "variables", "list", *to, "-o", "json").stdout)
    assert [(v["name"], v["environment"], v["value"]) for v in shown] == [
        ("region", "", "eu"), ("region", "prod", "us"), ("rows", "", 5),
    ]  # fmt: skip
    gone = zq(web, "variables", "delete", "region", "--environment", "prod", "--yes", *to)
    assert gone.returncode == 0
    assert "(all)" in zq(web, "variables", "list", *to).stdout


def test_rotation_beside_the_database(web: Web, database_url: str, redis_url: str) -> None:
    where = {"ZQ_DATABASE__URL": database_url, "ZQ_REDIS__URL": redis_url}
    for name in ("a", "b"):
        assert zq(web, "secrets", "set", name, "--server", web.url, stdin="a value").returncode == 0
    keys = {"ZQ_AUTH__SECRET_KEY": SECRET_KEY, "ZQ_SECRETS__KEYS": NEW_KEY}
    done = zq(web, "secrets", "rotate", **where, **keys)
    assert (done.returncode, done.stdout) == (0, "sealed 2 under the newest key\n"), done
    again = zq(web, "secrets", "rotate", **where, **keys)
    assert (again.returncode, again.stdout) == (0, "sealed 0 under the newest key\n")
    other = "another-key-than-any-that-was-used-0003"
    lost = zq(web, "secrets", "rotate", **where, ZQ_SECRETS__KEYS=other)
    assert lost.returncode == 1
    assert "ZQ_SECRETS__KEYS" in lost.stderr
    settings = replace(
        Settings(), database=Database(url=database_url), redis=Redis(url=redis_url),
        auth=Auth(secret_key=SECRET_KEY), secrets=Secrets(keys=NEW_KEY),
    )  # fmt: skip
    with bootstrap.secrets_beside(settings) as secrets:
        assert secrets.values(DEFAULT_TENANT, ["a", "b"]) == {"a": "a value", "b": "a value"}


def principal(tenant_id: UUID) -> Acting:
    who = Principal(id=uuid4(), kind=PrincipalKind.USER, name="u", tenant_id=tenant_id)
    return Acting(principal=who, action="secrets.set_secret")


def test_the_wall_hides_another_tenant_s_secrets_and_variables(database_url: str) -> None:
    mine, theirs = uuid4(), uuid4()
    with closing(psycopg2.connect(database_url)) as connection, connection.cursor() as cursor:
        for tenant_id in (mine, theirs):
            cursor.execute(
                "INSERT INTO tenants (id, name) VALUES (%s, %s)", (str(tenant_id), str(tenant_id))
            )
        connection.commit()
    settings = replace(Settings(), auth=Auth(secret_key=SECRET_KEY))
    api = PostgresStore(database_url, pool_size=1, role="zq_api")
    engine = PostgresStore(database_url, pool_size=1, role="zq_engine")
    try:
        secrets = bootstrap.secrets(settings, api, Quotas(api, {}, bootstrap.SystemClock()))
        variables = Variables(api.variables, "")
        for tenant_id in (mine, theirs):
            with acting_as(principal(tenant_id)):
                secrets.put(tenant_id, "token", f"of {tenant_id}")
                variables.put(tenant_id, "token", str(tenant_id))
        with acting_as(principal(mine)):
            # Whatever tenant the code names by mistake.
            assert secrets.values(theirs, ["token"]) == {}
            assert variables.values(theirs, ["token"]) == {}
            assert secrets.list(theirs, limit=9) == []
            assert secrets.values(mine, ["token"]) == {"token": f"of {mine}"}
        assert secrets.values(mine, ["token"]) == {}
        sealed = engine.secrets.sealed(theirs, ["token"])
        assert len(sealed) == 1
        assert str(theirs).encode() not in sealed[0].sealed.value
    finally:
        api.close()
        engine.close()


def test_a_run_reads_its_own_tenant_s_secret(working: Live) -> None:
    core = working.core
    core.secrets.put(DEFAULT_TENANT, "shared_name", "of the first tenant")
    core.variables.put(DEFAULT_TENANT, "region", ["eu", 1])
    nodes = [
        {"id": "s", "type": "transform", "config": {"expression": "size(secrets.shared_name)"}},
        {"id": "v", "type": "transform", "config": {"expression": "vars.region"}},
        {"id": "u", "type": "transform", "config": {"expression": "secrets.nowhere"}},
    ]
    run = working.ended(working.start(nodes))
    tasks = {t.node_id: t for t in core.store.reads.tasks(run.id)}
    assert tasks["s"].output == len("of the first tenant")
    assert tasks["v"].output == ["eu", 1]
    assert (tasks["u"].attempt, tasks["u"].error["code"]) == (1, "unknown_secret")
