"""The `http` handler against a server on loopback that can misbehave."""

from __future__ import annotations

import json
import logging
import os
import socket
import ssl
from collections.abc import Iterator
from datetime import timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from typing import Any

import httpx
import pytest

from orchestrator.models.runs.task import Failure
from tests.process.http_site import Site, body_of, forget_client, send
from tests.unit.handler_calls import LOOPBACK, NOW, call, failure_of, value_of
from workers.handlers.http import client as http_client
from workers.handlers.http.errors import _connect_error


@pytest.fixture(scope="module")
def server() -> Iterator[Site]:
    """One server for the module; the client forgets its connections with it."""
    made = Site()
    yield made
    forget_client()
    made.close()


@pytest.fixture
def site(server: Site) -> Site:
    """The server, with nothing on it."""
    return server.reset()


def test_a_json_answer_becomes_the_output(site: Site) -> None:
    site.says("/", b'{"a": [1, null]}', 201, content_type="application/json", X_Rate="7")
    output = value_of(send(site.url("/")))
    assert (output["status"], output["body"]) == (201, {"a": [1, None]})
    assert output["headers"]["x-rate"] == "7"


def test_a_request_is_sent_as_the_config_says(site: Site) -> None:
    site.says("/orders")
    value_of(
        send(
            site.url("/orders?keep=1"),
            method="POST",
            headers={"X-Count": 3, "X-Flag": True, "X-None": None},
            query={"tag": ["a", "b c"], "keep": 2},
            json={"text": "ü", "n": None},
        )
    )
    method, path, headers, body = site.asked[0]
    assert (method, path) == ("POST", "/orders?tag=a&tag=b+c&keep=2")
    assert json.loads(body) == {"text": "ü", "n": None}
    assert headers["content-type"] == "application/json"
    assert (headers["x-count"], headers["x-flag"], "x-none" in headers) == ("3", "true", False)
    assert headers["accept-encoding"] == "gzip, deflate"


def test_a_query_of_its_own_is_sent_as_it_was_written(site: Site) -> None:
    site.says("/")
    for url, query, sent in (
        ("/?k=Zm9v+YmFy/cXV4==&b=%7e&a", {"page": "1"}, "/?k=Zm9v+YmFy/cXV4==&b=%7e&a&page=1"),
        ("/?b=2&a=1&b=3&%62=4#top", {"b": True, "c": None}, "/?a=1&b=true&c="),
        ("/", {"a b": ["x&y", 1.5], "none": []}, "/?a+b=x%26y&a+b=1.5"),
        ("/?", {"none": []}, "/?"),
        ("/?z=1&y=2", {}, "/?z=1&y=2"),
    ):
        value_of(send(site.url(url), query=query))
        assert site.asked[-1][1] == sent


def test_json_null_and_plain_bodies_are_sent(site: Site) -> None:
    site.says("/")
    send(site.url("/"), method="PUT", json=None)
    send(site.url("/"), method="PUT", body="plain ü", headers={"Content-Type": "text/x"})
    assert [asked[3] for asked in site.asked] == [b"null", "plain ü".encode()]
    assert site.asked[1][2]["content-type"] == "text/x"


def test_writing_methods_carry_a_key_that_stays_over_attempts(site: Site) -> None:
    site.says("/")
    for method in ("GET", "POST", "PUT", "DELETE"):
        send(site.url("/"), method=method)
    call("http", {"url": site.url("/"), "method": "POST"}, attempt=2)
    send(site.url("/"), method="POST", headers={"idempotency-Key": "mine"})
    keys = [headers.get("idempotency-key") for _, _, headers, _ in site.asked]
    assert keys[0] is None
    assert keys[1] == keys[2] == keys[3] == keys[4] != "mine"
    assert keys[5] == "mine"


@pytest.mark.parametrize(
    "config",
    [
        {"method": "BREW"},
        {"method": 5},
        {"headers": {"Content-Length": "5"}},
        {"headers": {"transfer-encoding": "chunked"}},
        {"headers": {"X-A": "a\r\nX-B: b"}},
        {"headers": {"X-A": "ü"}},
        {"headers": {"X-A": ["a"]}},
        {"headers": "a"},
        {"query": [1]},
        {"body": {"a": 1}},
        {"json": float("nan")},
        {"expect": ["2xx"]},
        {"expect": ["100-999999999999"]},
        {"expect": 200},
        {"follow_redirects": "yes"},
    ],
)
def test_a_config_that_expressions_spoilt_is_refused_unsent(
    site: Site, config: dict[str, Any]
) -> None:
    failure_of(send(site.url("/"), **config), "bad_config", retryable=False)
    assert site.asked == []


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://h/",
        "gopher://h",
        "//h/",
        "h",
        "",
        "http://",
        "http:///x",
        "http://user:pw@127.0.0.1/",
        "http://user@127.0.0.1/",
        "http://[::1",
        "http://h:99999999/",
        "http://a\nb/",
    ],
)
def test_urls_that_must_not_be_called(url: str) -> None:
    told = failure_of(send(url), "bad_url", retryable=False)
    assert "pw" not in told.replace("password", "")


class TestStatus:
    @pytest.mark.parametrize(
        ("status", "retryable"),
        [
            (400, False),
            (404, False),
            (408, True),
            (425, True),
            (429, True),
            (500, True),
            (503, True),
        ],
    )
    def test_unexpected_ones_fail(self, site: Site, status: int, retryable: bool) -> None:
        site.says("/x", b"why not", status)
        told = failure_of(send(site.url("/x?token=geheim")), "http_status", retryable=retryable)
        assert f"answered {status}" in told
        assert told.endswith(": why not")
        assert "geheim" not in told

    def test_expected_ones_are_values(self, site: Site) -> None:
        site.says("/", b"", 404)
        assert value_of(send(site.url("/"), expect=[404, "200-299"]))["status"] == 404
        assert value_of(send(site.url("/"), expect=["400-499"]))["status"] == 404
        site.says("/", b"", 204)
        failure_of(send(site.url("/"), expect=[404]), "http_status", retryable=False)

    def test_the_body_is_quoted_up_to_500_characters(self, site: Site) -> None:
        site.says("/", b"\0\x1b" + b"x" * 1_000_000, 500)
        told = failure_of(send(site.url("/")), "http_status", retryable=True)
        assert told.count("x") <= 500 + told.count("\\x1b")
        assert "\0" not in told

    def test_the_body_is_quoted_in_its_own_charset(self, site: Site) -> None:
        for charset, data in (("iso-8859-1", "região".encode("latin-1")), ("klingon", b"regi\xff")):
            site.says("/", data, 500, content_type=f"text/plain; charset={charset}")
            told = failure_of(send(site.url("/")), "http_status", retryable=True)
            assert told.endswith(("região", "regi\ufffd"))

    @pytest.mark.parametrize(
        ("asked", "seconds"),
        [
            ("7", 7),
            ("0", 0),
            ("999999999", 3600),
            (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90),
            (format_datetime(NOW - timedelta(seconds=90), usegmt=True), 0),
            ((NOW + timedelta(seconds=90)).strftime("%a %b %d %H:%M:%S %Y"), 90),
            (f"{(NOW + timedelta(seconds=90)):%a, %d %b %Y %H:%M:%S} -0000", 90),
            ((NOW + timedelta(seconds=90)).strftime("%A, %d-%b-%y %H:%M:%S GMT"), 90),
            ("Mon, 01 Jan 9999 00:00:00 GMT", 3600),
            ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
            ("9" * 5000, 3600),
            ("1e999", None),
            ("\u00b2", None),
            ("3, 3", None),
            ("soon", None),
            ("-5", None),
            ("", None),
        ],
    )
    def test_retry_after_is_passed_on(self, site: Site, asked: str, seconds: float | None) -> None:
        """And whatever it is, the answer's status is why the attempt failed."""
        site.says("/", b"", 503, Retry_After=asked)
        outcome = send(site.url("/"))
        assert isinstance(outcome, Failure)
        assert (outcome.error.code, outcome.retry_after_s) == ("http_status", seconds)


class TestRedirects:
    def test_they_are_unexpected_unless_followed(self, site: Site) -> None:
        site.says("/old", b"", 302, Location="/new")
        site.says("/new", b"here")
        told = failure_of(send(site.url("/old")), "http_status", retryable=False)
        assert "set follow_redirects" in told
        assert body_of(send(site.url("/old"), follow_redirects=True)) == "here"

    def test_307_repeats_the_body_and_303_does_not(self, site: Site) -> None:
        for status in (307, 303):
            site.says(f"/{status}", b"", status, Location=f"/to{status}")
            site.says(f"/to{status}")
            send(site.url(f"/{status}"), method="POST", json=[1], follow_redirects=True)
        seen = [(method, path, body) for method, path, _, body in site.asked]
        assert seen[1] == ("POST", "/to307", b"[1]")
        assert seen[3] == ("GET", "/to303", b"")

    def test_another_host_sees_no_secrets(self, site: Site) -> None:
        site.says("/same", b"", 302, Location="/far")
        site.says("/far", b"", 302, Location=site.url("/end", host="localhost"))
        site.says("/end")
        secrets = {"Authorization": "Bearer x", "X-Api-Key": "y", "Accept": "text/x"}
        value_of(send(site.url("/same"), headers=secrets, follow_redirects=True))
        here, far, end = (headers for _, _, headers, _ in site.asked)
        assert here["authorization"] == far["authorization"] == "Bearer x"
        assert not {"authorization", "x-api-key"} & set(end)
        assert end["accept"] == "text/x"
        assert end["host"] == f"localhost:{site.port}"

    def test_five_are_enough(self, site: Site) -> None:
        for no in range(7):
            site.says(f"/{no}", b"", 302, Location=f"/{no + 1}")
        site.says("/7", b"end")
        assert body_of(send(site.url("/2"), follow_redirects=True)) == "end"
        outcome = send(site.url("/1"), follow_redirects=True)
        failure_of(outcome, "too_many_redirects", retryable=False)

    @pytest.mark.parametrize("to", ["http://[::1/x", "http://h:99999999/", "\\\\evil/"])
    def test_one_that_cannot_be_read_is_an_answer_like_any_other(self, site: Site, to: str) -> None:
        site.says("/", b"", 302, Location=to)
        assert value_of(send(site.url("/"), expect=[302]))["status"] == 302
        assert to in failure_of(send(site.url("/")), "http_status", retryable=False)
        assert len(site.asked) == 2
        followed = send(site.url("/"), expect=[302], follow_redirects=True)
        assert "redirects to" in failure_of(followed, "bad_url", retryable=False)
        assert len(site.asked) == 3

    def test_what_belongs_to_a_body_goes_with_it(self, site: Site) -> None:
        site.says("/form", b"", 302, Location="/done#there")
        site.says("/done")
        value_of(send(site.url("/form"), method="POST", json=[1], follow_redirects=True))
        method, path, headers, body = site.asked[1]
        assert (method, path, body) == ("GET", "/done", b"")
        assert not {"content-type", "content-length", "idempotency-key"} & set(headers)

    @pytest.mark.parametrize("to", ["file:///etc/passwd", "http://user:pw@127.0.0.1:1/"])
    def test_they_lead_to_no_forbidden_url(self, site: Site, to: str) -> None:
        site.says("/", b"", 302, Location=to)
        failure_of(send(site.url("/"), follow_redirects=True), "bad_url", retryable=False)


class TestNetwork:
    def test_nobody_listens(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        told = failure_of(send(f"http://127.0.0.1:{port}/"), "connect_error", retryable=True)
        assert f"GET http://127.0.0.1:{port}/" in told

    def test_no_such_name(self) -> None:
        failure_of(send("http://nothing.invalid/"), "dns_error", retryable=True)

    def test_a_server_without_tls(self, site: Site) -> None:
        outcome = send(site.url("/").replace("http:", "https:"))
        failure_of(outcome, "tls_error", retryable=True)

    def test_a_certificate_nobody_vouches_for(self) -> None:
        error = httpx.ConnectError("verify failed")
        error.__cause__ = ssl.SSLCertVerificationError("self-signed")
        request = httpx.Request("GET", "https://h/")
        told = _connect_error(error, request)
        assert (told.error_code, told.retryable) == ("tls_error", False)

    def test_a_connection_that_breaks_is_tried_once_more_for_reading_only(self, site: Site) -> None:
        def hang_up(to: BaseHTTPRequestHandler) -> None:
            to.close_connection = True
            to.connection.shutdown(socket.SHUT_RDWR)

        site.answers["/"] = hang_up
        for method, times in (("GET", 2), ("POST", 1)):
            site.asked.clear()
            outcome = send(site.url("/"), method=method)
            failure_of(outcome, "connection_lost", retryable=True)
            assert len(site.asked) == times

    def test_connections_are_kept_and_cookies_are_not(self, site: Site) -> None:
        site.says("/", b"x", Set_Cookie="session=1; Path=/")
        for _ in range(3):
            send(site.url("/"))
        assert len(site.connections) == 1
        assert not [headers for _, _, headers, _ in site.asked if "cookie" in headers]

    def test_proxies_of_the_environment_are_not_used(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
        forget_client()
        site.says("/", b"direct")
        assert body_of(send(site.url("/"))) == "direct"

    def test_each_process_has_a_client_of_its_own(self) -> None:
        forget_client()
        mine = http_client.transport(LOOPBACK)
        assert http_client.transport(LOOPBACK) is mine
        assert http_client._transport(os.getpid() + 1, LOOPBACK) is not mine


def test_one_line_is_logged_without_the_query(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.says("/a")
    with caplog.at_level(logging.INFO):
        send(site.url("/a?token=geheim"))
    assert len(caplog.messages) == 1
    assert f"GET {site.url('/a')} -> 200 in " in caplog.messages[0]
