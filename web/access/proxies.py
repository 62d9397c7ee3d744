"""Who is really calling, where proxies stand between: X-Forwarded-* of trusted ones, and no others.

Trust goes by network and not by the number of hops: a header that a stranger sends is never read.
X-Forwarded-Host is not read at all; a proxy is to pass the Host on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from orchestrator.errors import SettingsError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def read(networks: str) -> tuple[Network, ...]:
    """Return the networks of a setting. SettingsError for what is none, and for all of them."""
    found = []
    for text in filter(None, (part.strip() for part in networks.split(","))):
        try:
            network = ip_network(text)
        except ValueError:
            network = None
        if network is None or network.prefixlen == 0:
            raise SettingsError(
                f"ZQ_WEB__TRUSTED_PROXIES: {text!r} names no proxies; write each address or"
                " network, as 10.0.0.7 or 10.1.0.0/16"
            )
        found.append(network)
    return tuple(found)


class Forwarded:
    """Puts the caller's own address and scheme into the environment of a request."""

    def __init__(self, app: Wsgi, trusted: tuple[Network, ...]) -> None:
        self._app = app
        self._trusted = trusted

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        peer = _address(environ.get("REMOTE_ADDR", ""))
        if peer is not None and self._trusts(peer):
            hops, caller = self._walk(peer, _values(environ.get("HTTP_X_FORWARDED_FOR", "")))
            environ["REMOTE_ADDR"] = str(caller)
            schemes = _values(environ.get("HTTP_X_FORWARDED_PROTO", ""))
            # The value of the outermost trusted proxy: one of a stranger stands left of it.
            scheme = schemes[-min(hops, len(schemes))].lower() if schemes else ""
            if scheme in {"http", "https"}:
                environ["wsgi.url_scheme"] = scheme
        elif peer is not None:
            environ["REMOTE_ADDR"] = str(peer)
        return self._app(environ, start_response)

    def _walk(self, peer: Address, said: list[str]) -> tuple[int, Address]:
        """Return how many trusted proxies there are in a row, and who called the outermost."""
        hops, caller = 1, peer
        for text in reversed(said):
            found = _address(text)
            if found is None:
                break
            caller = found
            if not self._trusts(found):
                break
            hops += 1
        return hops, caller

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def _values(header: str) -> list[str]:
    return [text for text in (part.strip() for part in header.split(",")) if text]


def _address(text: str) -> Address | None:
    """Return an address, also with a port; IPv4 inside IPv6 as IPv4."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found
