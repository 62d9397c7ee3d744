"""Users, API keys, roles and tenants over HTTP: made, read, paged, changed, and every refusal."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from orchestrator.models.access.permissions import ADMIN, ROLES
from tests.api.conftest import refused
from tests.api.people import PASSWORD, Person, Site, make_site
from tests.servers import Servers

NEW = {"email": "new@example.org", "name": "New", "roles": ["viewer"]}
AS_IT_IS = {"name": "", "roles": ["viewer"], "state": "active"}


@pytest.fixture
def site(servers: Servers) -> Site:
    return make_site(servers)


@pytest.fixture
def owner(site: Site) -> Person:
    return site.signed_in("owner", "owner")


@pytest.fixture
def admin(site: Site) -> Person:
    return site.signed_in("admin", "admin")


def pages(who: Person, path: str, limit: int) -> list[list[str]]:
    """Return the ids of a list, page by page."""
    found, cursor = [], ""
    while True:
        answer = who.get(f"{path}?limit={limit}{cursor}")
        assert answer.status_code == 200, answer.text
        assert answer.headers["Cache-Control"] == "no-store"
        found.append([item["id"] for item in answer.json["items"]])
        if answer.json["next_cursor"] is None:
            return found
        cursor = f"&cursor={answer.json['next_cursor']}"


def test_a_user_from_beginning_to_end(owner: Person) -> None:
    answer = owner.post("/users", {**NEW, "email": " New@Example.ORG ", "password": PASSWORD})
    made = answer.json
    assert answer.status_code == 201, answer.text
    assert made["email"] == "new@example.org"
    assert made["has_password"] is True
    assert "password" not in made
    assert answer.headers["Cache-Control"] == "no-store"
    path = answer.headers["Location"].removeprefix("/api/v1")
    read = owner.get(path)
    assert read.json == made
    tag = read.headers["ETag"]
    assert owner.get(path, headers={"If-None-Match": tag}).status_code == 304
    person = owner.site.sign_in(owner.site.core.access.users.get(ADMIN, UUID(made["id"])))
    changed = owner.put(path, {**AS_IT_IS, "name": "Newer"}, headers={"If-Match": tag})
    assert (changed.status_code, changed.json["name"]) == (200, "Newer")
    refused(owner.put(path, AS_IT_IS, headers={"If-Match": tag}), 412)
    assert owner.get(f"{path}/sessions").json["items"]
    assert owner.delete(f"{path}/sessions").status_code == 204
    refused(person.get("/auth/me"), 401)
    assert owner.delete(path).status_code == 204
    refused(owner.get(path), 404)
    refused(owner.delete(path), 404)


def test_users_are_paged_in_the_order_they_were_made(owner: Person) -> None:
    made = [str(owner.id)]
    for number in range(4):
        body = {**NEW, "email": f"u{number}@example.org"}
        made.append(owner.post("/users", body).json["id"])
    assert pages(owner, "/users", 2) == [made[:2], made[2:4], made[4:]]
    assert pages(owner, "/users", 5) == [made]
    for query in ("limit=0", "limit=201", "cursor=x", "name=x"):
        refused(owner.get(f"/users?{query}"), 400)


@pytest.mark.parametrize(
    ("path", "body"),
    [("/users", {**NEW, **more}) for more in (
        {"id": str(uuid4())}, {"tenant_id": str(uuid4())}, {"state": "disabled"},
        {"created_at": "2026-01-01T00:00:00Z"}, {"permissions": ["users:write"]},
        {"has_password": True}, {"valid_from": None}, {"is_owner": True}, {"__proto__": {}},
        {"password": "short"}, {"email": "no address"}, {"roles": ["nothing"]}, {"roles": "owner"},
        {"roles": [1]}, {"roles": ["viewer"] * 21}, {"name": "x" * 201}, {"name": "a\u202eb"},
    )]
    + [("/users/invite", {**NEW, **more}) for more in ({"password": PASSWORD}, {"token": "x"},
                                                      {"tenant_id": str(uuid4())})]
    + [("/api-keys", {"name": "k", "roles": ["viewer"], **more}) for more in (
        {"prefix": "a" * 12}, {"key": "zqk_x"}, {"created_by": str(uuid4())},
        {"tenant_id": str(uuid4())}, {"scopes": ["x:y"]}, {"scopes": "runs:read"}, {"name": ""},
        {"roles": ["nothing"]}, {"expires_at": "2020-01-01T00:00:00Z"}, {"expires_at": "soon"},
        {"revoked_at": None},
    )]
    + [("/roles", {"name": "mine", "permissions": ["runs:read"], **more}) for more in (
        {"name": "owner"}, {"name": "viewer"}, {"name": "A"}, {"name": "../x"}, {"name": ""},
        {"permissions": ["x"]}, {"permissions": "runs:read"}, {"permissions": None},
        {"tenant_id": str(uuid4())}, {"built_in": True}, {"description": "x" * 501},
    )]
    + [("/tenants", {"name": "t", **more}) for more in (
        {"id": str(uuid4())}, {"name": ""}, {"name": " "}, {"name": "x" * 201}, {"quota": 1})],
)  # fmt: skip
def test_only_what_is_named_can_be_set(owner: Person, path: str, body: Mapping[str, Any]) -> None:
    answer = owner.post(path, body)
    assert refused(answer, 422)["problems"], answer.text


def test_a_change_is_whole_and_holds_nothing_else(owner: Person) -> None:
    path = f"/users/{owner.post('/users', NEW).json['id']}"
    for body in (
        {}, {"name": "x"}, {**AS_IT_IS, "email": "x@example.org"}, {**AS_IT_IS, "state": "gone"},
        {**AS_IT_IS, "tenant_id": str(uuid4())}, {**AS_IT_IS, "password": PASSWORD},
    ):  # fmt: skip
        refused(owner.put(path, body), 422)


def test_an_address_is_known_once(owner: Person) -> None:
    assert owner.post("/users", NEW).status_code == 201
    assert refused(owner.post("/users", {**NEW, "email": "NEW@example.org"}), 409)
    refused(owner.post("/users/invite", NEW), 409)


def test_a_disabled_user_is_out_and_may_come_back(owner: Person, site: Site) -> None:
    user = site.user("ada", "viewer")
    ada = site.sign_in(user)
    assert owner.put(f"/users/{user.id}", {**AS_IT_IS, "state": "disabled"}).status_code == 200
    refused(ada.get("/auth/me"), 401)
    refused(site.send("POST", "/auth/refresh", json={"refresh_token": ada.refresh_token}), 401)
    assert owner.put(f"/users/{user.id}", AS_IT_IS).status_code == 200
    refused(ada.get("/auth/me"), 401)
    assert site.sign_in(user).get("/auth/me").status_code == 200


def test_a_role_that_is_taken_away_is_gone_at_once(owner: Person, site: Site) -> None:
    user = site.user("ada", "viewer", "editor")
    ada = site.sign_in(user)
    assert owner.put(f"/users/{user.id}", AS_IT_IS).status_code == 200
    refused(ada.get("/auth/me"), 401)
    again = site.sign_in(user)
    assert again.get("/runs").status_code == 200
    refused(again.post("/workflows", {"name": "x", "nodes": []}), 403)


def test_a_tenant_keeps_its_last_owner(owner: Person, site: Site) -> None:
    path = f"/users/{owner.id}"
    as_owner = {**AS_IT_IS, "roles": ["owner"]}
    for change in ({**AS_IT_IS}, {**as_owner, "state": "disabled"}):
        assert refused(owner.put(path, change), 409)["code"] == "last_owner"
    assert refused(owner.delete(path), 409)["code"] == "last_owner"
    second = site.signed_in("second", "owner")
    assert second.delete(path).status_code == 204
    assert refused(second.delete(f"/users/{second.id}"), 409)["code"] == "last_owner"


def test_a_reset_sets_another_password(owner: Person, site: Site) -> None:
    user = site.user("ada", "viewer")
    ada = site.sign_in(user)
    answer = owner.post(f"/users/{user.id}/reset")
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    body = {"token": answer.json["token"], "password": "another long password"}
    assert ada.get("/auth/me").status_code == 200, "a reset that nobody takes changes nothing"
    assert site.send("POST", "/auth/accept", json=body).status_code == 200
    refused(ada.get("/auth/me"), 401)
    refused(site.send("POST", "/auth/accept", json=body), 401)


def test_a_key_from_beginning_to_end(owner: Person, site: Site) -> None:
    ends = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    body = {"name": "ci", "roles": ["editor"], "scopes": ["runs:read"], "expires_at": ends}
    answer = owner.post("/api-keys", body)
    assert answer.status_code == 201, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    plain = answer.json["key"]
    assert plain.startswith(f"zqk_{answer.json['prefix']}_")
    path = answer.headers["Location"].removeprefix("/api/v1")
    assert site.send("GET", "/runs", plain).status_code == 200
    refused(site.send("GET", "/workflows", plain), 403)
    for shown in (owner.get(path).text, owner.get("/api-keys").text):
        assert plain not in shown
        assert '"key"' not in shown
    rotated = owner.post(f"{path}/rotate", {"overlap_s": 3600})
    assert rotated.status_code == 201, rotated.text
    newer = rotated.json["key"]
    assert rotated.json["scopes"] == ["runs:read"]
    assert owner.get(path).json["rotated_to"] == rotated.json["id"]
    assert site.send("GET", "/runs", plain).status_code == 200
    refused(owner.post(f"{path}/rotate"), 409)
    assert owner.delete(path).status_code == 204
    assert owner.delete(path).status_code == 204
    refused(site.send("GET", "/runs", plain), 401)
    assert site.send("GET", "/runs", newer).status_code == 200
    assert owner.get(path).json["revoked_at"]
    assert pages(owner, "/api-keys", 1) == [[answer.json["id"]], [rotated.json["id"]]]


def test_a_key_is_made_once_for_an_idempotency_key(owner: Person) -> None:
    header = {"Idempotency-Key": str(uuid4())}
    body = {"name": "ci", "roles": ["viewer"]}
    made = owner.post("/api-keys", body, headers=header)
    assert made.status_code == 201
    again = refused(owner.post("/api-keys", body, headers=header), 409)
    assert again["code"] == "conflict"
    other = refused(owner.post("/api-keys", {**body, "name": "x"}, headers=header), 409)
    assert other["code"] == "idempotency_mismatch"
    assert len(owner.get("/api-keys").json["items"]) == 1
    told = owner.get("/audit?action=api-keys.create_key").json["items"]
    about = [entry["resource_id"] for entry in told]
    assert about.count(made.json["id"]) == 1
    assert "" not in about, "the Idempotency-Key is no entry of its own"
    # What was refused has made nothing, and may be tried again under the same key.
    header = {"Idempotency-Key": str(uuid4())}
    refused(owner.post("/api-keys", {**body, "roles": ["nothing"]}, headers=header), 422)
    assert owner.post("/api-keys", body, headers=header).status_code == 201


def test_a_key_may_no_more_than_whoever_makes_it(admin: Person, site: Site) -> None:
    refused(admin.post("/api-keys", {"name": "k", "roles": ["owner"]}), 403)
    answer = admin.post("/api-keys", {"name": "k", "roles": ["admin"], "scopes": ["keys:write"]})
    small = answer.json["key"]
    body = {"name": "more", "roles": ["viewer"]}
    refused(site.send("POST", "/api-keys", small, json=body), 403)
    alike = {"name": "alike", "roles": ["admin"], "scopes": ["keys:write"]}
    assert site.send("POST", "/api-keys", small, json=alike).status_code == 201
    refused(site.send("POST", f"/api-keys/{_owners(site)}/rotate", small, json={}), 403)
    refused(site.send("DELETE", f"/api-keys/{_owners(site)}", small), 403)


def _owners(site: Site) -> UUID:
    record, _ = site.core.access.keys.create(ADMIN, name="an owner's", roles=["owner"])
    return record.id


def test_a_role_from_beginning_to_end(owner: Person, site: Site) -> None:
    body = {"name": "reader", "description": "Reads.", "permissions": ["runs:read"]}
    answer = owner.post("/roles", body)
    assert answer.status_code == 201, answer.text
    assert answer.headers["Location"] == "/api/v1/roles/reader"
    ada = site.signed_in("ada", "reader")
    assert ada.get("/runs").status_code == 200
    refused(ada.get("/workflows"), 403)
    refused(owner.post("/roles", body), 409)
    tag = owner.get("/roles/reader").headers["ETag"]
    change = {"description": "", "permissions": ["workflows:read"]}
    changed = owner.put("/roles/reader", change, headers={"If-Match": tag})
    assert changed.json["permissions"] == ["workflows:read"]
    refused(owner.put("/roles/reader", change, headers={"If-Match": tag}), 412)
    refused(ada.get("/runs"), 403)
    assert ada.get("/workflows").status_code == 200
    assert [role["name"] for role in owner.get("/roles").json["items"]] == [*ROLES, "reader"]
    assert owner.delete("/roles/reader").status_code == 204
    refused(ada.get("/workflows"), 403)
    refused(owner.get("/roles/reader"), 404)


def test_built_in_roles_never_change(owner: Person) -> None:
    for name, permissions in ROLES.items():
        read = owner.get(f"/roles/{name}")
        assert (read.json["built_in"], read.json["permissions"]) == (
            True, sorted(map(str, permissions)),
        )  # fmt: skip
        refused(owner.put(f"/roles/{name}", {"description": "", "permissions": []}), 409)
        refused(owner.delete(f"/roles/{name}"), 409)


def test_a_role_holds_no_more_than_whoever_writes_it(admin: Person, owner: Person) -> None:
    more = {"description": "", "permissions": ["tenants:write"]}
    refused(admin.post("/roles", {**more, "name": "more"}), 403)
    assert owner.post("/roles", {**more, "name": "more"}).status_code == 201
    refused(admin.put("/roles/more", {"description": "", "permissions": []}), 403)
    refused(admin.delete("/roles/more"), 403)
    refused(admin.post("/users", {**NEW, "roles": ["more"]}), 403)


def test_a_tenant_from_beginning_to_end(owner: Person, site: Site) -> None:
    answer = owner.post("/tenants", {"name": "acme"})
    assert answer.status_code == 201, answer.text
    path = answer.headers["Location"].removeprefix("/api/v1")
    refused(owner.post("/tenants", {"name": "acme"}), 409)
    tag = owner.get(path).headers["ETag"]
    renamed = owner.put(path, {"name": "acme 2"}, headers={"If-Match": tag})
    assert renamed.json["name"] == "acme 2"
    refused(owner.put(path, {"name": "acme 3"}, headers={"If-Match": tag}), 412)
    refused(owner.get(f"/tenants/{uuid4()}"), 404)
    refused(owner.post(f"/tenants/{uuid4()}/invite", {"email": "x@example.org"}), 404)
    invited = owner.post(f"{path}/invite", {"email": "boss@example.org"})
    assert (invited.status_code, invited.json["user"]["roles"]) == (201, ["owner"])
    refused(owner.post(f"{path}/invite", {"email": "b@example.org", "roles": ["viewer"]}), 422)
    body = {"token": invited.json["token"], "password": PASSWORD}
    assert site.send("POST", "/auth/accept", json=body).status_code == 200
    login = {"email": "boss@example.org", "password": PASSWORD}
    token = site.send("POST", "/auth/login", json=login).json["access_token"]
    me = site.send("GET", "/auth/me", token).json
    assert me["tenant"] == {"id": answer.json["id"], "name": "acme 2"}
    assert not {"tenants:write", "quotas:write"} & set(me["permissions"])
    refused(site.send("GET", "/tenants", token), 403)
    refused(site.send("GET", path, token), 403)
    assert [u["email"] for u in site.send("GET", "/users", token).json["items"]] == [
        "boss@example.org"
    ]
    refused(owner.get(f"/users/{invited.json['user']['id']}"), 404)
    listed = [one["name"] for one in owner.get("/tenants").json["items"]]
    assert "acme 2" in listed
    assert len(pages(owner, "/tenants", 1)) == len(listed)
