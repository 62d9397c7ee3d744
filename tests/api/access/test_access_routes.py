"""Signing in and out, one's own account, and tickets: with tokens, and as a browser does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from orchestrator.models.access.permissions import ADMIN, ROLES
from orchestrator.ports.access import UserState
from tests.api.conftest import KEY, Api, build_core, refused
from tests.api.people import ORIGIN, PASSWORD, Browser, Site, make_site
from tests.servers import Servers
from web.app import create_app

OTHER = "another long password"
TOKENS = {"token_type", "access_token", "refresh_token", "expires_in_s", "csrf_token"}


@pytest.fixture
def site(servers: Servers) -> Site:
    return make_site(servers)


def login(site: Site, email: str, password: str = PASSWORD, **more: Any) -> Any:
    return site.send("POST", "/auth/login", json={"email": email, "password": password, **more})


def test_signing_in_gives_tokens_that_are_shown_once(site: Site) -> None:
    user = site.user("ada", "viewer")
    answer = login(site, "  ADA@Example.org ")
    assert answer.status_code == 200
    assert set(answer.json) == TOKENS
    assert answer.json["token_type"] == "Bearer"
    assert answer.json["csrf_token"] is None
    assert answer.json["expires_in_s"] == 600
    assert answer.json["access_token"].count(".") == 2
    assert answer.json["refresh_token"].startswith("zqr_")
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in answer.headers
    me = site.send("GET", "/auth/me", answer.json["access_token"])
    assert me.json["principal"]["id"] == str(user.id)
    assert me.json["permissions"] == sorted(map(str, ROLES["viewer"]))
    assert me.json["csrf_token"] is None
    assert me.headers["Cache-Control"] == "no-store"


def test_every_way_to_be_wrong_looks_the_same(site: Site) -> None:
    ada = site.user("ada", "viewer")
    site.core.access.users.invite(ADMIN, email="invited@example.org", roles=[])
    off = site.user("off", "viewer")
    change = {"name": "", "roles": ["viewer"], "state": UserState.DISABLED}
    site.core.access.users.change(ADMIN, off.id, **change)
    answers = [
        login(site, ada.email, "wrong"), login(site, "nobody@example.org"), login(site, off.email),
        login(site, "invited@example.org"), login(site, "no address at all"),
        login(site, ada.email, PASSWORD.upper()), login(site, ada.email, f"{PASSWORD} "),
    ]  # fmt: skip
    shown = set()
    for answer in answers:
        body = dict(refused(answer, 401))
        shown.add((answer.headers["WWW-Authenticate"], *(body[k] for k in ("code", "detail"))))
    assert len(shown) == 1


def test_too_many_attempts_wait_also_with_the_right_password(site: Site) -> None:
    ada = site.user("ada", "viewer")
    for email in (ada.email, "nobody@example.org"):
        for _ in range(10):
            refused(login(site, email, "wrong"), 401)
        answer = login(site, email)
        assert refused(answer, 429)["code"] == "too_many_attempts"
        assert 1 <= int(answer.headers["Retry-After"]) <= 900
    site.user("bea", "viewer")
    assert login(site, "bea@example.org").status_code == 200


def test_a_strangers_word_for_its_address_is_not_believed(site: Site) -> None:
    """50 failures of one address, whatever X-Forwarded-For says."""
    for number in range(50):
        said = {"X-Forwarded-For": f"203.0.113.{number}", "Forwarded": f"for=203.0.113.{number}"}
        body = {"email": f"u{number}@example.org", "password": "wrong"}
        refused(site.send("POST", "/auth/login", json=body, headers=said), 401)
    refused(login(site, "one.more@example.org"), 429)


@pytest.mark.parametrize(
    "body",
    [{}, {"email": "a@example.org"}, {"password": "x"}, {"email": 1, "password": "x"},
     {"email": None, "password": "x"}, {"email": "a@example.org", "password": ["x"]},
     {"email": "a@example.org", "password": ""}, {"email": "", "password": "x"},
     {"email": "a@example.org", "password": "x" * 1025}, {"email": "x" * 321, "password": "x"},
     {"email": "a@example.org", "password": "x", "cookie": "yes"},
     {"email": "a@example.org", "password": "x", "tenant_id": str(uuid4())},
     {"email": "a@example.org", "password": "x", "roles": ["owner"]}],
)  # fmt: skip
def test_a_sign_in_has_exactly_these_fields(site: Site, body: Mapping[str, Any]) -> None:
    refused(site.send("POST", "/auth/login", json=body), 422)


def test_a_refresh_token_is_good_once(site: Site) -> None:
    person = site.signed_in("ada", "viewer")
    answer = site.send("POST", "/auth/refresh", json={"refresh_token": person.refresh_token})
    assert answer.status_code == 200
    assert set(answer.json) == TOKENS
    assert answer.json["refresh_token"] != person.refresh_token
    assert answer.headers["Cache-Control"] == "no-store"
    newer = answer.json["refresh_token"]
    assert site.send("POST", "/auth/refresh", json={"refresh_token": newer}).status_code == 200
    # Two back: somebody else has it, so nobody goes on with this session.
    answer = site.send("POST", "/auth/refresh", json={"refresh_token": person.refresh_token})
    refused(answer, 401)
    refused(person.get("/auth/me"), 401)


@pytest.mark.parametrize("token", ["", "zqr_", "x", "zqr_" + "a" * 43, KEY, None, 1])
def test_what_is_no_refresh_token_is_refused(site: Site, token: Any) -> None:
    answer = site.send("POST", "/auth/refresh", json={"refresh_token": token})
    refused(answer, 401, 422)
    refused(site.send("POST", "/auth/refresh"), 401)


def test_an_access_token_refreshes_nothing_and_a_refresh_token_opens_nothing(site: Site) -> None:
    person = site.signed_in("ada", "viewer")
    body = {"refresh_token": person.access_token}
    refused(site.send("POST", "/auth/refresh", json=body), 401)
    refused(site.send("GET", "/auth/me", person.refresh_token), 401)


@pytest.mark.parametrize("name", ["access_token", "token", "key", "api_key", "ticket", "jwt"])
def test_nothing_in_a_query_is_a_credential(site: Site, name: str) -> None:
    person = site.signed_in("ada", "viewer")
    ticket = person.post("/auth/ticket").json["ticket"]
    for value in (person.access_token, KEY, ticket):
        refused(site.send("GET", f"/auth/me?{name}={value}"), 401)
        refused(site.send("GET", f"/runs?{name}={value}"), 401)


def test_signing_out_ends_this_session_and_no_other(site: Site) -> None:
    user = site.user("ada", "viewer")
    one, two = site.sign_in(user), site.sign_in(user)
    assert one.post("/auth/logout").status_code == 204
    refused(one.get("/auth/me"), 401)
    refused(site.send("POST", "/auth/refresh", json={"refresh_token": one.refresh_token}), 401)
    assert two.get("/auth/me").status_code == 200
    assert len(two.get("/auth/sessions").json["items"]) == 1


def test_all_sessions_can_be_ended(site: Site) -> None:
    user = site.user("ada", "viewer")
    people = [site.sign_in(user) for _ in range(3)]
    listed = people[0].get("/auth/sessions")
    assert [set(item) for item in listed.json["items"]] == [
        {"id", "address", "agent", "created_at", "used_at", "expires_at"}
    ] * 3
    assert listed.json["next_cursor"] is None
    assert people[1].delete("/auth/sessions").status_code == 204
    for person in people:
        refused(person.get("/auth/me"), 401)


def test_a_password_is_changed_by_whoever_knows_it(site: Site) -> None:
    person = site.signed_in("ada", "viewer")
    wrong = {"current_password": "wrong", "new_password": OTHER}
    refused(person.post("/auth/password", wrong), 401)
    short = {"current_password": PASSWORD, "new_password": "short"}
    refused(person.post("/auth/password", short), 422)
    good = {"current_password": PASSWORD, "new_password": OTHER}
    refused(person.post("/auth/password", {**good, "user_id": str(uuid4())}), 422)
    assert person.get("/auth/me").status_code == 200
    answer = person.post("/auth/password", good)
    assert (answer.status_code, answer.data) == (204, b"")
    refused(person.get("/auth/me"), 401)
    refused(login(site, "ada@example.org"), 401)
    assert login(site, "ada@example.org", OTHER).status_code == 200


def test_a_password_cannot_be_guessed_from_within(site: Site) -> None:
    person = site.signed_in("ada", "viewer")
    wrong = {"current_password": "wrong", "new_password": OTHER}
    for _ in range(10):
        refused(person.post("/auth/password", wrong), 401)
    refused(person.post("/auth/password", wrong), 429)
    # Whoever guesses with a stolen session is seen as one at the door is.
    admin = site.signed_in("admin", "admin")
    told = [e["action"] for e in admin.get("/audit").json["items"] if "@" in e["principal"]]
    assert told.count("auth.sign_in_failed") == 10
    assert len(admin.get("/audit?action=auth.locked_out").json["items"]) == 1
    (one, *_) = admin.get("/audit?action=auth.sign_in_failed").json["items"]
    assert (one["principal"], one["address"]) == ("ada@example.org", "127.0.0.1")
    assert one["request_id"]


def test_an_invitation_is_taken_once(site: Site) -> None:
    owner = site.signed_in("owner", "owner")
    answer = owner.post("/users/invite", {"email": "new@example.org", "roles": ["viewer"]})
    assert answer.status_code == 201
    assert set(answer.json) == {"user", "token", "expires_at"}
    assert answer.headers["Cache-Control"] == "no-store"
    token = answer.json["token"]
    body = {"token": token, "password": OTHER, "name": "New"}
    refused(site.send("POST", "/auth/accept", json={**body, "password": "short"}), 422)
    refused(site.send("POST", "/auth/accept", json={**body, "roles": ["owner"]}), 422)
    taken = site.send("POST", "/auth/accept", json=body)
    assert (taken.status_code, taken.json["name"], taken.json["roles"]) == (200, "New", ["viewer"])
    assert login(site, "new@example.org", OTHER).status_code == 200
    texts = {
        refused(site.send("POST", "/auth/accept", json={**body, "token": text}), 401)["detail"]
        for text in (token, "zqi_" + "a" * 43, "x", token[:-1])
    }
    assert len(texts) == 1


def test_keys_have_no_session_and_no_password(api: Api) -> None:
    me = api.get("/auth/me").json
    assert me["principal"]["kind"] == "system"
    assert me["principal"]["session_id"] is None
    refused(api.get("/auth/sessions"), 403)
    refused(api.call("DELETE", "/auth/sessions"), 403)
    body = {"current_password": PASSWORD, "new_password": OTHER}
    refused(api.post("/auth/password", body), 403)
    assert api.post("/auth/logout").status_code == 204
    assert api.get("/auth/me").status_code == 200


def test_a_ticket_is_shown_with_its_life(site: Site) -> None:
    answer = site.signed_in("ada", "viewer").post("/auth/ticket")
    assert answer.json["ticket"].startswith("zqt_")
    assert answer.json["expires_in_s"] == 60
    assert answer.headers["Cache-Control"] == "no-store"
    refused(site.send("GET", "/auth/me", answer.json["ticket"]), 401)


def cookies_of(answer: Any) -> dict[str, list[str]]:
    """Return what is said of each cookie."""
    found = {}
    for text in answer.headers.getlist("Set-Cookie"):
        pair, *attributes = text.split("; ")
        kept = [text for text in attributes if not text.startswith("Expires")]
        found[pair.partition("=")[0]] = sorted(kept)
    return found


def test_a_browser_keeps_its_tokens_where_no_script_reads(site: Site) -> None:
    browser = Browser(site, site.user("ada", "viewer"))
    assert browser.answer.json["access_token"] is None
    assert browser.answer.json["refresh_token"] is None
    assert browser.answer.json["csrf_token"]
    assert cookies_of(browser.answer) == {
        "zq_access": ["HttpOnly", "Max-Age=600", "Path=/", "SameSite=Lax"],
        "zq_refresh": ["HttpOnly", "Path=/", "SameSite=Strict"],
    }
    for name in ("zq_access", "zq_refresh"):
        assert browser.cookie(name).value not in browser.answer.text
    me = browser.send("GET", "/auth/me")
    assert me.json["csrf_token"] == browser.token
    assert browser.own("POST", "/auth/logout").status_code == 204
    assert browser.cookie("zq_access") is None
    refused(browser.send("GET", "/auth/me"), 401)


def test_with_tls_the_cookies_are_this_hosts_alone(site: Site) -> None:
    browser = Browser(site, site.user("ada", "viewer"), "https://localhost")
    told = cookies_of(browser.answer)
    assert set(told) == {"__Host-zq_access", "__Host-zq_refresh"}
    for attributes in told.values():
        assert {"Secure", "HttpOnly", "Path=/"} <= set(attributes)
        assert not [text for text in attributes if text.startswith("Domain")]
    assert browser.send("GET", "/auth/me").status_code == 200
    planted = site.app.test_client()
    planted.set_cookie("zq_access", browser.cookie("__Host-zq_access").value)
    refused(planted.get("/api/v1/auth/me", base_url="https://localhost"), 401)


def test_a_browser_refreshes_by_its_cookie(site: Site) -> None:
    browser = Browser(site, site.user("ada", "viewer"))
    before = browser.cookie("zq_refresh").value
    answer = browser.send("POST", "/auth/refresh", {"Origin": ORIGIN})
    assert answer.status_code == 200
    assert answer.json["refresh_token"] is None
    assert answer.json["csrf_token"] == browser.token
    assert browser.cookie("zq_refresh").value not in {before, ""}
    assert browser.own("POST", "/auth/ticket").status_code == 200
    gone = site.app.test_client().post("/api/v1/auth/refresh", headers={"Origin": ORIGIN})
    refused(gone, 401)


def test_a_browser_changes_its_password_and_is_out(site: Site) -> None:
    browser = Browser(site, site.user("ada", "viewer"))
    body = {"current_password": PASSWORD, "new_password": OTHER}
    answer = browser.own("POST", "/auth/password", json=body)
    assert answer.status_code == 204
    assert (browser.cookie("zq_access"), browser.cookie("zq_refresh")) == (None, None)


def test_sign_ins_are_counted_as_a_class_of_their_own(servers: Servers) -> None:
    core = build_core(servers)
    limits = replace(core.settings.limits, sign_in="1/minute")
    core = replace(core, settings=replace(core.settings, limits=limits))
    site = Site(core, create_app(core))
    site.user("ada", "viewer")
    answers = [login(site, "ada@example.org") for _ in range(11)]
    assert [a.status_code for a in answers] == [200] * 10 + [429], "ten times, from this machine"
    assert refused(answers[-1], 429)["code"] == "rate_limited"
    assert int(answers[-1].headers["Retry-After"]) >= 1
