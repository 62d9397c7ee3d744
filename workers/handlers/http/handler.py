"""`http`: sends one HTTP request; the answer is the output. Stored connections are not its part.

Attempts may repeat a request whose answer was lost: writing methods carry `Idempotency-Key`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from orchestrator.errors import HandlerError
from orchestrator.models.runs.task import Failure, Outcome, TaskError, Value
from orchestrator.models.text import printable
from workers.handlers.config import bad_config, kind_of, read
from workers.handlers.context import Context
from workers.handlers.failure import shown
from workers.handlers.http import body as http_body
from workers.handlers.http import client as http_client
from workers.handlers.http import errors as http_errors

MAX_BODY_BYTES = 10 * 1024 * 1024
MAX_REDIRECTS = 5
MAX_RETRY_AFTER_S = 3600.0
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_WRITING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
#: Headers that frame the message; a config that set them could hide a second request in the first.
_FRAMING = frozenset({"content-length", "transfer-encoding", "connection", "upgrade", "te"})
#: What another host may see of the request after a redirect; any other header may be a secret.
_PUBLIC = frozenset({"accept", "accept-encoding", "accept-language", "user-agent", "host"})
_PUBLIC_WITH_BODY = _PUBLIC | {
    "content-type", "content-length", "content-encoding", "idempotency-key", "transfer-encoding"
}  # fmt: skip


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
    how = read(config, "parse", str, "auto")
    with http_client.until(context.deadline) as timeout, http_errors.named(request, context):
        request.extensions["timeout"] = timeout.as_dict()
        client = http_client.client(context.egress)
        with _answer(client, request, follow=follow) as response:
            status, took_ms = response.status_code, (time.monotonic() - began) * 1000
            context.log.info("%s -> %d in %.0f ms", http_errors.shown(request), status, took_ms)
            if status not in expected:
                return _unexpected(response, request, context)
            data = _body(response, MAX_BODY_BYTES)
        body = None if request.method == "HEAD" else http_body.parse(data, how, response.headers)
    output = {"status": status, "headers": dict(response.headers.items()), "body": body}
    return Value(output=output)


def _request(config: Mapping[str, Any], context: Context) -> httpx.Request:
    method = read(config, "method", str, "GET").upper()
    if method not in _METHODS:
        raise bad_config("method", f"{method[:20]!r} is none of {', '.join(sorted(_METHODS))}")
    url = http_errors.checked_url(read(config, "url", str, ""))
    if query := read(config, "query", dict, {}):
        url = url.copy_merge_params(query)
    headers = _headers(read(config, "headers", dict, {}))
    content: bytes | None = None
    if "json" in config:
        headers.setdefault("content-type", "application/json")
        content = _json(config["json"])
    elif config.get("body") is not None:
        content = read(config, "body", str, "").encode("utf-8", "replace")
    if method in _WRITING:
        headers.setdefault("idempotency-key", context.idempotency_key)
    try:
        client = http_client.client(context.egress)
        return client.build_request(method, url, headers=headers, content=content)
    except UnicodeEncodeError:
        raise bad_config("headers", "values are plain ASCII") from None


def _headers(given: Mapping[str, Any]) -> dict[str, str]:
    headers: dict[str, str] = {}
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
    client: httpx.Client, request: httpx.Request, *, follow: bool
) -> Iterator[httpx.Response]:
    """Send, and go along with up to 5 redirects; what other hosts get to see is kept public."""
    for _hop in range(MAX_REDIRECTS + 1):
        response = _send(client, request)
        onward = response.next_request if follow else None
        if onward is None:
            try:
                yield response
            finally:
                response.close()
            return
        response.close()
        http_errors.checked_url(str(onward.url))
        if _host(onward) != _host(request):
            public = _PUBLIC_WITH_BODY if onward.method == request.method else _PUBLIC
            for name in set(onward.headers) - public:
                del onward.headers[name]
        request = onward
    why = f"more than {MAX_REDIRECTS} redirects, the last to {http_errors.shown(request)}"
    raise HandlerError("too_many_redirects", why, retryable=False)


def _send(client: httpx.Client, request: httpx.Request) -> httpx.Response:
    try:
        return client.send(request, stream=True, auth=None, follow_redirects=False)
    except httpx.RemoteProtocolError:
        # A kept connection that the server closed just now: reading once more harms nobody.
        if request.method not in {"GET", "HEAD", "OPTIONS"}:
            raise
        return client.send(request, stream=True, auth=None, follow_redirects=False)


def _host(request: httpx.Request) -> tuple[str, str, int | None]:
    return request.url.scheme, request.url.host, request.url.port


def _body(response: httpx.Response, most: int, *, cut: bool = False) -> bytes:
    """Read and decode up to `most` bytes; more are an error, or left away with `cut`.

    Stacked codings are refused: each one multiplies what a small answer unfolds to.
    """
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    if coding not in {"identity", "gzip", "x-gzip", "deflate", ""}:
        raise http_body.bad_response(f"content-encoding {coding[:40]!r} was not asked for")
    length = response.headers.get("content-length", "")
    if not cut and length.isdigit() and int(length) > most and response.request.method != "HEAD":
        raise _too_large(most)
    data = bytearray()
    for chunk in response.iter_bytes():
        data += chunk
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
    if response.has_redirect_location:
        onward = shown(response.headers["location"])[:200]
        message += f" to {onward}; set follow_redirects to follow it"
    try:
        said = _body(response, 2000, cut=True).decode("utf-8", "replace")
    except (httpx.HTTPError, HandlerError):
        said = ""
    if said := " ".join(shown(said).split())[:500]:
        message += f": {said}"
    wait_s = _retry_after_s(response, context) if retryable else None
    error = TaskError(code="http_status", message=printable(message))
    return Failure(error=error, retryable=retryable, retry_after_s=wait_s)


def _retry_after_s(response: httpx.Response, context: Context) -> float | None:
    asked = response.headers.get("retry-after", "").strip()
    try:
        if asked.isdigit():
            seconds = float(asked[:12])
        else:
            seconds = (parsedate_to_datetime(asked) - context.now).total_seconds()
    except (ValueError, TypeError):
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)
