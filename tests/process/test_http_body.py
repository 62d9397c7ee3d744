"""Answers as JSON values, and how much of one and for how long is read."""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from orchestrator.models.runs.task import Failure, Outcome
from tests.process.http_site import Site, body_of, forget_client, send
from tests.unit.handler_calls import failure_of
from workers.handlers.http import handler as http


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


class TestParsing:
    @pytest.mark.parametrize(
        ("kind", "how", "data", "value"),
        [
            ("application/problem+json; charset=utf-8", "auto", b'"x"', "x"),
            ("application/json", "auto", b'\xef\xbb\xbf{"a":1}', {"a": 1}),
            ("application/json; charset=latin-1", "auto", b'"\xfc"', "ü"),
            ("application/json", "auto", b"", None),
            ("text/plain", "json", b"[1]", [1]),
            ("application/json", "text", b"[1]", "[1]"),
            ("text/html; charset=iso-8859-1", "auto", b"\xfc", "ü"),
            ("text/html; charset='iso-8859-1'", "auto", b"\xfc", "ü"),
            ("text/plain", "text", b"", ""),
            ("", "auto", "ü".encode(), "ü"),
            ("text/csv", "auto", b"a,b\n1,x\n", [{"a": 1, "b": "x"}]),
            ("text/tab-separated-values", "auto", b"a\tb\n1\tx\n", [{"a": 1, "b": "x"}]),
            ("text/plain", "csv", b"\xef\xbb\xbfa\n", []),
        ],
    )
    def test_by_content_type_or_as_told(
        self, site: Site, kind: str, how: str, data: bytes, value: Any
    ) -> None:
        site.says("/", data, content_type=kind)
        assert body_of(send(site.url("/"), parse=how)) == value

    def test_how_csv_is_read_is_told_by_the_config(self, site: Site) -> None:
        site.says("/", "é;1.10\n".encode("latin-1"), content_type="text/plain")
        how = {"types": {"price": "number"}, "delimiter": ";", "header": ["name", "price"]}
        read = send(site.url("/"), parse="csv", csv=how, charset="iso-8859-1")
        assert body_of(read) == [{"name": "é", "price": 1.1}]
        assert body_of(send(site.url("/"), charset="cp1252")) == "é;1.10\n"
        failure_of(send(site.url("/"), charset="klingon"), "bad_config", retryable=False)
        failure_of(send(site.url("/"), charset="hex"), "bad_config", retryable=False)

    def test_whole_numbers_are_exact_or_text(self, site: Site) -> None:
        text = (
            b'{"id": 1234567890123456789, "least": -9223372036854775808, "u64":'
            b' 18446744073709551615, "long": -123456789012345678901234567890, "s": "\xc3\xbc",'
            b' "dec": 0.5, "very": 1' + b"0" * 300 + b"}"
        )
        site.says("/", text, content_type="application/json")
        assert body_of(send(site.url("/"))) == {
            "id": 1234567890123456789, "least": -(2**63), "u64": "18446744073709551615",
            "long": "-123456789012345678901234567890", "s": "ü", "dec": 0.5,
            "very": "1" + "0" * 300,
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("kind", "data"),
        [
            ("application/json", b"<html>busy</html>"),
            ("application/json", b'{"a": NaN}'),
            ("image/png", b"\x89PNG\xff"),
            ("text/plain; charset=klingon", b"x"),
            ("text/plain; charset=undefined", b"abc"),
            ("application/json", b'{"a": 1234567890123456789, "b": NaN}'),
            ("application/json", b"[" * 5000 + b"1234567890123456789" + b"]" * 5000),
        ],
    )
    def test_an_answer_that_is_not_what_it_says(self, site: Site, kind: str, data: bytes) -> None:
        site.says("/", data, content_type=kind)
        failure_of(send(site.url("/")), "bad_response", retryable=True)

    def test_json_that_no_output_can_be(self, site: Site) -> None:
        site.says("/", b'{"a": "\\u0000"}', content_type="application/json")
        assert "$.body.a" in failure_of(send(site.url("/")), "bad_output", retryable=False)
        site.says("/", b"[" * 100 + b"]" * 100, content_type="application/json")
        failure_of(send(site.url("/")), "bad_output", retryable=False)

    def test_a_head_answer_has_no_body(self, site: Site) -> None:
        site.answers["/"] = lambda to: (
            to.send_response(200),
            to.send_header("content-length", "99999999999"),
            to.send_header("content-type", "application/json"),
            to.end_headers(),
        )[0]
        assert body_of(send(site.url("/"), method="HEAD")) is None


class TestSize:
    @pytest.fixture(autouse=True)
    def small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(http, "MAX_BODY_BYTES", 1024 * 1024)

    def test_a_body_at_the_limit_passes_and_one_above_does_not(self, site: Site) -> None:
        site.says("/", b"x" * 1024 * 1024)
        assert len(body_of(send(site.url("/")))) == 1024 * 1024
        site.says("/", b"x" * (1024 * 1024 + 1))
        failure_of(send(site.url("/")), "response_too_large", retryable=False)

    def test_a_body_without_end_is_cut_off(self, site: Site) -> None:
        def endless(to: BaseHTTPRequestHandler) -> None:
            to.send_response(200)
            to.send_header("connection", "close")
            to.end_headers()
            while not site.closing.is_set():
                to.wfile.write(b"x" * 65536)

        site.answers["/"] = endless
        failure_of(send(site.url("/")), "response_too_large", retryable=False)

    def test_a_gzip_bomb_is_counted_unfolded(self, site: Site) -> None:
        site.says("/", gzip.compress(b"0" * 5_000_000), content_encoding="gzip")
        failure_of(send(site.url("/")), "response_too_large", retryable=False)
        site.says("/", gzip.compress(b"fine"), content_encoding="gzip")
        assert body_of(send(site.url("/"))) == "fine"

    @pytest.mark.parametrize("coding", ["gzip, gzip", "br", "zstd"])
    def test_codings_nobody_asked_for_are_refused(self, site: Site, coding: str) -> None:
        site.says("/", gzip.compress(gzip.compress(b"x")), content_encoding=coding)
        failure_of(send(site.url("/")), "bad_response", retryable=True)

    def test_a_broken_coding_is_a_bad_response(self, site: Site) -> None:
        site.says("/", b"no gzip", content_encoding="gzip")
        failure_of(send(site.url("/")), "bad_response", retryable=True)


class TestTime:
    def timed_out(self, outcome: Outcome) -> None:
        assert isinstance(outcome, Failure)
        assert (outcome.error.code, outcome.timed_out) == ("timeout", True)

    @pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-A: ", b""])
    def test_a_server_that_drips_is_cut_off_at_the_deadline(self, site: Site, head: bytes) -> None:
        def drip(to: BaseHTTPRequestHandler) -> None:
            to.close_connection = True
            to.wfile.write(head)
            while not site.closing.wait(0.02):
                to.wfile.write(b"x" if head else b"")

        site.answers["/"] = drip
        began = time.monotonic()
        self.timed_out(send(site.url("/"), timeout_s=0.15))
        assert 0.1 < time.monotonic() - began < 1.5

    def test_a_deadline_gone_by_sends_nothing_that_lasts(self, site: Site) -> None:
        site.answers["/"] = lambda to: site.closing.wait(5) and None
        self.timed_out(send(site.url("/"), timeout_s=-1))
