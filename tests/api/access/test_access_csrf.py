"""Row L3: what a page of another server can make a signed-in browser send changes nothing."""

from __future__ import annotations

from uuid import uuid4

import pytest

from orchestrator.models.access.permissions import ADMIN
from orchestrator.ports.access import User
from tests.api.conftest import KEY, build_core, refused
from tests.api.people import ORIGIN, PASSWORD, Browser, Site, make_site
from tests.api.role_matrix import Route, routes_of
from tests.servers import Servers
from web.app import create_app

UNSAFE = [r for r in routes_of(create_app(build_core())) if r.method != "GET" and r.need]
FOREIGN = (
    "https://evil.example", "null", "", "http://localhost.evil.example", "http://evil@localhost",
    "http://localhost:81", "ftp://localhost", "//localhost", "localhost", "http://127.0.0.1",
    "http://localhost:99999", "http://[", "file://",
)  # fmt: skip


@pytest.fixture(scope="module")
def site(module_servers: Servers) -> Site:
    return make_site(module_servers)


@pytest.fixture(scope="module")
def owner(site: Site) -> User:
    return site.user("owner", "owner")


def path_of(site: Site, route: Route) -> str:
    """Return the path of a route with ids that nobody has."""
    rule = next(r for r in site.app.url_map.iter_rules(route.endpoint) if r.rule == route.rule)
    made = {name: uuid4() for name in rule.arguments if name.endswith("_id")}
    values = {**made, "number": 1, "node_id": "a", "name": "a", "kind": "noop"}
    built = rule.build({name: values[name] for name in rule.arguments})
    assert built is not None
    return built[1].removeprefix("/api/v1")


def forged(site: Site, browser: Browser, other: Browser, name: str) -> dict[str, str]:
    """Return the headers of a request that no page of this server sends."""
    good = {"Origin": ORIGIN, "X-CSRF-Token": browser.token}
    return {
        "nothing": {},
        "no token": {"Origin": ORIGIN},
        "no origin": {"X-CSRF-Token": browser.token},
        "a token made up": {**good, "X-CSRF-Token": "x" * 43},
        "an empty token": {**good, "X-CSRF-Token": ""},
        "a token cut short": {**good, "X-CSRF-Token": browser.token[:-1]},
        "a token of another session": {**good, "X-CSRF-Token": other.token},
        "another page": {**good, "Origin": "https://evil.example"},
        "a page without a name": {**good, "Origin": "null"},
        "another page, by Referer": {"Referer": "https://evil.example/", **good, "Origin": ""},
    }[name]


FORGED = (
    "nothing", "no token", "no origin", "a token made up", "an empty token", "a token cut short",
    "a token of another session", "another page", "a page without a name",
    "another page, by Referer",
)  # fmt: skip


@pytest.mark.parametrize("route", UNSAFE, ids=lambda route: route.name)
def test_l3_every_route_that_changes_something_asks_where_it_comes_from(
    route: Route, site: Site, owner: User
) -> None:
    browser, other = Browser(site, owner), Browser(site, owner)
    path = path_of(site, route)
    for name in FORGED:
        answer = browser.send(route.method, path, forged(site, browser, other, name))
        assert refused(answer, 403)["code"] == "forbidden", name
        assert "this needs the permission" not in answer.text
    assert browser.send("GET", "/auth/me").status_code == 200, "nothing ended the session"
    body = {} if route.method == "DELETE" else {"data": b"x", "content_type": "text/plain"}
    own = browser.own(route.method, path, **body)
    assert own.status_code not in {401, 403, 500}, own.text


@pytest.mark.parametrize("origin", FOREIGN)
def test_l3_no_spelling_of_an_origin_is_ours(origin: str, site: Site, owner: User) -> None:
    browser = Browser(site, owner)
    for header in ("Origin", "Referer"):
        headers = {header: origin, "X-CSRF-Token": browser.token}
        refused(browser.send("POST", "/auth/ticket", headers), 403)


@pytest.mark.parametrize(
    "headers",
    [{"Origin": ORIGIN}, {"Origin": "http://localhost:80"}, {"Referer": f"{ORIGIN}/page?x=1"},
     {"Origin": "HTTP://LOCALHOST"}],
)  # fmt: skip
def test_l3_a_page_of_this_server_may(headers: dict[str, str], site: Site, owner: User) -> None:
    browser = Browser(site, owner)
    answer = browser.send("POST", "/auth/ticket", {**headers, "X-CSRF-Token": browser.token})
    assert answer.status_code == 200, answer.text


def test_l3_a_page_without_tls_is_not_the_one_with(site: Site, owner: User) -> None:
    browser = Browser(site, owner, "https://localhost")
    token = {"X-CSRF-Token": browser.token}
    refused(browser.send("POST", "/auth/ticket", {**token, "Origin": "http://localhost"}), 403)
    assert browser.own("POST", "/auth/ticket").status_code == 200


def test_l3_whoever_sends_a_token_of_its_own_needs_none(site: Site, owner: User) -> None:
    person = site.sign_in(owner)
    evil = {"Origin": "https://evil.example"}
    answer = person.post("/auth/ticket", headers=evil)
    assert answer.status_code == 200
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_l3_reading_needs_none_and_no_other_page_sees_it(site: Site, owner: User) -> None:
    answer = Browser(site, owner).send("GET", "/auth/me", {"Origin": "https://evil.example"})
    assert answer.status_code == 200
    assert not [name for name, _ in answer.headers if name.startswith("Access-Control")]
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_l3_a_page_cannot_sign_its_visitor_in_as_somebody_else(site: Site, owner: User) -> None:
    body = {"email": owner.email, "password": PASSWORD, "cookie": True}
    for origin in ("https://evil.example", "null"):
        answer = site.send("POST", "/auth/login", json=body, headers={"Origin": origin})
        refused(answer, 403)
        assert "Set-Cookie" not in answer.headers
    assert site.send("POST", "/auth/login", json=body).status_code == 200


def test_l3_a_form_signs_nobody_in(site: Site, owner: User) -> None:
    """What a page can send without asking first: forms, and text that looks like JSON."""
    text = f'{{"email": "{owner.email}", "password": "{PASSWORD}", "cookie": true}}'
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer = site.send("POST", "/auth/login", data=text, content_type=kind)
        refused(answer, 415)


@pytest.mark.parametrize("headers", [{}, {"Origin": "https://evil.example"}, {"Origin": "null"}])
def test_l3_the_refresh_cookie_is_traded_by_our_page_only(
    headers: dict[str, str], site: Site, owner: User
) -> None:
    browser = Browser(site, owner)
    before = browser.cookie("zq_refresh").value
    answer = browser.send("POST", "/auth/refresh", headers)
    refused(answer, 403)
    assert browser.cookie("zq_refresh").value == before
    assert browser.send("POST", "/auth/refresh", {"Origin": ORIGIN}).status_code == 200


def test_l3_a_wrong_token_is_not_made_good_by_a_cookie(site: Site, owner: User) -> None:
    browser = Browser(site, owner)
    for value in ("Bearer x", "Basic x", "", f"Bearer {KEY}x"):
        refused(browser.send("GET", "/auth/me", {"Authorization": value}), 401)


def test_l3_no_key_works_as_a_cookie(site: Site, owner: User) -> None:
    """Nothing of a key could be bound to the page that sends it."""
    _, key = site.core.access.keys.create(ADMIN, name="key", roles=["owner"])
    for value in (KEY, key, site.core.access.exchange_key(key, address="x").access_token):
        client = site.app.test_client()
        client.set_cookie("zq_access", value)
        refused(client.get("/api/v1/auth/me"), 401)


def test_l3_tunnelled_verbs_are_the_verb_that_is_sent(site: Site, owner: User) -> None:
    browser = Browser(site, owner)
    override = {"X-HTTP-Method-Override": "DELETE", "X-Method-Override": "DELETE"}
    assert browser.send("GET", "/auth/sessions", override).status_code == 200
    assert browser.send("GET", "/auth/sessions?_method=DELETE").status_code == 400
    assert browser.send("GET", "/auth/me").status_code == 200


def test_l3_a_socket_of_a_cookie_needs_our_page(site: Site, owner: User) -> None:
    browser = Browser(site, owner)
    handshake = {
        "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "12",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }  # fmt: skip
    for origin in ({}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
        refused(browser.send("GET", "/logs/ws", {**handshake, **origin}), 403)
    refused(browser.send("GET", "/logs/ws", {**handshake, "Origin": ORIGIN}), 400)
