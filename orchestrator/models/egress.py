"""Where requests of nodes may go: rules on addresses and ports, never on the text of a URL alone.

Deliberately opens and resolves nothing; `orchestrator.adapters.http.client` does, and asks here.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from orchestrator.errors import SettingsError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

SETTING = "ZQ_EGRESS__ALLOW"
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_])?\Z")


def _networks(text: str, kind: str) -> Iterator[tuple[Network, str]]:
    for word in text.split():
        yield ipaddress.ip_network(word), kind


#: `is_global` of Python 3.11 takes several of these for public.
_NOT_PUBLIC: tuple[tuple[Network, str], ...] = (
    *_networks("127.0.0.0/8 ::1/128", "loopback"),
    *_networks("10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7 fec0::/10", "private"),
    *_networks("169.254.0.0/16 fe80::/10", "link-local"),
    *_networks("0.0.0.0/8 ::/128", "unspecified"),
    *_networks("100.64.0.0/10", "shared by a carrier"),
    *_networks("198.18.0.0/15 2001:2::/48", "for benchmarks"),
    *_networks("255.255.255.255/32", "broadcast"),
    *_networks("224.0.0.0/4 ff00::/8", "multicast"),
    *_networks("192.0.2.0/24 198.51.100.0/24 203.0.113.0/24", "for documentation"),
    *_networks("2001:db8::/32 3fff::/20", "for documentation"),
    *_networks("192.0.0.0/24 192.88.99.0/24 240.0.0.0/4 64:ff9b:1::/48 2001::/23", "reserved"),
)
#: Where clouds hand credentials to their machines; only an entry for exactly one opens it.
_METADATA = frozenset(
    map(
        ipaddress.ip_address,
        "169.254.169.254 169.254.170.2 169.254.170.23 100.100.100.200 192.0.0.192 168.63.129.16"
        " fd00:ec2::254 fd00:ec2::23 fd20:ce::254".split(),
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64, _COMPATIBLE = IPv6Network("64:ff9b::/96"), IPv6Network("::/96")
#: Ports that browsers refuse too, and those of databases, caches, brokers and container engines:
#: what listens there takes an HTTP request for its own commands.
_REFUSED_PORTS = frozenset(
    map(
        int,
        "0 1 7 9 11 13 15 17 19 20 21 22 23 25 37 42 43 53 69 77 79 87 95 101 102 103 104 109 110"
        " 111 113 115 117 119 123 135 137 139 143 161 179 389 427 465 512 513 514 515 526 530 531"
        " 532 540 548 554 556 563 587 601 636 989 990 993 995 1433 1521 1719 1720 1723 2049 2375"
        " 2376 3306 3389 3659 4045 4190 5060 5061 5432 5433 5672 6000 6379 6380 6566 6665 6666"
        " 6667 6668 6669 6679 6697 9042 10080 10250 11211 26379 27017".split(),
    )
)


@dataclass(frozen=True, slots=True)
class Opening:
    """One entry of ZQ_EGRESS__ALLOW: a network or a host by its name, at one port or at all."""

    network: Network | None
    host: str
    port: int | None

    def covers(self, host: str, address: Address, port: int) -> bool:
        """Tell whether a connection to this address, asked for as `host`, is meant."""
        if self.port is not None and self.port != port:
            return False
        if self.network is None:
            return host == self.host
        return address.version == self.network.version and address in self.network

    def is_exactly(self, address: Address) -> bool:
        """Tell whether this address is meant, by itself: no network around it, and no name."""
        network = self.network
        return network is not None and network.num_addresses == 1 and address == network[0]


@dataclass(frozen=True, slots=True)
class Egress:
    """The rules of one installation; without openings, public addresses only."""

    openings: tuple[Opening, ...] = ()
    #: Ports of this installation's Postgres and Redis: nothing opens them on inner addresses.
    own_ports: frozenset[int] = frozenset()
    #: URL of the proxy that all requests go through; empty: none.
    proxy: str = ""

    def refusal(self, host: str, address: Address, port: int) -> str | None:
        """Return why no connection may be made to this address, asked for as `host`; None: it may.

        Every address of a name must be asked about, and the connection made to one of those: a
        second look-up may answer otherwise. The text names the address and the setting.
        """
        name = host.lower().rstrip(".")
        where = f"{name}:{port}" if _same(name, address) else f"{name}:{port} ({address})"
        inner = [why for a in spellings(address) if (why := not_public(a))]
        if port in self.own_ports and inner:
            return f"{where} is a server of this installation; requests never go there"
        openings = [o for o in self.openings if o.covers(name, _plain(address), port)]
        metadata = [a for a in spellings(address) if a in _METADATA]
        if metadata and not any(o.is_exactly(a) for o in openings for a in metadata):
            return f"{where} hands out credentials of machines; {SETTING} does not name it"
        if inner and not openings:
            return f"{where} is {inner[0]}, not public; {SETTING} does not name it"
        if port in _REFUSED_PORTS and not any(o.port == port for o in openings):
            return f"{where} is no port for HTTP; {SETTING} does not name it with this port"
        return None


def spellings(address: Address) -> tuple[Address, ...]:
    """Return the address and every IPv4 address that a translator or tunnel makes of it."""
    found = _plain(address)
    if isinstance(found, IPv4Address):
        return (found,)
    inner: list[IPv4Address] = []
    if found in _NAT64 or (found in _COMPATIBLE and int(found) > 1):
        inner.append(IPv4Address(int(found) & 0xFFFFFFFF))
    if found.sixtofour is not None:
        inner.append(found.sixtofour)
    if found.teredo is not None:
        inner.extend(found.teredo)
    return tuple(inner) or (found,)


def not_public(address: Address) -> str | None:
    """Return what kind of address it is when it is none of the public internet's; else None."""
    if address in _METADATA:
        return "a metadata address"
    for network, kind in _NOT_PUBLIC:
        if address.version == network.version and address in network:
            return kind
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return "reserved"
    return None


def is_public(address: Address) -> bool:
    """Tell whether anybody on the internet could have this address."""
    return not any(map(not_public, spellings(address)))


def read_openings(text: str) -> tuple[Opening, ...]:
    """Return the entries of ZQ_EGRESS__ALLOW. SettingsError names the one that cannot be read."""
    return tuple(_opening(word.strip()) for word in text.split(",") if word.strip())


def rules(allow: str = "", *, own_ports: Iterable[int] = (), proxy: str = "") -> Egress:
    """Return the rules as the settings tell them. SettingsError."""
    return Egress(read_openings(allow), frozenset(own_ports), proxy)


def _opening(word: str) -> Opening:
    text, port = word, None
    bracketed = re.fullmatch(r"\[([^\]]+)\](?::(\d{1,5}))?", word)
    plain = re.fullmatch(r"([^:\[\]]+):(\d{1,5})", word)
    if found := bracketed or plain:
        text, port = found[1], int(found[2]) if found[2] else None
    try:
        network: Network | None = ipaddress.ip_network(text)
    except ValueError:
        network = None
    host = text.lower().rstrip(".")
    if (network is None and not _is_name(host)) or port == 0 or (port or 0) > 65_535:
        raise SettingsError(
            f"{SETTING}: {word[:100]!r} is no address, network or host; write 10.1.2.3,"
            " 10.1.0.0/16, crm.internal or [fd00::1], each with :port where only that one is meant"
        )
    return Opening(network, "" if network else host, port)


def _is_name(host: str) -> bool:
    # A name that ends in a number would be read as an address by the resolver.
    return bool(_HOST.match(host)) and not host.rpartition(".")[2].isdigit()


def _plain(address: Address) -> Address:
    """Return the address as it goes over the wire: without its zone, and IPv4 where it is that."""
    if isinstance(address, IPv4Address):
        return address
    return address.ipv4_mapped or IPv6Address(int(address))


def _same(name: str, address: Address) -> bool:
    return name.strip("[]") == str(address)
