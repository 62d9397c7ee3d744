"""Where an answer leads to, and what the next server may see of the request."""

from __future__ import annotations

import httpx

from orchestrator.adapters.http.client import refused_url
from orchestrator.errors import HandlerError
from workers.handlers.failure import shown

_STATUSES = frozenset({301, 302, 303, 307, 308})
#: What another host may see of the request after a redirect; any other header may be a secret.
_PUBLIC = frozenset({
    "accept", "accept-encoding", "accept-language", "user-agent", "content-type",
    "content-encoding", "idempotency-key",
})  # fmt: skip
_OF_BODY = frozenset({"content-type", "content-encoding", "idempotency-key"})
#: Made anew from URL and body.
_FRAME = frozenset({"host", "content-length", "transfer-encoding"})


def location(response: httpx.Response) -> str | None:
    """Return where a redirect leads to, as the server wrote it; None for any other answer."""
    if response.status_code not in _STATUSES:
        return None
    to: str | None = response.headers.get("location")
    return to


def onward(request: httpx.Request, response: httpx.Response) -> httpx.Request | None:
    """Return the request that a redirect asks for; None where the answer is none.

    301 and 302 make a POST a GET, 303 anything but HEAD; a GET has no body. HandlerError `bad_url`
    for what cannot be read or must not be called.
    """
    to = location(response)
    if to is None:
        return None
    url = _joined(request.url, to)
    method = request.method
    if response.status_code in {301, 302, 303} and method != "HEAD":
        method = method if response.status_code == 301 and method != "POST" else "GET"
    headers = {name: value for name, value in request.headers.items() if name not in _FRAME}
    content: bytes | None = request.content
    if method != request.method:
        content = None
        headers = {name: value for name, value in headers.items() if name not in _OF_BODY}
    if _host(url) != _host(request.url):
        headers = {name: value for name, value in headers.items() if name in _PUBLIC}
    return httpx.Request(
        method, url, headers=headers, content=content or None, extensions=request.extensions
    )


def _joined(base: httpx.URL, to: str) -> httpx.URL:
    try:
        url = base.join(to)
        if url.fragment == "" and base.fragment:
            url = url.copy_with(fragment=base.fragment)
        why = refused_url(str(url))
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        why = f"cannot be read: {error}"
    if why:
        told = f"the server redirects to {shown(to)[:200]!r}: the URL {why}"
        raise HandlerError("bad_url", told, retryable=False)
    return url


def _host(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
