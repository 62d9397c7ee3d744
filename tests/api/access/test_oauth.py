"""Signing in at a real OpenID provider, a process of its own, and every way to abuse it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from orchestrator.adapters.memory.dispatch import MemoryDispatcher
from orchestrator.adapters.memory.live import MemoryChannel
from orchestrator.adapters.memory.runtime import MemoryArtifacts
from orchestrator.bootstrap import core as bootstrap
from orchestrator.bootstrap.core import Core
from orchestrator.models.access.permissions import ADMIN
from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.ports.access import UserState
from orchestrator.ports.audit import AuditFilter
from orchestrator.settings import Auth, Egress, Oidc, Settings
from tests.api.conftest import KEY, refused
from tests.factories import SECRET_KEY, quick_passwords
from tests.oidc_server import Provider, provider
from tests.servers import Servers
from web.app import create_app

BASE = "/api/v1/auth/oauth"


@pytest.fixture(scope="module")
def idp() -> Iterator[Provider]:
    with provider() as running:
        yield running


class Site:
    """An installation whose people sign in at a provider."""

    def __init__(self, idp: Provider, servers: Servers, **more: Any) -> None:
        self.idp = idp
        given = {
            "name": "corp", "issuer": idp.issuer, "client_id": "zq", "client_secret": "s-e-cret",
            "allow_sign_up": True, "allowed_domains": ["ok.com"], "default_roles": ["viewer"],
            **more,
        }  # fmt: skip
        others = [{**given, "name": "other"}]
        self.core = a_core(servers, [given, *others], idp.issuer)
        self.app = create_app(self.core)
        self.subject = f"s-{uuid4().hex[:8]}"

    @property
    def email(self) -> str:
        return f"{self.subject}@ok.com"

    def browser(self) -> FlaskClient:
        return self.app.test_client()

    def start(self, browser: FlaskClient, query: str = "", name: str = "corp") -> str:
        """Go to the provider; return where that is."""
        answer = browser.get(f"{BASE}/{name}/start{query}")
        assert answer.status_code == 302, answer.text
        return str(answer.headers["Location"])

    def known(self, **claims: Any) -> None:
        """Have the provider know the subject."""
        given = {"email": self.email, "email_verified": True, "name": "Ada", **claims}
        self.idp.user(self.subject, **given)

    def sign_in(self, query: str = "", browser: FlaskClient | None = None) -> TestResponse:
        """Go through all of it."""
        browser = browser or self.browser()
        brought = self.idp.consent(self.start(browser, query), self.subject)
        return back(browser, **brought)

    def told(self) -> list[tuple[str, str]]:
        """Return actions and reasons of the audit log, oldest first."""
        wanted = AuditFilter(tenant_id=DEFAULT_TENANT, after=0, limit=1000)
        return [(one.action, one.detail) for one in self.core.auditing.list(wanted)]

    def why(self) -> str:
        """Return the reason of the last refusal in the audit log."""
        action, detail = self.told()[-1]
        assert action == "auth.provider_refused"
        return detail


def a_core(servers: Servers, providers: list[dict[str, Any]], issuer: str) -> Core:
    clock = bootstrap.SystemClock()
    settings = Settings(
        auth=Auth(admin_key=KEY, secret_key=SECRET_KEY),
        redis=servers.redis,
        oidc=Oidc(providers=json.dumps(providers)),
        egress=Egress(allow=urlsplit(issuer).netloc),
    )
    return bootstrap.build(
        replace(settings, limits=replace(settings.limits, sign_in="0", anonymous="0")),
        store=servers.store, channel=MemoryChannel(), dispatcher=MemoryDispatcher(),
        artifacts=MemoryArtifacts(), clock=clock, passwords=quick_passwords(),
    )  # fmt: skip


def back(browser: FlaskClient, name: str = "corp", **query: str) -> TestResponse:
    """Come back from the provider."""
    return browser.get(f"{BASE}/{name}/callback", query_string=query)


def asked(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


@pytest.fixture
def site(idp: Provider, servers: Servers) -> Site:
    return Site(idp, servers)


@pytest.fixture(scope="module")
def closed(idp: Provider, module_servers: Servers) -> Site:
    """One that many tests share, because it lets nobody in."""
    return Site(idp, module_servers)


def me(browser: FlaskClient) -> dict[str, Any]:
    answer = browser.get("/api/v1/auth/me")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json
    return found


def test_somebody_signs_in_and_is_sent_on(site: Site) -> None:
    site.known()
    browser = site.browser()
    answer = site.sign_in("?next=/api/v1/runs?limit=3", browser)
    assert answer.status_code == 302, answer.text
    assert answer.headers["Location"] == "/api/v1/runs?limit=3"
    assert answer.headers["Cache-Control"] == "no-store"
    for cookie in answer.headers.getlist("Set-Cookie"):
        assert "HttpOnly" in cookie
        assert "SameSite=" in cookie
    who = me(browser)
    assert (who["principal"]["name"], who["principal"]["roles"]) == (site.email, ["viewer"])
    assert browser.get("/api/v1/runs").status_code == 200
    actions = [action for action, _ in site.told()]
    assert actions == ["auth.user_created", "auth.sign_in"]
    # The second time it is the same user, whatever its address is by then.
    site.known(email="new@ok.com")
    again = site.browser()
    site.sign_in(browser=again)
    assert me(again)["principal"]["id"] == who["principal"]["id"]


def test_what_leaves_with_the_browser(site: Site) -> None:
    browser = site.browser()
    answer = browser.get(f"{BASE}/corp/start")
    sent = asked(answer.headers["Location"])
    assert sent["code_challenge_method"] == "S256"
    assert sent["response_type"] == "code"
    assert sent["redirect_uri"] == "http://localhost/api/v1/auth/oauth/corp/callback"
    assert min(len(sent[name]) for name in ("state", "nonce", "code_challenge")) == 43
    assert not sent.keys() & {"code_verifier", "client_secret"}
    [cookie] = answer.headers.getlist("Set-Cookie")
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert not any(sent[name] in cookie for name in ("state", "nonce"))


def test_tokens_come_in_the_answer_where_asked_for(site: Site) -> None:
    site.known()
    answer = site.sign_in("?mode=bearer")
    assert answer.status_code == 200, answer.text
    assert not answer.headers.getlist("Set-Cookie")
    bearer = {"Authorization": f"Bearer {answer.json['access_token']}"}
    assert site.browser().get("/api/v1/runs", headers=bearer).status_code == 200
    body = {"refresh_token": answer.json["refresh_token"]}
    assert site.browser().post("/api/v1/auth/refresh", json=body).status_code == 200


def test_providers_are_listed_without_their_secrets(site: Site) -> None:
    answer = site.browser().get(BASE)
    assert answer.json["items"][0] == {
        "name": "corp", "issuer": site.idp.issuer, "start": f"{BASE}/corp/start",
    }  # fmt: skip
    assert "s-e-cret" not in answer.text
    refused(site.browser().get(f"{BASE}/none/start"), 404)
    refused(back(site.browser(), "none", state="x", code="y"), 404)


@pytest.mark.parametrize("state", ["", "x", "A" * 43, "A" * 4096, "\x00", "é" * 43, "../" * 14])
def test_j7_a_state_that_nobody_was_given(closed: Site, state: str) -> None:
    browser = closed.browser()
    brought = closed.idp.consent(closed.start(browser), closed.subject)
    refused(back(browser, code=brought["code"], state=state), 400, 401)


def test_j7_no_state_and_no_code(site: Site) -> None:
    browser = site.browser()
    brought = site.idp.consent(site.start(browser), site.subject)
    refused(back(browser, code=brought["code"]), 401)
    refused(back(browser, state=brought["state"]), 401)
    assert site.why() == "no code"
    # It was used up by that.
    refused(back(browser, **brought), 401)


def test_j7_an_answer_is_good_once(site: Site) -> None:
    site.known()
    browser = site.browser()
    brought = site.idp.consent(site.start(browser), site.subject)
    assert back(browser, **brought).status_code == 302
    refused(back(browser, **brought), 401)
    assert site.why() == "state: unknown or used"


def test_j7_a_state_is_of_one_browser(site: Site) -> None:
    """Else an attacker has somebody else finish the attacker's sign-in, or the other way round."""
    site.known()
    attacker, victim, other = site.browser(), site.browser(), site.browser()
    brought = site.idp.consent(site.start(attacker), site.subject)
    refused(back(victim, **brought), 401)
    assert site.why() == "state: of another browser"
    site.start(other)
    brought = site.idp.consent(site.start(attacker), site.subject)
    refused(back(other, **brought), 401)
    assert "access" not in str(victim.get_cookie("zq_access"))


def test_j7_a_state_is_of_one_provider(site: Site) -> None:
    browser = site.browser()
    brought = site.idp.consent(site.start(browser), site.subject)
    refused(back(browser, "other", **brought), 401)
    assert site.why() == "state: of another provider"


def test_j7_a_code_is_good_once_and_for_its_own_verifier(site: Site) -> None:
    site.known()
    browser = site.browser()
    first = site.idp.consent(site.start(browser), site.subject)
    second = asked(site.start(browser))
    # Injected into another sign-in of the same browser, its verifier does not fit.
    refused(back(browser, code=first["code"], state=second["state"]), 401)
    assert site.why() == "the provider refuses the code: 'invalid_grant'"
    assert back(browser, **first).status_code == 302
    third = asked(site.start(browser))
    refused(back(browser, code=first["code"], state=third["state"]), 401)


def test_j7_another_issuer_answers(site: Site) -> None:
    browser = site.browser()
    brought = site.idp.consent(site.start(browser), site.subject)
    refused(back(browser, **brought, iss="https://evil.example"), 401)
    assert site.why() == "the answer is of another issuer"


def test_the_provider_lets_nobody_in(site: Site) -> None:
    browser = site.browser()
    state = asked(site.start(browser))["state"]
    problem = refused(back(browser, state=state, error="access_denied<script>"), 401)
    assert "script" not in str(problem)
    refused(browser.get(f"{BASE}/corp/callback?state=a&state=b"), 400)


@pytest.mark.parametrize(
    "target",
    ["https://evil.example", "//evil.example", "/\\evil.example", "\\\\evil.example", "evil",
     "/\tevil", "/%0d%0aSet-Cookie:x=y\r\n", "javascript:alert(1)", "///evil", "/ /evil", "",
     "/a\\b", "http:evil", "/é", "@evil.example", "/\x00", "/" + "a" * 600],
)  # fmt: skip
def test_j7_nobody_is_sent_elsewhere_in_the_end(closed: Site, target: str) -> None:
    query = {"next": target}
    refused(closed.browser().get(f"{BASE}/corp/start", query_string=query), 400)


@pytest.mark.parametrize("field", ["redirect_uri", "redirect", "return_to", "client_id", "issuer"])
def test_j7_the_redirect_is_not_asked_for(closed: Site, field: str) -> None:
    refused(closed.browser().get(f"{BASE}/corp/start?{field}=https://evil.example"), 400)


def test_the_redirect_is_at_the_public_address(site: Site) -> None:
    oidc = replace(site.core.settings.oidc, public_url="https://zq.example.org/")
    object.__setattr__(site.core, "settings", replace(site.core.settings, oidc=oidc))
    answer = site.browser().get(f"{BASE}/corp/start", headers={"Host": "evil.example"})
    uri = asked(answer.headers["Location"])["redirect_uri"]
    assert uri == "https://zq.example.org/api/v1/auth/oauth/corp/callback"


@pytest.mark.parametrize(
    "claims",
    [{"email_verified": False}, {"email_verified": None}, {"email_verified": 1},
     {"email_verified": "false"}, {"email": None}, {"email": ["a@ok.com"]},
     {"email": "a@ok.com.evil.com"}, {"email": "a@evilok.com"}, {"email": "a@sub.ok.com"},
     {"email": "a@ok.com@evil.com"}, {"email": "a@evil.com@ok.com"}, {"email": "a@ok.com."},
     {"email": "a@ok.com\n@evil.com"}, {"email": "a@ok，com"}, {"email": "a@ｏｋ.com"},
     {"email": "ok.com"}, {"email": "@ok.com"}, {"email": "a@o\u212a.com"}],
)  # fmt: skip
def test_j7_an_address_that_does_not_count(closed: Site, claims: dict[str, Any]) -> None:
    closed.known(**claims)
    refused(closed.sign_in(), 403)
    assert "auth.user_created" not in [action for action, _ in closed.told()]


def test_j7_an_account_is_not_taken_over(idp: Provider, servers: Servers) -> None:
    """Neither by an address that is not verified, nor by one that is, unless it is wanted."""
    site = Site(idp, servers)
    site.core.access.users.create(
        ADMIN, email=site.email, roles=["owner"], password="correct horse battery"
    )
    for verified in (False, True):
        site.known(email_verified=verified)
        refused(site.sign_in(), 403)
    wanting = Site(idp, servers, link_verified=True)
    there = wanting.core.access.users.create(ADMIN, email=wanting.email, roles=["editor"])
    wanting.known(email_verified=False)
    refused(wanting.sign_in(), 403)
    wanting.known(email=wanting.email.upper())
    browser = wanting.browser()
    assert wanting.sign_in(browser=browser).status_code == 302
    who = me(browser)["principal"]
    assert (who["id"], who["roles"]) == (str(there.id), ["editor"])
    assert ("auth.identity_linked", idp.issuer) in wanting.told()


def test_without_sign_up_only_those_come_in_who_are_there(idp: Provider, servers: Servers) -> None:
    site = Site(idp, servers, allow_sign_up=False)
    site.known()
    assert "invitation" in refused(site.sign_in(), 403)["detail"]


def test_groups_decide_about_roles_at_each_sign_in(idp: Provider, servers: Servers) -> None:
    roles = {"zq-admins": "admin", "zq-editors": "editor"}
    site = Site(idp, servers, role_map=roles, groups_claim="realm.groups")
    first, second, third = (site.browser() for _ in range(3))
    site.known(realm={"groups": ["zq-admins", "staff"]})
    assert site.sign_in(browser=first).status_code == 302
    assert me(first)["principal"]["roles"] == ["viewer", "admin"]
    site.known(realm={"groups": ["zq-editors"]})
    assert site.sign_in(browser=second).status_code == 302
    assert me(second)["principal"]["roles"] == ["viewer", "editor"]
    # What the first browser was let in with is over.
    refused(first.get("/api/v1/auth/me"), 401)
    site.known(realm={"groups": "zq-nobody"})
    assert site.sign_in(browser=third).status_code == 302
    assert me(third)["principal"]["roles"] == ["viewer"]


def test_a_role_that_is_not_there_gives_nothing(idp: Provider, servers: Servers) -> None:
    site = Site(idp, servers, role_map={"a": "no-such-role"})
    site.known(groups=["a"])
    problem = refused(site.sign_in(), 403)
    assert "no-such-role" not in str(problem)
    assert site.core.access.users.page(ADMIN) == []


def test_whoever_is_disabled_or_gone_stays_out(site: Site) -> None:
    site.known()
    browser = site.browser()
    site.sign_in(browser=browser)
    user = site.core.access.users.page(ADMIN)[0]
    site.core.access.users.change(ADMIN, user.id, state=UserState.DISABLED)
    refused(site.sign_in(), 403)
    assert site.why() == "this account is disabled"
    refused(browser.get("/api/v1/auth/me"), 401)


def test_an_account_of_another_tenant(idp: Provider, servers: Servers) -> None:
    site = Site(idp, servers, link_verified=True)
    there = site.core.access.tenants.create(ADMIN, name="there").id
    site.core.access.users.create(ADMIN, email=site.email, roles=["viewer"], tenant_id=there)
    site.known()
    refused(site.sign_in(), 403)


def test_a_provider_out_of_reach_is_no_failure_of_ours(
    idp: Provider, caplog: pytest.LogCaptureFixture, servers: Servers
) -> None:
    site = Site(idp, servers)
    egress = a_core(
        servers, [{"name": "corp", "issuer": idp.issuer, "client_id": "zq"}], "http://127.0.0.9:1"
    )
    problem = refused(create_app(egress).test_client().get(f"{BASE}/corp/start"), 503)
    assert "127.0.0.1" not in str(problem)
    assert "ZQ_EGRESS__ALLOW" in caplog.text
    gone = a_core(
        servers, [{"name": "corp", "issuer": "http://127.0.0.1:9", "client_id": "z"}], idp.issuer
    )
    refused(create_app(gone).test_client().get(f"{BASE}/corp/start"), 503)
    assert site.browser().get("/healthz").status_code == 200
