"""Rows S1 to S10 through a real worker: what its nodes ask for is refused, and no trap is sprung.

The same addresses are judged in this process by `test_egress.py` and `test_answers.py`, where every
attempt to connect is seen. Addresses are inputs, for which nothing is refused when it is saved.
"""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.attack.functions import ZONE
from tests.attack.outside import Liar, Outside, Trap
from tests.attack.stack import Stack, refused, tells_nothing
from tests.attack.test_answers import CASES, LOST, TIMEOUT, TOO_LARGE
from tests.attack.test_egress import HOSTS
from tests.process.http_site import Site

BLOCKED = {"egress_blocked", "bad_url"}
#: A resolver that does not know such a name has reached nobody either.
UNKNOWN = {*BLOCKED, "dns_error"}
URLS: dict[str, Sequence[str]] = {
    **{row: [f"http://{host}:{{}}/" for host in hosts.split()] for row, hosts in HOSTS.items()},
    "S5": [f"http://{name}.attack.test:{{}}/" for name in ZONE]
    + [f"http://{socket.gethostname()}:{{}}/", "https://inner.attack.test:{}/"],
    "S7": ["file:///etc/passwd", "gopher://127.0.0.1:{}/_x", "dict://127.0.0.1:{}/",
           "ftp://127.0.0.1:{}/", "data:text/plain,x", "jar:http://127.0.0.1:{}!/",
           "unix:///var/run/docker.sock", "http+unix://%2Fvar%2Frun%2Fdocker.sock/",
           "ldap://127.0.0.1:{}/", "redis://127.0.0.1:{}/"],
    "S8": ["http://ok@127.0.0.1:{}/", "http://127.0.0.1:{}#@8.8.8.8/",
           "http://127.0.0.1:{}\\@8.8.8.8/", "http://8.8.8.8\\@127.0.0.1:{}/",
           "http:\\\\127.0.0.1:{}/", "http://127.0.0.1\t:{}/", "http://127.0.0\n.1:{}/",
           "http://localhost.:{}/", "http://127.0.0.1:0/", "http://8.8.8.8:22/",
           "http://8.8.8.8:6379/", "http://8.8.8.8:99999/", "http://127。0。0。1:{}/",
           "http://ⓛocalhost:{}/", "http://loc\u00adalhost:{}/"],
}  # fmt: skip
REDIRECTS = (
    "http://127.0.0.2:{}/", "http://localhost:{}/", "http://[::1]:{}/", "//127.0.0.2:{}/",
    "http://169.254.169.254/", "http://2130706433:{}/", "http://inner.attack.test:{}/",
    "file:///etc/passwd", "gopher://127.0.0.1:{}/", "data:,x", "http+unix://x/",
)  # fmt: skip


@pytest.fixture(autouse=True)
def untouched(trap: Trap) -> Iterator[None]:
    """Nobody came to the trap, whatever was asked for."""
    trap.visits = 0
    yield
    assert trap.sprung() == 0


@pytest.fixture
def site(outside: Outside) -> Site:
    return outside.site.reset()


def fetched(stack: Stack, urls: Sequence[str], timeout_s: float = 10, **config: Any) -> list[Any]:
    """Let one run ask for all of these at once; return its tasks in this order."""
    nodes = [
        {"id": f"n{no}", "type": "http", "data": {
            "config": {"url": f"{{{{ inputs.u{no} }}}}", **config},
            "retry": {"max_attempts": 1}, "timeout_s": timeout_s}}
        for no in range(len(urls))
    ]  # fmt: skip
    body = {
        "definition": {"name": f"out {time.monotonic_ns()}", "nodes": nodes},
        "input": {f"u{no}": url for no, url in enumerate(urls)},
    }
    answer = stack.http.post("/workflows/execute", params={"wait": 28}, json=body)
    assert answer.status_code == 202, answer.text
    run = answer.json()
    assert run["finished_at"], run
    tells_nothing(stack.http.get(f"/runs/{run['id']}/events", params={"limit": 1000}))
    items = stack.http.get(f"/runs/{run['id']}/tasks", params={"limit": 200}).json()["items"]
    by_id = {task["node_id"]: task for task in items}
    return [by_id[f"n{no}"] for no in range(len(urls))]


def codes(tasks: Sequence[Any]) -> list[str | None]:
    return [task["error"] and task["error"]["code"] for task in tasks]


@pytest.mark.parametrize("row", URLS)
def test_s1_to_s8_nothing_inside_is_connected_to(row: str, stack: Stack, trap: Trap) -> None:
    urls = [url.format(trap.port) for url in URLS[row]]
    found = dict(zip(urls, codes(fetched(stack, urls)), strict=True))
    allowed = {"bad_url"} if row == "S7" else UNKNOWN
    assert {url: code for url, code in found.items() if code not in allowed} == {}


def test_s4_this_installations_own_servers(stack: Stack, trap: Trap) -> None:
    servers = (stack.live.settings.database.url, stack.live.settings.redis.url, stack.url)
    ports = [urlsplit(url).port for url in servers]
    urls = [f"http://{host}:{port}/" for host in ("127.0.0.1", "localhost") for port in ports]
    assert set(codes(fetched(stack, urls))) == {"egress_blocked"}


def test_s5_a_name_that_changes_leads_to_what_was_vetted(stack: Stack, site: Site) -> None:
    """Every second answer names another address: it is refused, and the first is connected to."""
    site.says("/", b"the vetted one")
    urls = [f"http://rebind.attack.test:{site.port}/?{no}" for no in range(8)]
    for task in fetched(stack, urls):
        if task["error"]:
            assert task["error"]["code"] == "egress_blocked"
        else:
            assert task["output"]["body"] == "the vetted one"
    assert site.asked


def test_s6_redirects_are_judged_anew(stack: Stack, site: Site, trap: Trap) -> None:
    urls = []
    for status, to in itertools.product((301, 302, 307, 308), REDIRECTS):
        path = f"/{len(urls)}"
        site.says(path, b"", status, Location=to.format(trap.port))
        urls.append(site.url(path))
    found = fetched(stack, urls, follow_redirects=True)
    assert set(codes(found)) <= {*BLOCKED, "bad_request"}
    assert len(site.asked) == len(urls)


def test_s6_loops_end_and_credentials_stay(stack: Stack, site: Site) -> None:
    site.says("/loop", b"", 302, Location="/loop")
    site.says("/near", b"", 307, Location=f"http://here.attack.test:{site.port}/far")
    site.says("/far", b"far")
    headers = {"Authorization": "Bearer x", "Cookie": "a=b", "X-Api-Key": "y"}
    loop, near = fetched(
        stack, [site.url("/loop"), site.url("/near")], follow_redirects=True, headers=headers
    )
    assert codes([loop, near]) == ["too_many_redirects", None]
    assert sum(path == "/loop" for _, path, *_ in site.asked) == 6
    (far,) = [sent for _, path, sent, _ in site.asked if path == "/far"]
    assert not {"authorization", "cookie", "x-api-key"} & set(far)


#: Of each kind one; a gigabyte is unfolded, hours are begun.
ANSWERS = (
    "10 GB told", "10 GB sent", "a byte at a time", "gzip bomb", "10 MB of headers",
    "a negative chunk size", "continue without end", "events without end", "no HTTP",
)  # fmt: skip


def test_s9_an_answer_is_bounded_in_bytes_and_time(stack: Stack, outside: Outside) -> None:
    liar: Liar = outside.liar
    urls, wanted = [], []
    for no, name in enumerate(ANSWERS):
        pieces, pause_s, code = CASES[name]
        liar.answers[f"/{no}"] = (pieces, pause_s)
        urls.append(f"http://127.0.0.1:{liar.port}/{no}")
        wanted.append(code)
    assert set(wanted) == {LOST, TIMEOUT, TOO_LARGE}
    found = dict(zip(ANSWERS, codes(fetched(stack, urls, timeout_s=1.5)), strict=True))
    assert found == dict(zip(ANSWERS, wanted, strict=True))


@pytest.mark.parametrize("url", ["http://localhost:{}/", "http://169.254.169.254/", "file:///x"])
def test_s10_a_node_that_is_tried_out_goes_no_further(url: str, stack: Stack, trap: Trap) -> None:
    body = {"config": {"url": url.format(trap.port)}}
    answer = stack.http.post("/nodes/types/http/test", json=body)
    tells_nothing(answer)
    if answer.status_code == 422:
        return
    assert answer.status_code == 200, answer.text
    assert answer.json()["error"]["code"] in BLOCKED, answer.text


def test_s10_signing_in_elsewhere_goes_by_the_same_rules(stack: Stack) -> None:
    """The issuer is the trap, and so is the proxy that the environment names."""
    answer = stack.ask("GET", "/auth/oauth/inside/start")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert "127.0.0.1" not in answer.text
    refused(stack.ask("GET", "/auth/oauth/corp/start", params={"issuer": "http://[::1]/"}), 400)
