"""What stands outside the installation: a trap, servers that answer as they like, a provider."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.oidc_server import Provider, provider
from tests.process.http_site import Site


class Trap:
    """Listens on every address of this machine and counts who comes."""

    def __init__(self) -> None:
        self.visits = 0
        self._line = socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        self.port: int = self._line.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                visitor, _ = self._line.accept()
                self.visits += 1
                visitor.close()

    def sprung(self) -> int:
        """Return how many came, after one visit of our own: whoever came before was counted."""
        before = self.visits
        with socket.create_connection(("127.0.0.1", self.port)) as line:
            line.settimeout(5)
            assert line.recv(1) == b""
        return before if self.visits == before + 1 else self.visits

    def close(self) -> None:
        with suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)
        self._line.close()


Pieces = Callable[[], Iterable[bytes]]


class Liar:
    """A server that answers each path with the bytes it was given, and many visitors at once."""

    def __init__(self) -> None:
        #: Path -> what is sent, and the pause after each piece, seconds.
        self.answers: dict[str, tuple[Pieces, float]] = {}
        self._closing = threading.Event()
        self._line = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._line.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                visitor, _ = self._line.accept()
                threading.Thread(target=self._serve, args=(visitor,), daemon=True).start()

    def _serve(self, visitor: socket.socket) -> None:
        with visitor, suppress(OSError, IndexError, KeyError):
            visitor.settimeout(5)
            path = visitor.recv(65_536).split(b" ")[1].decode()
            pieces, pause_s = self.answers[path]
            for piece in pieces():
                visitor.sendall(piece)
                if self._closing.wait(pause_s):
                    return

    def close(self) -> None:
        self._closing.set()
        with suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)
        self._line.close()


@dataclass(frozen=True)
class Outside:
    """All of it, and what the installation is told of it."""

    trap: Trap
    site: Site
    liar: Liar
    idp: Provider

    def settings(self) -> dict[str, str]:
        """Return the environment in which only site, liar and provider may be reached."""
        proxy = f"http://127.0.0.1:{self.trap.port}"
        known = {
            "name": "corp", "issuer": self.idp.issuer, "client_id": "zq", "client_secret": "s",
            "allow_sign_up": True, "allowed_domains": ["ok.com"], "default_roles": ["viewer"],
        }  # fmt: skip
        providers = [
            known,
            {**known, "name": "other"},
            {**known, "name": "inside", "issuer": proxy},
        ]
        allowed = (
            f"127.0.0.1:{self.site.port}", f"127.0.0.1:{self.liar.port}",
            urlsplit(self.idp.issuer).netloc,
        )  # fmt: skip
        return {
            "ZQ_OIDC__PROVIDERS": json.dumps(providers),
            "ZQ_EGRESS__ALLOW": ",".join(allowed),
            # Nobody is to believe these.
            **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"), proxy),
            "NO_PROXY": "",
        }


@contextmanager
def standing_outside() -> Iterator[Outside]:
    """Run all of it until the block ends."""
    trap, site, liar = Trap(), Site(), Liar()
    try:
        with provider() as idp:
            yield Outside(trap, site, liar, idp)
    finally:
        for each in (trap, site, liar):
            each.close()
