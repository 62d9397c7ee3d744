"""HTTP to the outside through the egress rules: an httpx transport for nodes and sign-in elsewhere.

A name is resolved once, every address of it is judged, and the connection is made to one of those,
so that a second answer of the resolver changes nothing. Host and SNI stay the name's. It follows no
redirect by itself (each hop comes back here), reads no proxy of the environment, and knows no unix
sockets. How much of an answer is read, and for how long, is the caller's part.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpcore
import httpx

from orchestrator.errors import EgressBlocked, SettingsError
from orchestrator.models.egress import Address, Egress, rules
from orchestrator.settings import Settings

#: What the URL may not hold before its query: backslashes and all that does not print.
_ODD = re.compile(r"[\\\x00-\x20\x7f-\x9f]")
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?\Z")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_OWN_PORTS = {"postgresql": 5432, "postgres": 5432, "redis": 6379, "rediss": 6379}

Wrap = Callable[[httpcore.NetworkBackend], httpcore.NetworkBackend]


def egress(settings: Settings) -> Egress:
    """Return the rules that the settings give. SettingsError names what cannot be read."""
    urls = (settings.database.url, settings.redis.url, settings.broker.url)
    ports = {port for url in urls for port in _ports(url)}
    proxy = settings.egress.proxy
    if proxy and not (proxy.startswith(("http://", "https://")) and urlsplit(proxy).hostname):
        raise SettingsError("ZQ_EGRESS__PROXY is no proxy; write it as http://host:port")
    return rules(settings.egress.allow, own_ports=ports, proxy=proxy)


def refused_url(text: str) -> str | None:
    """Return what is wrong with a URL, as the end of a sentence; None when it may be asked for.

    Only http and https with a plain host; no user or password; no backslash, blank or control
    character before the query; an IPv4 address only as four decimal numbers.
    """
    if _ODD.search(re.split(r"[?#]", text, maxsplit=1)[0]):
        return "holds a backslash, a blank or a control character"
    try:
        url = httpx.URL(text)
        host, port = url.raw_host.decode("ascii"), url.port
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        return f"cannot be read: {error}"
    if url.scheme not in _DEFAULT_PORTS or not host:
        return f"needs to start with http:// or https:// and a host, not {text[:40]!r}"
    if port is not None and not 0 < port < 65_536:
        return f"has port {port}; ports are 1 to 65535"
    if "@" in url.netloc.decode() or "@" in re.split(r"[/?#]", text.partition("//")[2])[0]:
        return "must not hold a user or password; use the Authorization header"
    return _refused_host(host)


def _refused_host(host: str) -> str | None:
    if ":" in host:
        return f"has the odd host {host[:60]!r}" if "%" in host else None
    if not _NAME.match(host) or ".." in host:
        return f"has the odd host {host[:60]!r}"
    last = host.rstrip(".").rpartition(".")[2].lower()
    if last.isdigit() or re.match(r"0x[0-9a-f]*\Z", last):
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            return f"has the odd host {host[:60]!r}; write addresses as four decimal numbers"
    return None


def transport(
    rules: Egress,
    *,
    wrap: Wrap | None = None,
    verify: Any = True,
    limits: httpx.Limits | None = None,
) -> httpx.BaseTransport:
    """Return a transport for `httpx.Client(transport=..., trust_env=False)`.

    Requests raise EgressBlocked for what the rules or `refused_url` refuse, before any byte is
    sent. `wrap` goes around the network, to bound its reads.
    """
    return _Guarded(rules, wrap or _as_it_is, verify, limits or httpx.Limits())


def addresses(rules: Egress, host: str, port: int) -> list[str]:
    """Resolve a host and return its addresses, all of which may be connected to.

    EgressBlocked when one of them may not; `socket.gaierror` when there is none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    texts = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for text in texts:
        if why := rules.refusal(host, _address(text), port):
            raise EgressBlocked(why)
    return texts


class _Guarded(httpx.BaseTransport):
    def __init__(self, rules: Egress, wrap: Wrap, verify: Any, limits: httpx.Limits) -> None:
        self._rules = rules
        proxy = rules.proxy or None
        self._inner = httpx.HTTPTransport(
            verify=verify, trust_env=False, limits=limits, proxy=proxy
        )
        # httpx has no public place for a network backend, which is what makes connections.
        pool = self._inner._pool  # noqa: SLF001
        backend = wrap(pool._network_backend)  # noqa: SLF001
        pool._network_backend = backend if proxy else _Backend(rules, backend)  # noqa: SLF001

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if why := refused_url(str(request.url)):
            raise EgressBlocked(f"the URL {why}")
        if self._rules.proxy:
            self._judge_for_proxy(request.url)
        return self._inner.handle_request(request)

    def _judge_for_proxy(self, url: httpx.URL) -> None:
        """Judge what this machine knows of a host; the proxy resolves it once more by itself."""
        host = url.raw_host.decode("ascii")
        try:
            addresses(self._rules, host, url.port or _DEFAULT_PORTS[url.scheme])
        except socket.gaierror:
            # Behind a proxy, names of the outside often cannot be resolved.
            return

    def close(self) -> None:
        self._inner.close()


class _Backend(httpcore.NetworkBackend):
    """Connects to the very addresses that were judged."""

    def __init__(self, rules: Egress, inner: httpcore.NetworkBackend) -> None:
        self._rules = rules
        self._inner = inner

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            found = addresses(self._rules, host, port)
        except (socket.gaierror, UnicodeError) as error:
            raise httpcore.ConnectError(str(error)) from error
        *others, last = found
        for address in others:
            try:
                return self._inner.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return self._inner.connect_tcp(last, port, timeout, local_address, socket_options)

    def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.NetworkStream:
        raise EgressBlocked("unix sockets are never connected to")


def _as_it_is(backend: httpcore.NetworkBackend) -> httpcore.NetworkBackend:
    return backend


def _address(text: str) -> Address:
    return ipaddress.ip_address(text)


def _ports(url: str) -> set[int]:
    """Return the ports of a server's URL; it may name several hosts, and ports in its query."""
    parts = urlsplit(url)
    default = _OWN_PORTS.get(parts.scheme.partition("+")[0])
    if default is None:
        return set()
    texts = [
        (re.search(r":(\d+)$", host) or [None, ""])[1]
        for host in parts.netloc.rpartition("@")[2].split(",")
    ]
    for more in parse_qs(parts.query).get("port", ()):
        texts += more.split(",")
    return {int(text) if text and text.isdigit() else default for text in texts}
