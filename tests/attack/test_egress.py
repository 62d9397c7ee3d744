"""Rows S1 to S8 and S10: requests of `http` nodes that aim inside. Nothing is connected to.

A trap listens on loopback, and an audit hook of the interpreter notes every connection that this
process so much as tries. The resolver is replaced only where it must answer what none does here.
"""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from orchestrator.adapters.http import client as guarded_http
from orchestrator.errors import EgressBlocked
from orchestrator.models.egress import Egress, rules
from orchestrator.models.runs.task import Failure, Outcome
from tests.attack.outside import Trap
from tests.process.http_site import Site
from tests.unit.handler_calls import call, failure_of, value_of
from workers.handlers.http import client as http_client

STRICT = Egress()
_TRIED: list[Any] = []
_NOTING = threading.Event()


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event == "socket.connect" and _NOTING.is_set():
        _TRIED.append(args[1])


sys.addaudithook(_hook)


@contextmanager
def noted() -> Iterator[list[Any]]:
    """Note the address of every connection that is tried in the block."""
    _TRIED.clear()
    _NOTING.set()
    try:
        yield _TRIED
    finally:
        _NOTING.clear()


@pytest.fixture(scope="module")
def server() -> Iterator[Site]:
    made = Site()
    yield made
    made.close()


@pytest.fixture
def site(server: Site) -> Iterator[Site]:
    yield server.reset()
    for known in (STRICT, only(server)):
        http_client.transport(known).close()
    http_client._transport.cache_clear()


def only(site: Site) -> Egress:
    """Open exactly the test's own server."""
    return rules(f"127.0.0.1:{site.port}")


def send(url: str, egress: Egress = STRICT, *, timeout_s: float = 10.0, **config: Any) -> Outcome:
    return call("http", {"url": url, **config}, egress=egress, timeout_s=timeout_s)


def refused_or_unknown(outcome: Outcome) -> None:
    """Check that it was refused for good, or that the resolver does not know such a name."""
    assert isinstance(outcome, Failure)
    assert outcome.error.code in {"egress_blocked", "bad_url", "dns_error"}, outcome
    assert outcome.retryable is (outcome.error.code == "dns_error")


HOSTS = {
    "S1": "127.0.0.1 localhost localhost. LOCALHOST [::1] 0.0.0.0 [::] 127.1 2130706433 0x7f000001"
          " 0177.0.0.1 0 127.0.0.1. \u2460\u2461\u2466.\u24ea.\u24ea.\u2460 127.255.255.254",
    "S2": "169.254.169.254 100.100.100.200 [fd00:ec2::254] 169.254.170.2 168.63.129.16"
          " 2852039166 0xa9fea9fe [fd20:ce::254] 192.0.0.192",
    "S3": "[::ffff:169.254.169.254] [::ffff:127.0.0.1] [64:ff9b::a9fe:a9fe] [64:ff9b:1::7f00:1]"
          " [2002:a9fe:a9fe::1] [::127.0.0.1] [fe80::1%25eth0] [fe80::1] [2001:0:7f00:1::1]",
    "S4": "10.0.0.1 172.16.0.1 192.168.0.1 100.64.0.1 198.18.0.1 224.0.0.1 240.0.0.1"
          " 255.255.255.255 192.0.0.8 192.88.99.1 [fc00::1] [ff02::1]",
}  # fmt: skip


@pytest.mark.parametrize(
    ("row", "host"), [(row, host) for row, hosts in HOSTS.items() for host in hosts.split()]
)
def test_s1_to_s4_inner_addresses_in_any_spelling(row: str, host: str, trap: Trap) -> None:
    with noted() as tried:
        outcome = send(f"http://{host}:{trap.port}/")
        also = send(f"https://{host}:{trap.port}/")
    for each in (outcome, also):
        refused_or_unknown(each)
    assert tried == []
    assert trap.sprung() == 0
    trap.visits = 0


def test_s4_a_refusal_names_address_and_setting(trap: Trap) -> None:
    told = failure_of(send(f"http://localhost:{trap.port}/"), "egress_blocked", retryable=False)
    assert "127.0.0.1" in told or "::1" in told
    assert "loopback" in told
    assert "ZQ_EGRESS__ALLOW" in told


def test_s4_this_installations_own_servers_stay_closed(trap: Trap) -> None:
    wide = rules(f"0.0.0.0/0,::/0,127.0.0.1:{trap.port},localhost", own_ports=[trap.port])
    with noted() as tried:
        for host in ("127.0.0.1", "localhost", "[::1]", "127.9.9.9"):
            told = failure_of(
                send(f"http://{host}:{trap.port}/", wide), "egress_blocked", retryable=False
            )
            assert "a server of this installation" in told
    assert tried == []


def answers(monkeypatch: pytest.MonkeyPatch, *sets: list[str]) -> list[str]:
    """Let look-ups answer these addresses, set after set, the last for ever; return who asked."""
    asked: list[str] = []

    def getaddrinfo(host: Any, port: int, *_: Any, **__: Any) -> list[Any]:
        if host[0].isdigit() or ":" in host:
            found = [host]
        else:
            found = sets[min(len(asked), len(sets) - 1)]
            asked.append(host)
        return [
            (socket.AF_INET6 if ":" in a else socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port))
            for a in found
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


@pytest.mark.parametrize(
    "found",
    [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["127.0.0.1", "8.8.8.8"], ["::1"],
     ["2606:4700::1111", "fd00::1"], ["8.8.8.8", "::ffff:10.0.0.1"], ["169.254.169.254"]],
)  # fmt: skip
def test_s5_one_inner_address_of_a_name_is_enough(
    found: list[str], trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, found)
    with noted() as tried:
        outcome = send(f"http://evil.example:{trap.port}/")
    failure_of(outcome, "egress_blocked", retryable=False)
    assert tried == []


def test_s5_rebinding_finds_the_vetted_address(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second answer would be the trap; what is connected to is the first one's address."""
    asked = answers(monkeypatch, ["127.0.0.1"], ["127.0.0.2"])
    site.says("/", b"the vetted one")
    with noted() as tried:
        output = value_of(send(f"http://rebind.example:{site.port}/", only(site)))
    assert output["body"] == "the vetted one"
    assert site.asked[0][2]["host"] == f"rebind.example:{site.port}"
    assert asked == ["rebind.example"]
    assert tried == [("127.0.0.1", site.port)]
    # A new connection asks again, and what it is then told is judged again.
    http_client.transport(only(site)).close()
    http_client._transport.cache_clear()
    with noted() as tried:
        outcome = send(f"http://rebind.example:{site.port}/", only(site))
    failure_of(outcome, "egress_blocked", retryable=False)
    assert tried == []


def test_s5_a_dead_address_gives_way_to_the_next(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, ["127.0.0.3", "127.0.0.1"])
    both = rules(f"127.0.0.1:{site.port},127.0.0.3:{site.port}")
    site.says("/", b"here")
    assert value_of(send(f"http://two.example:{site.port}/", both))["body"] == "here"
    http_client.transport(both).close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "to",
    ["http://127.0.0.2:{trap}/", "http://localhost:{trap}/", "http://[::1]:{trap}/",
     "//127.0.0.2:{trap}/", "http://169.254.169.254/", "http://2130706433:{trap}/"],
)  # fmt: skip
def test_s6_redirects_are_judged_anew(status: int, to: str, site: Site, trap: Trap) -> None:
    site.says("/", b"", status, Location=to.format(trap=trap.port))
    with noted() as tried:
        outcome = send(site.url("/"), only(site), follow_redirects=True)
    assert isinstance(outcome, Failure)
    assert outcome.error.code in {"egress_blocked", "bad_url"}
    assert not outcome.retryable
    assert set(tried) <= {("127.0.0.1", site.port)}


@pytest.mark.parametrize(
    "to",
    ["file:///etc/passwd", "gopher://127.0.0.1:1/", "ftp://h/", "data:,x", "http+unix://x/",
     "http://u:p@127.0.0.1/"],
)  # fmt: skip
def test_s6_redirects_lead_to_no_other_scheme(to: str, site: Site) -> None:
    site.says("/", b"", 302, Location=to)
    outcome = send(site.url("/"), only(site), follow_redirects=True)
    assert isinstance(outcome, Failure)
    assert not outcome.retryable, outcome


def test_s6_a_loop_ends_after_five(site: Site) -> None:
    site.says("/", b"", 302, Location="/")
    outcome = send(site.url("/"), only(site), follow_redirects=True)
    failure_of(outcome, "too_many_redirects", retryable=False)
    assert len(site.asked) == 6


def test_s6_another_origin_sees_no_credentials(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, ["127.0.0.1"])
    site.says("/", b"", 307, Location=f"http://other.example:{site.port}/far")
    site.says("/far")
    secrets = {"Authorization": "Bearer x", "Cookie": "a=b", "X-Api-Key": "y"}
    outcome = send(site.url("/"), only(site), headers=secrets, follow_redirects=True)
    value_of(outcome)
    assert site.asked[0][2]["authorization"] == "Bearer x"
    assert not {"authorization", "cookie", "x-api-key"} & set(site.asked[1][2])


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "gopher://127.0.0.1:{}/_x", "dict://127.0.0.1:{}/", "ftp://127.0.0.1:{}/",
     "data:text/plain,x", "jar:http://127.0.0.1:{}!/", "unix:///var/run/docker.sock",
     "http+unix://%2Fvar%2Frun%2Fdocker.sock/", "ldap://127.0.0.1:{}/", "redis://127.0.0.1:{}/"],
)  # fmt: skip
def test_s7_only_http_and_https(url: str, trap: Trap) -> None:
    with noted() as tried:
        outcome = send(url.format(trap.port), rules("127.0.0.1"))
    failure_of(outcome, "bad_url", retryable=False)
    assert tried == []


@pytest.mark.parametrize(
    "url",
    ["http://ok@127.0.0.1:{}/", "http://8.8.8.8#@127.0.0.1:{}/", "http://127.0.0.1:{}#@8.8.8.8/",
     "http://127.0.0.1:{}\\@8.8.8.8/", "http://8.8.8.8\\@127.0.0.1:{}/", "http:\\\\127.0.0.1:{}/",
     "http://127.0.0.1\t:{}/", "http://127.0.0\n.1:{}/", "http://localhost.:{}/", "http://127.0.0.1:0/",
     "http://8.8.8.8:22/", "http://8.8.8.8:6379/", "http://8.8.8.8:99999/", "http://127。0。0。1:{}/",
     "http://ⓛocalhost:{}/", "http://loc\u00adalhost:{}/", "http://127.0.0.1:{}@8.8.8.8/"],
)  # fmt: skip
def test_s8_tricks_with_the_text_of_a_url(url: str, trap: Trap) -> None:
    with noted() as tried:
        # The one that is really about 8.8.8.8 may try to get there, and nowhere else.
        outcome = send(url.format(trap.port), timeout_s=0.3)
    assert all(host == "8.8.8.8" for host, *_ in tried), tried
    if not tried:
        refused_or_unknown(outcome)
    assert trap.sprung() == 0
    trap.visits = 0


def test_s10_proxies_of_the_environment_are_not_asked(
    trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{trap.port}")
    monkeypatch.setenv("NO_PROXY", "")
    with noted() as tried:
        failure_of(send(f"http://localhost:{trap.port}/"), "egress_blocked", retryable=False)
    assert tried == []


def test_s10_a_client_of_another_part_stands_behind_the_same_guard(site: Site, trap: Trap) -> None:
    """Sign-in elsewhere uses this transport; redirects that httpx follows by itself are judged."""
    site.says("/", b"", 302, Location=f"http://127.0.0.2:{trap.port}/jwks")
    with httpx.Client(
        transport=guarded_http.transport(only(site)), trust_env=False, follow_redirects=True
    ) as client:
        with noted() as tried:
            for url in (site.url("/"), f"http://localhost:{trap.port}/", "http://u:p@8.8.8.8/"):
                with pytest.raises(EgressBlocked):
                    client.get(url)
    assert set(tried) <= {("127.0.0.1", site.port)}


def test_s10_a_proxy_of_the_settings_is_used_and_judged_before(site: Site, trap: Trap) -> None:
    site.answers["http://8.8.8.8/through"] = lambda to: None
    through = rules("", proxy=f"http://127.0.0.1:{site.port}")

    def answer(to: Any) -> None:
        to.send_response(200)
        to.send_header("content-length", "5")
        to.end_headers()
        to.wfile.write(b"proxy")

    site.answers["http://8.8.8.8/through"] = answer
    assert value_of(send("http://8.8.8.8/through", through))["body"] == "proxy"
    site.asked.clear()
    for host in ("127.0.0.1", "localhost", "169.254.169.254"):
        failure_of(send(f"http://{host}:{trap.port}/", through), "egress_blocked", retryable=False)
    assert site.asked == []
    http_client.transport(through).close()
