"""`zq user`, `key`, `role`, `tenant` and `workflow grants`, on the API in memory."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from orchestrator.client.discovery import connect
from orchestrator.client.errors import ApiError
from tests.api.conftest import ONE
from tests.cli.place import EMAIL, PASSWORD, Place

Captured = pytest.CaptureFixture[str]


def test_who_is_invited_sets_a_password(place: Place) -> None:
    token = place.zq("user", "create", EMAIL, "--invite", "--role", "editor").strip()
    assert "once, until" in place.errors
    assert "no password" in place.zq("user", "list")
    place.zq("user", "accept", "--stdin", text=f"{token}\nshort\n", code=1)
    said = place.zq("user", "accept", "--stdin", text=f"{token}\n{PASSWORD}\n")
    assert said == f"{EMAIL} has a password now: `zq login`\n"
    place.zq("user", "accept", "--stdin", text=f"{token}\n{PASSWORD}\n", code=1)
    place.login()
    place.zq("logout")
    reset = place.told("user", "reset", EMAIL)
    assert reset["user"]["email"] == EMAIL
    place.zq("user", "accept", "--stdin", text=f"{reset['token']}\n{PASSWORD}2\n")


def test_users_are_changed_and_removed(place: Place) -> None:
    made = place.make("--role", "viewer")
    place.login()
    place.zq("logout")
    changed = place.told("user", "change", EMAIL, "--role", "editor", "--name", "Ada")
    assert (changed["roles"], changed["name"], changed["state"]) == (["editor"], "Ada", "active")
    assert place.zq("user", "change", made["id"], "--disable") == f"{EMAIL} is disabled: editor\n"
    words = ("login", "--email", EMAIL, "--password-stdin")
    place.zq(*words, text=f"{PASSWORD}\n", code=1)
    assert place.told("user", "change", EMAIL, "--enable", "--no-role")["roles"] == []
    place.zq("user", "change", EMAIL, "--role", "king", code=1)
    assert "king" in place.errors
    place.zq("user", "delete", EMAIL, code=1)
    assert "--yes" in place.errors
    assert place.told("user", "delete", EMAIL, "--yes")["did"] == "deleted"
    place.zq("user", "delete", EMAIL, "--yes", code=1)
    assert "zq user list" in place.errors
    assert place.zq("user", "list") == ""
    assert "--admin" in place.errors


def test_the_last_owner_stays(place: Place) -> None:
    place.make("--admin")
    place.zq("user", "change", EMAIL, "--disable", code=1)
    place.zq("user", "delete", EMAIL, "--yes", code=1)
    assert [u["state"] for u in place.told("user", "list")] == ["active"]


def test_a_key_is_printed_once(place: Place) -> None:
    words = ("--role", "operator", "--scope", "runs:start", "--scope", "runs:read")
    key = place.zq("key", "create", "ci", *words, "--expires", "90d")
    assert key.startswith("zqk_")
    assert key.count("\n") == 1
    (listed,) = place.told("key", "list")
    assert (listed["roles"], sorted(listed["scopes"])) == (
        ["operator"],
        ["runs:read", "runs:start"],
    )
    assert listed["expires_at"] > listed["created_at"]
    assert key.strip() not in json.dumps(place.told("key", "list"))
    assert key.strip() not in place.zq("key", "list")
    next_key = place.told("key", "rotate", "ci", "--overlap", "1h")
    assert [k["name"] for k in place.told("key", "list")] == ["ci", "ci"]
    assert "rotated" in place.zq("key", "list")
    assert works(place, key)
    assert works(place, next_key["key"])
    place.zq("key", "revoke", "ci", "--yes")
    assert works(place, key)
    assert not works(place, next_key["key"])
    assert place.told("key", "revoke", listed["prefix"], "--yes")["did"] == "revoked"
    assert not works(place, key)
    place.zq("key", "revoke", "ci", "--yes", code=1)
    assert "zq key list" in place.errors


def works(place: Place, key: str) -> bool:
    """Return whether a key is let in."""
    try:
        with connect(place.url, key=key.strip()) as client:
            client.runs(limit=1)
    except ApiError as error:
        if error.status == 401:
            return False
        raise
    return True


def test_keys_of_one_name_are_told_apart(place: Place) -> None:
    for _ in range(2):
        place.zq("key", "create", "twin", "--role", "viewer")
    prefixes = [key["prefix"] for key in place.told("key", "list")]
    place.zq("key", "revoke", "twin", "--yes", code=1)
    assert all(prefix in place.errors for prefix in prefixes)
    place.zq("key", "revoke", prefixes[0], "--yes")
    place.zq("key", "revoke", "twin", "--yes")


@pytest.mark.parametrize("when", ["soon", "90", "d", "-1d", "2026-13-01", "999999w"])
def test_an_expiry_that_is_no_time_is_refused_here(place: Place, when: str) -> None:
    place.zq("key", "create", "ci", f"--expires={when}", code=2)
    assert place.told("key", "list") == []


def test_a_key_without_a_role_is_told(place: Place) -> None:
    place.zq("key", "create", "ci", "--expires", "2099-01-01T00:00:00Z")
    assert "no role" in place.errors
    place.zq("key", "create", "ci", "--expires", "2001-01-01T00:00:00Z", code=1)


def test_roles_are_made_changed_and_removed(place: Place) -> None:
    rights = ("--permission", "runs:read", "--permission", "logs:read")
    assert place.zq("role", "create", "watcher", *rights).startswith("made the role watcher: ")
    changed = place.told(
        "role", "change", "watcher", "--add", "runs:steer", "--remove", "logs:read"
    )
    assert changed["permissions"] == ["runs:read", "runs:steer"]
    assert place.told("role", "change", "watcher", "--description", "sees")["description"] == "sees"
    listed = {role["name"]: role["built_in"] for role in place.told("role", "list")}
    assert (listed["owner"], listed["watcher"]) == (True, False)
    assert "more" in place.zq("role", "list")
    place.zq("role", "delete", "viewer", "--yes", code=1)
    assert "built in" in place.errors
    place.zq("role", "delete", "watcher", "--yes")
    place.zq("role", "change", "watcher", "--add", "runs:read", code=1)
    place.zq("role", "change", "viewer", code=2)


def test_a_tenant_gets_its_owner_who_sees_nothing_of_others(place: Place) -> None:
    place.make("--role", "admin")
    made = place.told("tenant", "create", "acme", "--owner", "eve@example.org")
    assert {t["name"] for t in place.told("tenant", "list")} > {"acme"}
    token = made["invitation"]["token"]
    place.zq("user", "accept", "--stdin", text=f"{token}\n{PASSWORD}\n")
    place.login("eve@example.org")
    assert [u["email"] for u in place.told("user", "list")] == ["eve@example.org"]
    place.zq("tenant", "list", code=1)
    assert "tenants:write" in place.errors
    place.zq("logout")
    assert place.zq("tenant", "create", "other").startswith("made the tenant other, ")
    place.zq("tenant", "create", "other", code=1)


def test_a_grant_is_given_and_taken(place: Place) -> None:
    with connect() as client:
        client.create(ONE)
    place.make()
    key = place.told("key", "create", "ci")
    both = ("--give", f"{EMAIL}=editor", "--give", f"{key['prefix']}=operator")
    assert {g["role"] for g in place.told("workflow", "grants", "one", *both)} == {
        "editor",
        "operator",
    }
    assert EMAIL in place.zq("workflow", "grants", "one")
    (left,) = place.told("workflow", "grants", "one", "--take", EMAIL)
    assert left["principal_id"] == key["id"]
    place.zq("workflow", "grants", "one", "--give", "nobody@example.org=editor", code=1)
    place.zq("workflow", "grants", "one", "--give", EMAIL, code=2)
    place.zq("workflow", "grants", "one", "--give", f"{EMAIL}=king", code=1)
    place.zq("workflow", "grants", "one", "--take", key["id"])
    assert "no grants" in place.errors


def test_without_an_api_only_the_first_user_is_made_beside_it(place: Place) -> None:
    place.patch.setenv("ZQ_WEB__PORT", "1")
    words = ("user", "create", EMAIL, "--password-stdin")
    place.zq(*words, "--role", "viewer", text=PASSWORD, code=1)
    assert "no server answers" in place.errors
    place.zq(*words, "--admin", text=PASSWORD, code=1)
    assert "`zq up`" in place.errors
    assert "ZQ_DATABASE__URL" in place.errors


@pytest.mark.parametrize(
    "attack", [lambda e: f"{e}\x1b[2J", lambda e: f"{e}\nx", lambda e: e * 100, lambda _: ""]
)
def test_what_is_no_address_makes_no_user(place: Place, attack: Callable[[str], str]) -> None:
    place.zq("user", "create", attack(EMAIL), "--password-stdin", text=PASSWORD, code=1)
    assert "\x1b" not in place.errors
    assert place.told("user", "list") == []
