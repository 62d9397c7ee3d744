"""The audit log behind the API, on Postgres with row security: every route that changes something
leaves its entries in the commit of the change, or neither; what changes nothing leaves none.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg2
import pytest
from flask import Flask
from sqlalchemy.exc import DBAPIError

from orchestrator.adapters.memory.dispatch import MemoryDispatcher
from orchestrator.adapters.memory.live import MemoryChannel
from orchestrator.adapters.memory.runtime import MemoryArtifacts
from orchestrator.adapters.postgres.store import PostgresStore
from orchestrator.bootstrap import core as bootstrap
from orchestrator.bootstrap.core import Core
from orchestrator.models.access.permissions import ADMIN
from orchestrator.models.audit import digest_of
from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.ports.access import User
from orchestrator.ports.acting import Acting, acting_as
from orchestrator.ports.audit import AuditFilter
from orchestrator.ports.moves import Owner
from orchestrator.services.auditing import PAGE, Auditing
from orchestrator.settings import Auth, Database, Limits, Redis, Settings
from tests.conftest import Databases
from tests.contract.rigs import PostgresRig
from tests.factories import SECRET_KEY, new_id, quick_passwords
from tests.integration.audit_cases import CASES, PASSWORD, Caller, Case
from tests.integration.tenants import OWNED, whoever
from web.app import create_app

KEY = "an-admin-key-of-tests"
AUDIT = {"audit_log", "audit_heads"}
#: What happens before anybody is known has no transaction of a request: it is recorded before the
#: answer is sent, and without the entry there is no answer.
BEFORE_ANYBODY = {"auth.refresh", "oauth.token"}
READS = {
    "logs.query_logs", "nodes.preview", "workflows.validate_workflow",
    "auth.refresh", "auth.make_ticket",
}  # fmt: skip


#: A password and the end of a session have nothing that a digest could be made of.
NO_DIGEST = {
    "users.reset_user", "users.end_sessions", "auth.logout", "auth.change_password",
    "auth.end_sessions",
}  # fmt: skip


@dataclass
class Here(Caller):
    """A web process as zq_api, and the database by the side entrance."""

    rig: PostgresRig
    app: Flask
    store: PostgresStore
    core: Core

    def entries(self, after: int = 0) -> list[Any]:
        """Return the home tenant's entries after a number."""
        wanted = AuditFilter(tenant_id=DEFAULT_TENANT, after=after, limit=1000)
        return list(self.rig.store.audit.list(wanted))

    def last(self) -> int:
        """Return the number of the home tenant's last entry."""
        head = self.rig.store.audit.head(DEFAULT_TENANT)
        return head.no if head else 0

    def send(self, case: Case) -> Any:
        """Send a case's request."""
        return self.call(case.method, case.path, case.body, case.token, case.form)

    def rows(self) -> list[Any]:
        """Return a digest of every table."""
        return [
            self.rig.run(f"SELECT '{t}', md5(string_agg(x::text, ' ' ORDER BY x::text)) FROM {t} x")
            for t in OWNED
        ]

    @contextmanager
    def when_recording(self, statement: str) -> Iterator[None]:
        """Run a statement right after an entry is inserted, before the commit."""
        self.rig.run(
            "CREATE FUNCTION a2_test() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS"
            f" $$ BEGIN {statement}; RETURN NULL; END $$"
        )
        self.rig.run(
            "CREATE TRIGGER a2_test AFTER INSERT ON audit_log"
            " FOR EACH ROW EXECUTE FUNCTION a2_test()"
        )
        try:
            yield
        finally:
            self.rig.run("DROP TRIGGER a2_test ON audit_log; DROP FUNCTION a2_test()")


@pytest.fixture(scope="module")
def here(databases: Databases, redis_server_url: str) -> Iterator[Here]:
    rig = PostgresRig(databases.migrated())
    off = dict.fromkeys(("reads", "writes", "starts", "sign_in", "anonymous"), "0")
    settings = Settings(
        auth=Auth(admin_key=KEY, secret_key=SECRET_KEY),
        database=Database(url=rig.url),
        limits=Limits(**off),
        redis=Redis(url=redis_server_url, prefix=f"audit{new_id().hex}:"),
    )  # fmt: skip
    store = PostgresStore(rig.url, pool_size=4, role="zq_api")
    core = bootstrap.build(
        settings, store=store, channel=MemoryChannel(), dispatcher=MemoryDispatcher(),
        artifacts=MemoryArtifacts(), clock=bootstrap.SystemClock(), passwords=quick_passwords(),
    )  # fmt: skip
    app = create_app(core)

    def begin(run_id: UUID) -> None:
        owner = Owner(worker_id=new_id(), pid=1)
        queued = [(t.task_no, t.attempt) for t in rig.store.reads.tasks(run_id)]
        assert rig.store.moves.claim_attempts(run_id, queued, claim_id=new_id(), owner=owner)

    yield Here(app.test_client(), KEY, begin, rig, app, store, core)
    store.close()
    rig.close()


@pytest.fixture(autouse=True)
def whole(here: Here) -> Iterator[None]:
    """Whatever a test does through the front door, the chain is whole afterwards."""
    yield
    assert Auditing(here.rig.store.audit).verify(DEFAULT_TENANT).valid


def test_every_route_that_changes_something_has_a_case(here: Here) -> None:
    unsafe = {
        rule.endpoint for rule in here.app.url_map.iter_rules()
        if (rule.methods or set()) - {"GET", "HEAD", "OPTIONS"}
    }  # fmt: skip
    assert unsafe == set(CASES)


@pytest.mark.parametrize("endpoint", CASES)
def test_a_write_leaves_one_entry_for_each_thing(here: Here, endpoint: str) -> None:
    case = CASES[endpoint](here)
    before = here.last()
    answer = here.send(case)
    assert answer.status_code < 300, answer.text
    found = here.entries(before)
    wanted = [(kind, name if isinstance(name, str) else name(answer)) for kind, name in case.leaves]
    told = [(e.resource, e.resource_id) for e in found]
    assert len(told) == len(wanted), told
    for (kind, name), (kind_told, name_told) in zip(sorted(wanted), sorted(told), strict=True):
        assert kind_told == kind
        assert name_told == name or (name == "*" and name_told), told
    assert bool(found) == (endpoint not in READS)
    for entry in found:
        assert entry.action == (case.action or endpoint), entry
        who = {None: ADMIN.id, "*": entry.principal_id}.get(case.who, case.who)
        assert str(entry.principal_id) == str(who), entry
        assert entry.principal
        assert entry.address == "127.0.0.1"
        assert entry.request_id == answer.headers["X-Request-Id"]
        if case.token != "" and endpoint not in NO_DIGEST:
            assert entry.before or entry.after, entry
        assert entry.before != entry.after or entry.before is None, entry


@pytest.mark.parametrize("endpoint", sorted(set(CASES) - READS))
@pytest.mark.parametrize("fault", ["refused", "killed"])
def test_without_its_entry_a_write_has_not_happened(here: Here, endpoint: str, fault: str) -> None:
    case = CASES[endpoint](here)
    before, last = here.rows(), here.last()
    ends = {
        "refused": "RAISE EXCEPTION 'no entry today'",
        "killed": "PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(5)",
    }
    with here.when_recording(ends[fault]):
        answer = here.send(case)
    assert answer.status_code in {500, 503}, answer.text
    assert "no entry today" not in answer.text
    assert here.last() == last
    if endpoint not in BEFORE_ANYBODY:
        assert here.rows() == before
    else:
        assert "token" not in answer.get_json()


def test_reads_leave_nothing(here: Here) -> None:
    workflow, run_id, (user_id, _) = here.workflow(), here.run(), here.user()
    values = {
        "workflow_id": workflow, "run_id": run_id, "user_id": user_id, "number": 1,
        "node_id": "a", "key_id": here.key_id(), "name": here.put("variables"),
        "tenant_id": DEFAULT_TENANT,
    }  # fmt: skip
    before, tried = here.last(), 0
    with here.app.test_request_context():
        urls = here.app.url_map.bind("localhost")
        for rule in here.app.url_map.iter_rules():
            reading = "GET" in (rule.methods or ()) and rule.rule.startswith("/api/v1")
            if reading and rule.arguments <= set(values) and not rule.endpoint.startswith("stream"):
                path = urls.build(rule.endpoint, {n: values[n] for n in rule.arguments})
                assert here.call("GET", path.removeprefix("/api/v1")).status_code < 500
                tried += 1
    assert tried > 25
    assert here.entries(before) == []


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("POST", "/workflows", {"name": "x"}), ("POST", "/users", {}),
     ("POST", f"/runs/{new_id()}/cancel", None), ("DELETE", f"/api-keys/{new_id()}", None),
     ("DELETE", "/secrets/none", None), ("PUT", f"/workflows/{new_id()}", {"name": "x"}),
     ("POST", "/nowhere", {})],
    ids=range(7),
)  # fmt: skip
def test_what_is_refused_leaves_nothing(here: Here, method: str, path: str, body: Any) -> None:
    before = here.last()
    assert 400 <= here.call(method, path, body).status_code < 500
    assert here.entries(before) == []


def told(here: Here, before: int) -> list[tuple[str, str]]:
    return [(e.action, e.principal) for e in here.entries(before)]


def test_signing_in_and_out_is_recorded(here: Here) -> None:
    user_id, email = here.user()
    before = here.last()
    wrong = {"email": email, "password": "not it, but long"}
    assert here.call("POST", "/auth/login", wrong, "").status_code == 401
    nobody = {"email": "My-Password-1", "password": "x" * 12}
    assert here.call("POST", "/auth/login", nobody, "").status_code == 401
    right = {"email": email, "password": PASSWORD}
    signed = here.made("/auth/login", right, "")
    assert here.call("POST", "/auth/logout", None, signed["access_token"]).status_code == 204
    hidden = f"sha256:{digest_of('my-password-1')}"
    found = here.entries(before)
    assert [(e.action, e.principal) for e in found] == [
        ("auth.sign_in_failed", email), ("auth.sign_in_failed", hidden),
        ("auth.sign_in", email), ("auth.logout", email),
    ]  # fmt: skip
    assert [str(e.principal_id) for e in found[2:]] == [user_id, user_id]
    assert all(e.address == "127.0.0.1" and e.request_id for e in found)
    dumped = repr(found)
    assert PASSWORD not in dumped
    assert "not it" not in dumped


def test_what_a_sign_in_elsewhere_changes_is_recorded_with_it(here: Here) -> None:
    """A user who is made or linked, its roles, its session: all with an entry, or not at all."""
    identities, issuer = here.core.access.identities, "https://id.example.org"

    def new(name: str) -> User:
        return identities.create_user(
            tenant_id=DEFAULT_TENANT, email=f"{name}{new_id().hex}@example.org", name="Ada",
            roles=["viewer"], identity=(issuer, new_id().hex),
        )  # fmt: skip

    ada, steps = new("ada"), dict[str, Callable[[], Any]]()
    steps["auth.user_created"] = lambda: new("bea")
    steps["auth.identity_linked"] = lambda: identities.link(ada, issuer, new_id().hex)
    steps["auth.roles_changed"] = lambda: identities.set_roles(ada.id, DEFAULT_TENANT, ["editor"])
    steps["auth.sign_in"] = lambda: here.core.access.sessions.open(ada.id, address="", agent="")
    for action, step in steps.items():
        before, last = here.rows(), here.last()
        with here.when_recording("RAISE EXCEPTION 'no entry today'"), pytest.raises(DBAPIError):
            step()
        assert (here.rows(), here.last()) == (before, last)
        step()
        (entry,) = here.entries(last)
        assert (entry.action, entry.principal_kind) == (action, "user")
        assert entry.after
        assert entry.principal_id == ada.id or action == "auth.user_created"
    assert identities.set_roles(ada.id, DEFAULT_TENANT, ["editor"])
    assert here.last() == last + 1


def test_a_refresh_token_that_comes_back_is_recorded(here: Here) -> None:
    signed, _ = here.signed_in()
    first = {"refresh_token": signed["refresh_token"]}
    second = {"refresh_token": here.made("/auth/refresh", first, "")["refresh_token"]}
    here.made("/auth/refresh", second, "")
    before = here.last()
    assert here.call("POST", "/auth/refresh", first, "").status_code == 401
    assert [action for action, _ in told(here, before)] == ["auth.refresh_reused"]


def test_a_lockout_is_recorded(here: Here) -> None:
    _, email = here.user()
    before, wrong = here.last(), {"email": email, "password": "not it, but long"}
    for _ in range(30):
        if here.call("POST", "/auth/login", wrong, "").status_code == 429:
            break
    assert "auth.locked_out" in {action for action, _ in told(here, before)}


def filled(here: Here, count: int) -> UUID:
    """Return a tenant with many entries, which hold what a spreadsheet would run."""
    tenant_id = here.rig.tenant()
    here.rig.run(
        "SELECT zq_audit_v1(%s, NULL, 'user', '=cmd|x', '+a', '-d', '@x', E'\\tq',"
        " (SELECT jsonb_agg(jsonb_build_array('r', n, NULL, NULL)) FROM generate_series(1, %s) n))",
        tenant_id, count,
    )  # fmt: skip
    return tenant_id


def key_of(here: Here, tenant_id: UUID) -> str:
    keys = here.core.access.keys
    with acting_as(Acting(principal=whoever(tenant_id))):
        return str(keys.create(whoever(tenant_id), name="k", roles=["owner"])[1])


def test_a_tenant_sees_checks_and_exports_its_own_chain(here: Here) -> None:
    count = 2 * PAGE + 5
    tenant_id = filled(here, count)
    key = key_of(here, tenant_id)
    count = here.rig.store.audit.head(tenant_id).no  # type: ignore[union-attr]

    def get(path: str) -> Any:
        answer = here.call("GET", path, token=key)
        assert answer.status_code == 200, answer.text
        return answer

    seen, cursor = [], ""
    while True:
        page = get(f"/audit?limit=200{cursor}").get_json()
        seen += [e["no"] for e in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == list(range(count, 0, -1))
    good = get("/audit/verify").get_json()
    assert (good["valid"], good["entries"], good["head"]["no"]) == (True, count, count)
    anchor = f"{count}:{good['head']['digest']}"
    assert get(f"/audit/verify?anchor={anchor}").get_json()["valid"]
    assert not get(f"/audit/verify?anchor={count}:{'0' * 64}").get_json()["valid"]
    lines = get("/audit/export").text.splitlines()
    assert [json.loads(line)["no"] for line in lines] == list(range(1, count + 1))
    rows = list(csv.DictReader(io.StringIO(get("/audit/export?format=csv").text)))
    assert len(rows) == count
    first = rows[0]
    assert [first[n] for n in ("principal", "action", "detail", "address", "request_id")] == [
        "'=cmd|x", "'+a", "'-d", "'@x", "'\tq",
    ]  # fmt: skip
    assert get("/audit/export?action=nothing").text == ""
    assert len(get("/audit/export?resource_id=7").text.splitlines()) == 1
    here.rig.run("DELETE FROM audit_log WHERE tenant_id = %s AND no = 1500", tenant_id)
    bad = get("/audit/verify").get_json()
    assert (bad["valid"], bad["first_bad"], bad["entries"]) == (False, 1500, 1499)


def test_a_number_beyond_four_bytes_is_shown_and_paged(here: Here) -> None:
    tenant_id = filled(here, 3)
    key = key_of(here, tenant_id)
    here.rig.run("UPDATE audit_log SET no = no + 5000000000 WHERE tenant_id = %s", tenant_id)
    page = here.call("GET", "/audit?limit=1", token=key).get_json()
    after = here.call("GET", f"/audit?limit=1&cursor={page['next_cursor']}", token=key).get_json()
    assert after["items"][0]["no"] == page["items"][0]["no"] - 1


@pytest.mark.parametrize(
    "query",
    ["anchor=1", "anchor=1:zz", "anchor=-1:" + "0" * 64, "anchor=٣:" + "0" * 64, "anchor=", "x=1"],
)
def test_an_anchor_that_is_none_is_refused(here: Here, query: str) -> None:
    assert here.call("GET", f"/audit/verify?{query}").status_code == 400


def test_the_role_of_the_api_reaches_no_other_chain(here: Here) -> None:
    mine, theirs = filled(here, 2), filled(here, 2)
    audit = here.store.audit
    with acting_as(Acting(principal=whoever(mine), action="x")):
        assert len(audit.list(AuditFilter(tenant_id=mine))) == 2
        assert audit.list(AuditFilter(tenant_id=theirs)) == []
        assert audit.head(theirs) is None
        assert audit.tenants() == [mine]
        for statement in (
            "SELECT zq_audit_v1(%s, NULL, 'user', 'x', 'x', '', '', '', '[[\"a\", \"b\"]]')",
            "INSERT INTO audit_heads VALUES (%s, 9, '')",
            "UPDATE audit_log SET principal = 'x' WHERE tenant_id = %s",
            "DELETE FROM audit_log WHERE tenant_id = %s",
            "UPDATE audit_heads SET no = 0 WHERE tenant_id = %s",
        ):
            for tenant_id in (theirs, *([mine] if "zq_audit" not in statement else [])):
                with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                    with here.store.pool.cursor() as cursor:
                        cursor.execute(statement, (tenant_id,))
    with here.store.pool.cursor() as cursor, pytest.raises(psycopg2.Error):
        cursor.execute("SELECT zq_audit_v1(%s, NULL, '', '', '', '', '', '', '[]')", (mine,))
    for tenant_id in (mine, theirs):
        assert Auditing(here.rig.store.audit).verify(tenant_id).entries == 2
