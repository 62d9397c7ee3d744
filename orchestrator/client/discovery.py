"""Which server the command line speaks to, and as whom: named, set, signed in, or in the home.

Knows the order only; how a sign-in is kept and renewed is `sign_in`.
"""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.client import sign_in
from orchestrator.client.http import Client
from orchestrator.client.transport import full_address, is_loopback
from orchestrator.process.home import admin_key, live_url, web_url
from orchestrator.settings import Settings, load


def connect(
    server: str | None = None, *, key: str | None = None, patience_s: float = 0.0
) -> Client:
    """Return a client of the server that was named, set, signed in at, or found in the home.

    In this order; and as whom: with the key that was given or set, by the sign-in at that very
    server, or with the admin key in the home, which is sent to no other machine.
    """
    settings = load()
    login = sign_in.load(settings.home)
    if server is None and login is not None and not _address_is_set(settings):
        server = login.server
    server = server or address(settings)
    where = full_address(server)
    credential: str | Callable[[], str] = settings.auth.admin_key if key is None else key
    if key is None and not credential:
        if login is not None and login.server == where:
            credential = sign_in.Bearer(settings.home, login)
        elif is_loopback(where) or where == address(settings):
            credential = admin_key(settings.home, make=False)
    return Client(server, credential, patience_s=patience_s)


def address(settings: Settings) -> str:
    """Return the server's address; a running `zq up` knows better than a default does."""
    if not _address_is_set(settings):
        found = live_url(settings.home)
        if found:
            return found
    return web_url(settings.web.host, settings.web.port)


def _address_is_set(settings: Settings) -> bool:
    return bool({"ZQ_WEB__HOST", "ZQ_WEB__PORT"} & set(settings.origins))
