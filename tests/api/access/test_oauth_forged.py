"""Signing in at a provider that lies, breaks or is GitHub: what it serves is what a test puts."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import pytest
from joserfc.jwk import RSAKey
from werkzeug.test import TestResponse

from tests.api.access.test_oauth import BASE, a_core, asked, back, me
from tests.api.conftest import refused
from tests.servers import Servers
from tests.unit.access.test_id_tokens import RSA, signed
from web.app import create_app


class Liar:
    """A provider, as one dictionary: path -> what it answers. Notes what it is asked."""

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        self.pages: dict[str, Any] = {}
        self.asked: list[tuple[str, dict[str, str], str]] = []
        liar = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                sent = self.rfile.read(length).decode()
                liar.asked.append((self.path, dict(self.headers), sent))
                found = liar.pages.get(self.path.partition("?")[0], 404)
                status, headers = 200, {}
                if isinstance(found, int):
                    status, found = found, {}
                if isinstance(found, str):
                    status, headers, found = 302, {"Location": found}, {}
                body = found if isinstance(found, bytes) else json.dumps(found).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET  # noqa: N815

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.pages["/.well-known/openid-configuration"] = self.discovery()
        self.pages["/jwks"] = {"keys": [RSA.as_dict(private=False)]}

    def discovery(self, **change: Any) -> dict[str, Any]:
        found = {
            "issuer": self.url, "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token", "jwks_uri": f"{self.url}/jwks",
            "userinfo_endpoint": f"{self.url}/userinfo",
            "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
        }  # fmt: skip
        return {k: v for k, v in {**found, **change}.items() if v is not None}

    def claims(self, said: str, **more: Any) -> dict[str, Any]:
        import time

        at = int(time.time())
        return {"iss": self.url, "aud": "zq", "sub": "s-1", "iat": at, "exp": at + 60,
                "nonce": said, "email": "ada@ok.com", "email_verified": True, **more}  # fmt: skip


@pytest.fixture
def liar(servers: Servers) -> Iterator[Liar]:
    made = Liar(servers)
    thread = threading.Thread(target=made.server.serve_forever, args=(0.05,))
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


class Trip:
    """A browser on its way to a provider and back."""

    def __init__(self, liar: Liar, **more: Any) -> None:
        self.liar = liar
        given = {"name": "corp", "issuer": liar.url, "client_id": "zq", "allow_sign_up": True,
                 "client_secret": "s:e%cret", "default_roles": ["viewer"], **more}  # fmt: skip
        self.core = a_core(liar.servers, [given], liar.url)
        self.app = create_app(self.core)
        self.browser = self.app.test_client()

    def go(self) -> dict[str, str]:
        answer = self.browser.get(f"{BASE}/corp/start")
        assert answer.status_code == 302, answer.text
        return asked(answer.headers["Location"])

    def come_back(self, tokens: Any = None, key: Any = RSA, **claims: Any) -> TestResponse:
        sent = self.go()
        made = signed(self.liar.claims(sent["nonce"], **claims), key)
        given = {"access_token": "a-t", "token_type": "Bearer", "id_token": made}
        self.liar.pages["/token"] = given if tokens is None else tokens
        return back(self.browser, state=sent["state"], code="a-code")


def test_what_the_provider_is_told(liar: Liar) -> None:
    trip = Trip(liar)
    assert trip.come_back().status_code == 302
    _, headers, form = next(one for one in liar.asked if one[0] == "/token")
    fields = {name: values[0] for name, values in parse_qs(form).items()}
    assert fields.keys() == {"grant_type", "code", "redirect_uri", "code_verifier"}
    assert len(fields["code_verifier"]) == 43
    assert headers["Authorization"].startswith("Basic ")
    assert headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert "Cookie" not in headers


@pytest.mark.parametrize(
    "change",
    [{"issuer": "https://accounts.google.com"}, {"issuer": None}, {"issuer": "{url}/"},
     {"token_endpoint": "http://evil.example/token"}, {"token_endpoint": None},
     {"jwks_uri": "file:///etc/passwd"}, {"jwks_uri": "//evil.example"}, {"jwks_uri": 5},
     {"authorization_endpoint": "javascript:alert(1)"}, {"userinfo_endpoint": "ftp://x/y"}],
    ids=str,
)  # fmt: skip
def test_j7_a_discovery_document_that_lies(liar: Liar, change: dict[str, Any]) -> None:
    bent = {k: v.replace("{url}", liar.url) if isinstance(v, str) else v for k, v in change.items()}
    page = liar.discovery(**bent)
    liar.pages["/.well-known/openid-configuration"] = page
    refused(Trip(liar).browser.get(f"{BASE}/corp/start"), 503)
    assert [path for path, _, _ in liar.asked] == ["/.well-known/openid-configuration"]


@pytest.mark.parametrize(
    "page", [b"", b"[]", b"{", b"\xff", 500, 404, 429, "/jwks", b"[" * 90_000, b" " * 1_100_000],
    ids=lambda page: str(page)[:12],
)  # fmt: skip
def test_nonsense_is_the_providers_failure(liar: Liar, page: Any) -> None:
    trip = Trip(liar)
    kept = liar.pages["/.well-known/openid-configuration"]
    liar.pages["/.well-known/openid-configuration"] = page
    refused(trip.browser.get(f"{BASE}/corp/start"), 503)
    liar.pages["/.well-known/openid-configuration"] = kept
    # It is not asked again at once, so that waiting for it holds no threads.
    before = len(liar.asked)
    refused(trip.browser.get(f"{BASE}/corp/start"), 503)
    assert len(liar.asked) == before
    trip = Trip(liar)
    liar.pages["/jwks"] = page
    refused(trip.come_back(), 401, 503)
    assert trip.browser.get_cookie("zq_access") is None
    trip = Trip(liar)
    liar.pages["/jwks"] = {"keys": [RSA.as_dict(private=False)]}
    refused(trip.come_back(page), 401, 503)
    assert trip.browser.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "tokens",
    [{}, {"access_token": "a"}, {"id_token": None}, {"id_token": "a.b.c"}, [], "x", 5, None,
     {"error": "invalid_grant"}, {"error": ["x"]}, {"error": {"a": 1}}, {"id_token": {"a": 1}}],
    ids=str,
)  # fmt: skip
def test_j7_tokens_that_are_none(liar: Liar, tokens: Any) -> None:
    trip = Trip(liar)
    refused(trip.come_back(json.dumps(tokens).encode()), 401, 503)


@pytest.mark.parametrize(
    "claims",
    [{"nonce": "another"}, {"nonce": None}, {"aud": "other"}, {"iss": "https://evil.example"},
     {"exp": 5}, {"iat": 2**33, "exp": 2**34}],
    ids=str,
)  # fmt: skip
def test_j7_an_id_token_for_another_sign_in(liar: Liar, claims: dict[str, Any]) -> None:
    trip = Trip(liar)
    refused(trip.come_back(**claims), 401)
    assert trip.browser.get_cookie("zq_access") is None
    # A good one is taken from the same browser afterwards.
    assert trip.come_back().status_code == 302


def test_j7_an_id_token_signed_by_somebody_else(liar: Liar) -> None:
    refused(Trip(liar).come_back(key=RSAKey.generate_key(2048, {"kid": "rsa"})), 401)


def test_new_keys_are_looked_for_but_not_all_the_time(liar: Liar) -> None:
    trip = Trip(liar)
    fresh = RSAKey.generate_key(2048, {"kid": "new"})
    for _ in range(3):
        refused(trip.come_back(key=fresh), 401)
    reads = [path for path, _, _ in liar.asked].count("/jwks")
    assert reads == 1
    liar.pages["/jwks"]["keys"].append(fresh.as_dict(private=False))
    assert Trip(liar).come_back(key=fresh).status_code == 302


def test_the_rest_is_asked_for_and_must_be_of_the_same_subject(liar: Liar) -> None:
    trip = Trip(liar)
    thin = {"email": "ada@ok.com", "email_verified": False}
    liar.pages["/userinfo"] = {"sub": "s-2", "email": "ada@ok.com", "email_verified": True}
    refused(trip.come_back(**thin), 403)
    sent = trip.go()
    claims = trip.liar.claims(sent["nonce"])
    del claims["email_verified"]
    liar.pages["/token"] = {"access_token": "a-t", "id_token": signed(claims)}
    refused(back(trip.browser, state=sent["state"], code="c"), 401)
    # What is verified there is another address than the one that the ID token names.
    claims["email"] = "root@ok.com"
    liar.pages["/userinfo"]["sub"] = "s-1"
    claims["nonce"] = (sent := trip.go())["nonce"]
    liar.pages["/token"] = {"access_token": "a-t", "id_token": signed(claims)}
    assert back(trip.browser, state=sent["state"], code="c").status_code == 302
    assert me(trip.browser)["principal"]["name"] == "ada@ok.com"
    headers = next(h for path, h, _ in liar.asked if path == "/userinfo")
    assert headers["Authorization"] == "Bearer a-t"


class GitHub(Trip):
    """The same with GitHub, one of one's own."""

    def __init__(self, liar: Liar, **more: Any) -> None:
        super().__init__(
            liar, preset="github", role_map={"corp/ops": "admin", "corp": "operator"}, **more
        )
        api = "/api/v3/user"
        mails = [{"email": "ada@ok.com", "primary": True, "verified": True},
                 {"email": "old@ok.com", "primary": False, "verified": True}]  # fmt: skip
        liar.pages |= {
            "/login/oauth/access_token": {"access_token": "gho_x", "token_type": "bearer"},
            api: {"id": 7, "login": "ada", "name": None, "email": "public@evil.com"},
            f"{api}/emails": mails,
            f"{api}/orgs": [{"login": "corp"}],
            f"{api}/teams": [{"slug": "ops", "organization": {"login": "corp"}}],
        }

    def sign_in(self) -> TestResponse:
        return back(self.browser, state=self.go()["state"], code="c")


def test_somebody_signs_in_at_github(liar: Liar) -> None:
    trip = GitHub(liar, allowed_domains=["ok.com"])
    sent = trip.go()
    assert (sent["code_challenge_method"], sent["scope"]) == (
        "S256", "read:user user:email read:org",
    )  # fmt: skip
    assert trip.sign_in().status_code == 302
    who = me(trip.browser)["principal"]
    assert (who["name"], who["roles"]) == ("ada@ok.com", ["viewer", "operator", "admin"])
    form = parse_qs(next(sent for path, _, sent in liar.asked if "access_token" in path))
    assert form["client_secret"] == ["s:e%cret"]
    assert form["code_verifier"]
    # Names change hands at GitHub, numbers do not.
    liar.pages["/api/v3/user"] = {"id": 8, "login": "ada"}
    refused(trip.sign_in(), 403)


@pytest.mark.parametrize(
    ("page", "answer", "status"),
    [("/emails", [{"email": "ada@ok.com", "primary": True, "verified": False}], 403),
     ("/emails", [{"email": "ada@ok.com", "primary": False, "verified": True}], 403),
     ("/emails", {"message": "Not Found"}, 403), ("/emails", 404, 403), ("", {"id": "7"}, 503),
     ("", {"id": True}, 503), ("", {"message": "Bad credentials"}, 503), ("", 500, 503),
     ("/teams", [{"slug": "ops"}], 503), ("/orgs", 503, 503)],
    ids=str,
)  # fmt: skip
def test_j7_what_github_does_not_vouch_for(liar: Liar, page: str, answer: Any, status: int) -> None:
    trip = GitHub(liar)
    liar.pages[f"/api/v3/user{page}"] = answer
    refused(trip.sign_in(), status)
    assert trip.browser.get_cookie("zq_access") is None


def test_j7_github_refuses_a_code_with_200(liar: Liar) -> None:
    trip = GitHub(liar)
    liar.pages["/login/oauth/access_token"] = {"error": "bad_verification_code"}
    refused(trip.sign_in(), 401)
