"""`zq login` and `logout`: who the command line is, for which server, and for how long."""

from __future__ import annotations

import io
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import click
import httpx
import pytest

from orchestrator.cli.up.first_user import HINT, hint
from orchestrator.client import sign_in
from orchestrator.client.discovery import connect
from orchestrator.models.access.permissions import ADMIN
from tests.api.conftest import KEY
from tests.cli.place import EMAIL, PASSWORD, Place, Terminal

Captured = pytest.CaptureFixture[str]


def test_a_password_that_is_no_text_is_refused(place: Place) -> None:
    words = ("user", "create", EMAIL, "--password-stdin")
    place.zq(*words, text="correct horse \udcff battery\n", code=1)
    assert "no UTF-8" in place.errors
    raw = io.TextIOWrapper(io.BytesIO(b"correct horse \xff battery\n"), encoding="utf-8")
    place.patch.setattr(io, "StringIO", lambda _: raw)
    place.zq(*words, code=1)
    assert "no UTF-8" in place.errors


def test_the_first_user_signs_in_and_acts(place: Place) -> None:
    assert hint(place.url, KEY) == HINT
    made = place.make("--admin", "--name", "Ada")
    assert (made["email"], made["roles"], made["has_password"]) == (EMAIL, ["owner"], True)
    assert PASSWORD not in json.dumps(made)
    assert hint(place.url, KEY) is None
    place.login()
    assert (place.home / "login.json").stat().st_mode & 0o777 == 0o600
    assert PASSWORD not in (place.home / "login.json").read_text()
    with connect() as client:
        me = client.request("GET", "auth/me").json()
    assert (me["principal"]["kind"], me["principal"]["name"]) == ("user", EMAIL)
    assert EMAIL in place.zq("user", "list")
    assert place.zq("logout") == f"signed out at {place.url}\n"
    assert not (place.home / "login.json").exists()
    with connect() as client:
        assert client.request("GET", "auth/me").json()["principal"]["kind"] == "system"
    assert place.zq("logout") == "nobody was signed in\n"


def test_without_a_server_there_is_no_hint() -> None:
    assert hint("http://127.0.0.1:1", KEY) is None


def test_a_login_ends_at_the_server_too(place: Place) -> None:
    place.make("--role", "viewer")
    place.login()
    bearer = {"Authorization": f"Bearer {place.kept['access_token']}"}
    assert httpx.get(f"{place.url}/api/v1/auth/me", headers=bearer).status_code == 200
    place.zq("logout")
    assert httpx.get(f"{place.url}/api/v1/auth/me", headers=bearer).status_code == 401


@pytest.mark.parametrize("email", [EMAIL, "nobody@example.org"])
def test_a_wrong_password_keeps_nothing(place: Place, email: str) -> None:
    place.make("--role", "viewer")
    words = ("login", "--email", email, "--password-stdin")
    place.zq(*words, text="wrong password\n", code=1)
    assert "error: " in place.errors
    assert not (place.home / "login.json").exists()


def test_a_password_that_cannot_be_asked_for_is_no_empty_one(place: Place) -> None:
    for words in (("user", "create", EMAIL), ("login", "--email", EMAIL)):
        place.zq(*words, text=f"{PASSWORD}\n", code=1)
        assert "--password-stdin" in place.errors
        place.zq(*words, "--password-stdin", code=1)
        assert "no password on standard input" in place.errors
    place.zq("login", "--password-stdin", text=f"{PASSWORD}\n", code=1)
    assert "--email" in place.errors
    assert place.told("user", "list") == []


def test_on_a_terminal_it_is_asked_for_twice_and_not_shown(place: Place) -> None:
    typed = iter([PASSWORD, "another one here", PASSWORD, PASSWORD])
    place.patch.setattr(click.termui, "hidden_prompt_func", lambda _: next(typed))
    place.patch.setattr(io, "StringIO", Terminal)
    said = place.zq("user", "create", EMAIL, "--role", "viewer")
    assert PASSWORD not in said + place.errors
    assert next(typed, None) is None
    place.login()


def test_a_token_near_its_end_is_renewed(place: Place) -> None:
    place.make("--role", "viewer")
    place.login()
    before = place.kept
    place.zq("workflow", "list")
    assert place.kept == before, "it is good for long: nothing to renew"
    place.age()
    place.zq("workflow", "list")
    assert place.kept["refresh_token"] != before["refresh_token"]
    assert place.kept["fresh_until_s"] > before["fresh_until_s"] - 1
    assert (place.home / "login.json").stat().st_mode & 0o777 == 0o600


def test_commands_side_by_side_renew_it_once(place: Place) -> None:
    place.make("--role", "viewer")
    place.login()
    before = place.kept["refresh_token"]
    place.age()
    logins = [sign_in.load(place.home) for _ in range(8)]
    bearers = [sign_in.Bearer(place.home, login) for login in logins if login is not None]
    with ThreadPoolExecutor(8) as threads:
        tokens = list(threads.map(lambda bearer: bearer(), bearers))
    assert len(tokens) == 8
    assert set(tokens) == {place.kept["access_token"]}
    (session,) = place.core.access.users.sessions_of(ADMIN, _user_id(place))
    assert place.kept["refresh_token"] != before
    assert session.expires_at > session.created_at


def _user_id(place: Place) -> Any:
    return next(user.id for user in place.core.access.users.page(ADMIN) if user.email == EMAIL)


def test_a_sign_in_that_has_ended_does_not_become_the_admin_key(place: Place) -> None:
    place.make("--role", "viewer")
    place.login()
    place.core.access.users.revoke_sessions(ADMIN, _user_id(place))
    place.age()
    place.zq("user", "list", code=1)
    assert "`zq login`" in place.errors
    place.login()
    place.zq("user", "create", "eve@example.org", "--password-stdin", text=PASSWORD, code=1)
    assert "users:write" in place.errors, "a viewer, although the admin key is at hand"


def test_a_sign_in_is_sent_to_its_own_server_only(place: Place) -> None:
    place.make("--role", "viewer")
    place.login()
    with connect(f"{place.url}/") as client:
        assert client.headers == {"Authorization": f"Bearer {place.kept['access_token']}"}
    with connect("http://127.0.0.1:1") as client:
        assert place.kept["access_token"] not in str(client.headers)
    for elsewhere in ("http://192.0.2.1:80", "http://127.0.0.1.example.org", "http://a@192.0.2.1"):
        with connect(elsewhere) as client:
            assert client.headers == {}, "and the admin key is for this machine"
    place.patch.delenv("ZQ_WEB__PORT")
    with connect() as client:
        assert client.server == place.url, "who is signed in somewhere means that place"
    place.patch.setenv("ZQ_AUTH__ADMIN_KEY", "another-key-of-these-tests-0123456789")
    with connect() as client:
        assert client.headers == {"Authorization": "Bearer another-key-of-these-tests-0123456789"}
    with connect(key="given") as client:
        assert client.headers == {"Authorization": "Bearer given"}


@pytest.mark.parametrize("server", ["http://[", "http://[::1", "nonsense", "http://127.0.0.1:x"])
def test_what_is_no_address_is_one_clear_line(place: Place, server: str) -> None:
    for words in (("user", "list"), ("login", "--email", EMAIL, "--password-stdin")):
        place.zq(*words, "--server", server, text=PASSWORD, code=1)
        assert place.errors.startswith("error: ")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"server": 1}', '{"server": "a", "more": 1}'])
def test_a_damaged_file_is_no_sign_in(place: Place, text: str) -> None:
    (place.home / "login.json").write_text(text)
    assert place.told("user", "list") == []
    assert place.zq("logout") == "nobody was signed in\n"


def test_an_api_key_can_be_kept(place: Place) -> None:
    key = place.zq("key", "create", "ci", "--role", "viewer").strip()
    assert place.zq("login", "--key-stdin", text=f"{key}\n").endswith(" as ci\n")
    place.zq("workflow", "list")
    place.zq("key", "create", "more", "--role", "viewer", code=1)
    assert "keys:write" in place.errors
    place.zq("logout")
    assert place.zq("login", "--key-stdin", text=f"{key}\n"), "logging out leaves a key good"
    place.zq("login", "--key-stdin", text="zqk_nonsense\n", code=1)
    place.zq("login", "--key-stdin", text="schlüssel\n", code=1)
    place.zq("login", "--key-stdin", "--email", EMAIL, text=key, code=2)
