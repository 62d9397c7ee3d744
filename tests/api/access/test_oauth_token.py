"""The token endpoint: machines trade an API key for a short token, and nothing else for one."""

from __future__ import annotations

import base64
from typing import Any

from werkzeug.test import TestResponse

from orchestrator.models.access.permissions import ADMIN
from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.ports.audit import AuditFilter
from tests.api.conftest import KEY, Api, refused

PATH = "/api/v1/oauth/token"


def a_key(api: Api, **more: Any) -> tuple[Any, str, str]:
    """Make an API key; return its record and its two halves."""
    record, plain = api.core.access.keys.create(ADMIN, name="ci", roles=["operator"], **more)
    _, prefix, secret = plain.split("_", 2)
    return record, prefix, secret


def ask(api: Api, client_id: str = "", client_secret: str = "", **form: str) -> TestResponse:
    given = {
        "grant_type": "client_credentials", "client_id": client_id, "client_secret": client_secret,
        **form,
    }  # fmt: skip
    return api.client.post(PATH, data=given)


def basic(name: str, secret: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{name}:{secret}'.encode()).decode()}"}


def no_token(answer: TestResponse, status: int, error: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.json["error"] == error
    assert answer.headers["Cache-Control"] == "no-store"
    assert ("WWW-Authenticate" in answer.headers) is (status == 401)


def get(api: Api, token: str, path: str = "/runs") -> TestResponse:
    return api.client.get(f"/api/v1{path}", headers={"Authorization": f"Bearer {token}"})


def test_a_machine_gets_a_token_for_its_key(api: Api) -> None:
    _, prefix, secret = a_key(api)
    for answer in (
        ask(api, prefix, secret),
        api.client.post(
            PATH, data={"grant_type": "client_credentials"}, headers=basic(prefix, secret)
        ),
    ):
        assert answer.status_code == 200, answer.text
        assert answer.headers["Cache-Control"] == "no-store"
        assert set(answer.json) == {"access_token", "token_type", "expires_in", "scope"}
        assert (answer.json["token_type"], answer.json["expires_in"]) == ("Bearer", 600)
        assert "runs:start" in answer.json["scope"].split()
        assert get(api, answer.json["access_token"]).status_code == 200
    who = get(api, answer.json["access_token"], "/auth/me").json["principal"]
    assert (who["kind"], who["name"]) == ("key", "ci")


def test_what_is_no_client(api: Api) -> None:
    _, prefix, secret = a_key(api)
    other = a_key(api)[1]
    for name, word in (
        (prefix, ""), ("", secret), (prefix, secret[:-1]), (prefix, secret + "A"),
        (prefix, secret.swapcase()), (other, secret), (prefix.upper(), secret), (prefix, "x" * 43),
        (f"zqk_{prefix}", secret), (prefix, f"{prefix}_{secret}"), ("admin", KEY), ("", KEY),
        (f"{prefix}\n", secret), (prefix, "\x00"), (prefix, "é" * 43), ("x" * 70_00, secret),
    ):  # fmt: skip
        no_token(ask(api, name, word), 401, "invalid_client")
    form = {"grant_type": "client_credentials"}
    for header in ("Basic", "Basic !", "Basic eA==", f"Bearer {KEY}", "Digest x=y", ""):
        answer = api.client.post(PATH, data=form, headers={"Authorization": header})
        no_token(answer, 401, "invalid_client")
    wanted = AuditFilter(tenant_id=DEFAULT_TENANT, after=0, limit=1000)
    told = [one.action for one in api.core.auditing.list(wanted)]
    assert "auth.key_refused" in told


def test_what_is_no_request(api: Api) -> None:
    _, prefix, secret = a_key(api)
    no_token(ask(api, prefix, secret, grant_type="password"), 400, "unsupported_grant_type")
    no_token(ask(api, prefix, secret, grant_type=""), 400, "invalid_request")
    form = f"grant_type=client_credentials&client_id={prefix}&client_secret={secret}"
    kind = "application/x-www-form-urlencoded"
    for body, media in (
        (f"{form}&scope=a&scope=b", kind), (f"{form}&client_secret=x", kind), (form, "text/plain"),
        ('{"grant_type": "client_credentials"}', "application/json"), (form, ""), ("", kind),
        (form + "&x=%ff%fe", kind), (form + "&a=1" * 99, kind), (form.encode("utf-16"), kind),
    ):  # fmt: skip
        answer = api.client.post(PATH, data=body, content_type=media)
        no_token(answer, 400, "invalid_request")
    both = api.client.post(
        PATH, data=form, content_type=kind, headers=basic(prefix, secret)
    )  # fmt: skip
    no_token(both, 400, "invalid_request")
    refused(api.client.post(f"{PATH}?{form}"), 400)
    refused(api.client.get(PATH), 401)


def test_scopes_narrow_a_token_and_never_widen_it(api: Api) -> None:
    _, prefix, secret = a_key(api)
    narrow = ask(api, prefix, secret, scope="runs:read logs:read").json
    assert narrow["scope"] == "logs:read runs:read"
    assert get(api, narrow["access_token"]).status_code == 200
    refused(get(api, narrow["access_token"], "/workflows"), 403)
    me = get(api, narrow["access_token"], "/auth/me").json
    assert me["permissions"] == ["logs:read", "runs:read"]
    for scope in ("users:write", "runs:read users:write", "no:such", " ", "runs:read  logs:read",
                  "RUNS:READ", "owner", "*"):  # fmt: skip
        no_token(ask(api, prefix, secret, scope=scope), 400, "invalid_scope")
    # A key with scopes of its own gives no more than those.
    _, prefix, secret = a_key(api, scopes=["runs:read"])
    assert ask(api, prefix, secret).json["scope"] == "runs:read"
    no_token(ask(api, prefix, secret, scope="runs:start"), 400, "invalid_scope")


def test_a_narrow_token_stays_narrow_on_its_way_to_a_socket(api: Api) -> None:
    _, prefix, secret = a_key(api)
    token = ask(api, prefix, secret, scope="runs:read").json["access_token"]
    access = api.core.access
    principal = access.principal_of(token, "")
    again = access.take_ticket(access.ticket(principal))
    for one in (principal, access.still(principal), again, access.still(again)):
        assert {str(p) for p in one.permissions} == {"runs:read"}


def test_a_token_ends_with_its_key(api: Api) -> None:
    record, prefix, secret = a_key(api)
    token = ask(api, prefix, secret).json["access_token"]
    assert get(api, token).status_code == 200
    api.core.access.keys.revoke(ADMIN, record.id)
    refused(get(api, token), 401)
    no_token(ask(api, prefix, secret), 401, "invalid_client")


def test_a_token_is_no_client(api: Api) -> None:
    """Neither for another token, nor in a cookie, nor for a session."""
    _, prefix, secret = a_key(api)
    token = ask(api, prefix, secret).json["access_token"]
    no_token(ask(api, prefix, token), 401, "invalid_client")
    api.client.set_cookie("zq_access", token)
    refused(api.client.get("/api/v1/runs"), 401)
    refused(api.client.post("/api/v1/auth/refresh", json={"refresh_token": token}), 401)
