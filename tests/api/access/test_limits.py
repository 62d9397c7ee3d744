"""Rate limits: by class, by who asks, to the last request; told in headers, and off with 0."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient

from orchestrator.errors import SettingsError
from orchestrator.models.access.permissions import ADMIN
from orchestrator.settings import Limits
from tests.api.access.test_guard import SOCKET
from tests.api.conftest import KEY, ONE, Api, build_core, refused
from tests.api.people import Browser, Site
from tests.servers import Servers
from web.app import create_app


def _app(servers: Servers, **limits: Any) -> Flask:
    core = build_core(servers)
    changed = replace(core.settings, limits=replace(Limits(), **{"admin_factor": 1, **limits}))
    return create_app(replace(core, settings=changed))


def _api(servers: Servers, **limits: Any) -> Api:
    core = build_core(servers)
    changed = replace(core.settings, limits=replace(Limits(), **{"admin_factor": 1, **limits}))
    core = replace(core, settings=changed)
    return Api(create_app(core).test_client(), core)


def _metric(client: FlaskClient, name: str) -> float:
    text = client.get("/metrics", headers={"Authorization": f"Bearer {KEY}"}).text
    lines = [x for x in text.splitlines() if x.startswith(f'zq_rate_limited_total{{class="{name}"')]
    return float(lines[0].split()[-1]) if lines else 0.0


def test_the_last_request_passes_and_the_next_does_not(servers: Servers) -> None:
    api = _api(servers, writes="3/minute")
    for left in (2, 1, 0):
        answer = api.post("/workflows/validate", ONE)
        assert answer.status_code == 200
        assert answer.headers["RateLimit-Policy"] == '"writes";q=3;w=60'
        assert answer.headers["RateLimit"].startswith(f'"writes";r={left};t=')
    over = api.post("/workflows/validate", ONE)
    assert refused(over, 429)["code"] == "rate_limited"
    assert 1 <= int(over.headers["Retry-After"]) <= 60
    assert over.headers["RateLimit"].startswith('"writes";r=0;t=')
    assert _metric(api.client, "writes") == 1


def test_classes_do_not_share_a_limit(servers: Servers) -> None:
    api = _api(servers, reads="1/minute", writes="1/minute", starts="1/minute")
    saved = api.workflow(ONE)
    assert api.get("/runs").status_code == 200
    assert api.post(f"/workflows/{saved}/runs", {}).status_code == 202
    refused(api.get("/workflows"), 429)
    refused(api.post("/workflows/validate", ONE), 429)
    refused(api.post("/workflows/execute", {"definition": ONE}), 429)


def test_retries_are_starts(servers: Servers) -> None:
    api = _api(servers, starts="2/minute")
    run_id = api.run(ONE)
    api.finish(run_id)
    assert api.post(f"/runs/{run_id}/retry").status_code == 202
    refused(api.post("/runs/retry", {}), 429)


def test_what_is_refused_counts_too(servers: Servers) -> None:
    """Without a permission, for what is not there, and from a foreign page, in one window each."""
    core = build_core(servers)
    limits = Limits(reads="2/minute", writes="2/minute", sockets="2/minute")
    site = Site(core, create_app(replace(core, settings=replace(core.settings, limits=limits))))
    ada = site.signed_in("ada")
    core.access.grants.put(
        ADMIN, UUID(Api(site.app.test_client(), core).workflow()), ada.id, "viewer"
    )
    nowhere = f"/runs/{uuid4()}"
    assert [ada.get(path).status_code for path in ("/users", nowhere, nowhere)] == [403, 404, 429]
    assert [ada.post(f"{nowhere}/cancel").status_code for _ in range(3)] == [404, 404, 429]
    foreign = {**SOCKET, "Origin": "https://evil.example"}
    statuses = [ada.get(f"{nowhere}/stream", headers=foreign).status_code for _ in range(3)]
    assert statuses == [403, 403, 429]
    browser = Browser(site, site.user("bea", "owner"))
    asked = [browser.send("POST", "/users", {"Origin": "https://evil.example"}) for _ in range(3)]
    assert [answer.status_code for answer in asked] == [403, 403, 429]


def test_health_is_never_limited_and_unknown_paths_are(servers: Servers) -> None:
    api = _api(servers, reads="1/minute", anonymous="1/minute")
    for _ in range(15):
        assert api.client.get("/healthz").status_code == 200
    assert api.get("/nothing-here").status_code == 404
    refused(api.get("/nothing-here"), 429)


@pytest.mark.parametrize("off", ["0", "", " "])
def test_nothing_is_limited_without_a_limit(off: str, servers: Servers) -> None:
    api = _api(servers, reads=off)
    for _ in range(20):
        answer = api.get("/runs")
        assert answer.status_code == 200
        assert "RateLimit" not in answer.headers


@pytest.mark.parametrize("wrong", ["many", "-1/minute", "0/minute", "5/fortnight", "5/minute;2/s"])
def test_a_limit_that_is_none_stops_the_start(wrong: str, servers: Servers) -> None:
    with pytest.raises(SettingsError, match="ZQ_LIMITS__READS"):
        _app(servers, reads=wrong)


def test_guessed_keys_are_counted_by_address(servers: Servers) -> None:
    client = _app(servers, anonymous="3/minute").test_client()

    def guess(number: int, address: str, **headers: str) -> int:
        headers["Authorization"] = f"Bearer guess-{number}"
        environ = {"REMOTE_ADDR": address}
        return client.get("/api/v1/runs", headers=headers, environ_base=environ).status_code

    assert [guess(n, "198.51.100.7") for n in range(5)] == [401, 401, 401, 429, 429]
    # Another address is another count; a forged X-Forwarded-For is none.
    assert guess(9, "203.0.113.9") == 401
    forged = [guess(n, "198.51.100.7", **{"X-Forwarded-For": f"192.0.2.{n}"}) for n in range(9)]
    assert set(forged) == {429}
    # All of an IPv6 network is one stranger.
    six = [guess(n, f"2001:db8:1:2::{n:x}") for n in range(5)]
    assert six == [401, 401, 401, 429, 429]
    assert guess(1, "2001:db8:1:3::1") == 401
    # Whoever has a key is not kept out by a guesser at the same address.
    valid = client.get(
        "/api/v1/runs",
        headers={"Authorization": f"Bearer {KEY}"},
        environ_base={"REMOTE_ADDR": "198.51.100.7"},
    )
    assert valid.status_code == 200


def test_the_admin_key_may_do_more(servers: Servers) -> None:
    core = build_core(servers)
    limits = Limits(reads="2/minute", admin_factor=5)
    core = replace(core, settings=replace(core.settings, limits=limits))
    api = Api(create_app(core).test_client(), core)
    statuses = [api.get("/runs").status_code for _ in range(11)]
    assert statuses == [200] * 10 + [429]


def _sign_in(client: FlaskClient, address: str, forwarded: str | None = None) -> int:
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    body = {"email": "nobody@example.org", "password": "guessed-in-vain"}
    environ = {"REMOTE_ADDR": address}
    answer = client.post("/api/v1/auth/login", json=body, headers=headers, environ_base=environ)
    return answer.status_code


def test_j8_sign_ins_are_counted_by_address_whatever_it_claims_to_be(servers: Servers) -> None:
    client = _app(servers, sign_in="3/minute").test_client()
    rotating = [_sign_in(client, "198.51.100.7", f"192.0.2.{n}") for n in range(6)]
    assert rotating == [401, 401, 401, 429, 429, 429]
    assert _sign_in(client, "203.0.113.9") == 401
    assert _metric(client, "sign_in") == 3


def test_j8_a_trusted_proxy_is_believed_and_its_callers_are_told_apart(servers: Servers) -> None:
    core = build_core(servers)
    settings = replace(
        core.settings,
        limits=Limits(sign_in="2/minute"),
        web=replace(core.settings.web, trusted_proxies="198.51.100.0/24"),
    )
    client = create_app(replace(core, settings=settings)).test_client()
    assert [_sign_in(client, "198.51.100.7", f"192.0.2.{n}") for n in range(4)] == [401] * 4
    same = [_sign_in(client, "198.51.100.7", "192.0.2.200") for _ in range(3)]
    assert same == [401, 401, 429]
    # What a caller writes left of the proxy's own word is not believed.
    forged = [_sign_in(client, "198.51.100.7", f"10.9.8.{n}, 192.0.2.200") for n in range(3)]
    assert forged == [429] * 3
