"""`http`: sends one HTTP request; the answer is the output. Stored connections are not its part.

Attempts may repeat a request whose answer was lost: writing methods carry `Idempotency-Key`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote_plus, urlencode

import httpx

from orchestrator.errors import HandlerError
from orchestrator.models.runs.task import Failure, Outcome, TaskError, Value
from orchestrator.models.text import printable
from workers.handlers.config import bad_config, kind_of, read
from workers.handlers.context import Context
from workers.handlers.failure import shown
from workers.handlers.http import body as http_body
from workers.handlers.http import client as http_client
from workers.handlers.http import csv_rows as http_csv
from workers.handlers.http import decoding, redirects, retry_after
from workers.handlers.http import errors as http_errors

MAX_BODY_BYTES = 10 * 1024 * 1024
MAX_REDIRECTS = 5
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_WRITING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
#: Headers that frame the message; a config that set them could hide a second request in the first.
_FRAMING = frozenset({"content-length", "transfer-encoding", "connection", "upgrade", "te"})


def run(config: Mapping[str, Any], context: Context) -> Outcome:
    """Return `{"status", "headers", "body"}`; headers have lower-case names.

    A status that is not expected is the failure `http_status`, worth another attempt for 408,
    425, 429 and 5xx, not before the server's Retry-After (at most an hour). The body is at most
    10 MB after decoding. Everything is bounded by the attempt's deadline.
    """
    began = time.monotonic()
    request = _request(config, context)
    expected = _expected(config)
    follow = read(config, "follow_redirects", bool, False)
    reading = _reading(config)
    with http_client.until(context.deadline) as timeout, http_errors.named(request, context):
        request.extensions["timeout"] = timeout.as_dict()
        transport = http_client.transport(context.egress)
        with _answer(transport, request, follow=follow) as response:
            status, took_ms = response.status_code, (time.monotonic() - began) * 1000
            context.log.info("%s -> %d in %.0f ms", http_errors.shown(request), status, took_ms)
            if status not in expected:
                return _unexpected(response, request, context)
            data = _body(response, MAX_BODY_BYTES)
        head = request.method == "HEAD"
        body = None if head else http_body.parse(data, response.headers, reading)
    output = {"status": status, "headers": dict(response.headers.items()), "body": body}
    return Value(output=output)


def _request(config: Mapping[str, Any], context: Context) -> httpx.Request:
    method = read(config, "method", str, "GET").upper()
    if method not in _METHODS:
        raise bad_config("method", f"{method[:20]!r} is none of {', '.join(sorted(_METHODS))}")
    url = _with_query(read(config, "url", str, ""), read(config, "query", dict, {}))
    checked = http_errors.checked_url(url)
    headers = _headers(read(config, "headers", dict, {}))
    content: bytes | None = None
    if "json" in config:
        headers.setdefault("content-type", "application/json")
        content = _json(config["json"])
    elif config.get("body") is not None:
        content = read(config, "body", str, "").encode("utf-8", "replace")
    if method in _WRITING:
        headers.setdefault("idempotency-key", context.idempotency_key)
    return httpx.Request(method, checked, headers=headers, content=content)


def _with_query(url: str, query: Mapping[str, Any]) -> str:
    """Return a URL with more in its query, where `query` wins over the same name; what the URL
    holds itself is sent as it was written."""
    if not query:
        return url
    url, _, fragment = url.partition("#")
    url, _, own = url.partition("?")
    kept = [part for part in own.split("&") if part and _name(part) not in query]
    more = [
        (name, _text(name, item))
        for name, value in query.items()
        for item in (value if isinstance(value, list) else [value])
    ]
    query_text = "&".join([*kept, urlencode(more)] if more else kept)
    return f"{url}?{query_text}" + (f"#{fragment}" if fragment else "")


def _name(part: str) -> str:
    return unquote_plus(part.partition("=")[0])


def _text(name: str, value: Any) -> str:
    if isinstance(value, dict | list):
        raise bad_config(f"query.{name}", f"needs text or a number, not {kind_of(value)}")
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def _reading(config: Mapping[str, Any]) -> http_body.Reading:
    charset = read(config, "charset", str, "")
    try:
        b"aaaa".decode(charset or "utf-8")
    except UnicodeDecodeError:
        # A charset all the same: these are no letters in it.
        pass
    except (LookupError, ValueError):
        raise bad_config("charset", f"{charset[:40]!r} is no charset") from None
    how = read(config, "parse", str, "auto")
    return http_body.Reading(how, charset, http_csv.options(read(config, "csv", dict, {})))


def _headers(given: Mapping[str, Any]) -> dict[str, str]:
    headers = dict(http_client.HEADERS)
    for name, value in given.items():
        if name.lower() in _FRAMING:
            raise bad_config("headers", f"{name} is set by the worker; remove it")
        if value is None:
            continue
        if isinstance(value, dict | list):
            raise bad_config("headers", f"{name} needs text, but got {kind_of(value)}")
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if not text.isascii() or any(c in text for c in "\r\n\0"):
            raise bad_config("headers", f"{name} needs plain ASCII text in one line")
        headers[name.lower()] = text
    return headers


def _json(value: Any) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:
        raise bad_config("json", f"cannot be sent: {error}") from None


def _expected(config: Mapping[str, Any]) -> set[int]:
    codes: set[int] = set()
    for item in read(config, "expect", list, ["200-299"]):
        first, _, last = str(item).partition("-")
        numbers = first + last
        if not (numbers.isdecimal() and len(first) == 3 and len(last) in {0, 3}):
            raise bad_config("expect", f"{str(item)[:20]!r} is no status code or range")
        codes.update(range(int(first), int(last or first) + 1))
    return codes


@contextmanager
def _answer(
    transport: httpx.BaseTransport, request: httpx.Request, *, follow: bool
) -> Iterator[httpx.Response]:
    """Send, and go along with up to 5 redirects; what other hosts get to see is kept public."""
    for _hop in range(MAX_REDIRECTS + 1):
        response = _send(transport, request)
        try:
            onward = redirects.onward(request, response) if follow else None
            if onward is None:
                yield response
                return
        finally:
            response.close()
        request = onward
    why = f"more than {MAX_REDIRECTS} redirects, the last to {http_errors.shown(request)}"
    raise HandlerError("too_many_redirects", why, retryable=False)


def _send(transport: httpx.BaseTransport, request: httpx.Request) -> httpx.Response:
    try:
        response = transport.handle_request(request)
    except httpx.RemoteProtocolError:
        # A kept connection that the server closed just now: reading once more harms nobody.
        if request.method not in {"GET", "HEAD", "OPTIONS"}:
            raise
        response = transport.handle_request(request)
    response.request = request
    return response


def _body(response: httpx.Response, most: int, *, cut: bool = False) -> bytes:
    """Read and decode up to `most` bytes; more are an error, or left away with `cut`."""
    length = response.headers.get("content-length", "")
    head = response.request.method == "HEAD"
    if not cut and length.isdecimal() and int(length[:20]) > most and not head:
        raise _too_large(most)
    data = bytearray()
    coding = response.headers.get("content-encoding", "identity")
    for piece in decoding.decoded(response.iter_raw(), coding):
        data += piece
        if len(data) > most:
            if not cut:
                raise _too_large(most)
            break
    return bytes(data[:most])


def _too_large(most: int) -> HandlerError:
    why = f"the answer is larger than {most // 1024**2} MB; fetch it with a python function"
    return HandlerError("response_too_large", why, retryable=False)


def _unexpected(response: httpx.Response, request: httpx.Request, context: Context) -> Failure:
    status = response.status_code
    retryable = status in {408, 425, 429} or status >= 500
    message = f"{http_errors.shown(request)} answered {status} {response.reason_phrase}".rstrip()
    if (onward := redirects.location(response)) is not None:
        message += f" to {shown(onward)[:200]}; set follow_redirects to follow it"
    try:
        said = http_body.some_text(_body(response, 2000, cut=True), response.headers)
    except (httpx.HTTPError, HandlerError):
        said = ""
    if said := " ".join(shown(said).split())[:500]:
        message += f": {said}"
    asked = response.headers.get("retry-after", "") if retryable else ""
    error = TaskError(code="http_status", message=printable(message))
    return Failure(
        error=error,
        retryable=retryable,
        retry_after_s=retry_after.seconds(asked, context.now),
    )
