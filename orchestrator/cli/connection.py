"""Which server the command line speaks to, and with which key: named, set, or found in the home."""

from __future__ import annotations

from orchestrator.cli.home import admin_key, live_url
from orchestrator.client.http import Client
from orchestrator.settings import Settings, load


def connect(
    server: str | None = None, *, key: str | None = None, patience_s: float = 0.0
) -> Client:
    """Return a client of the server that was named, set, or found in the home, in this order."""
    settings = load()
    if key is None:
        key = settings.auth.admin_key or admin_key(settings.home, make=False)
    return Client(server or address(settings), key, patience_s=patience_s)


def address(settings: Settings) -> str:
    """Return the server's address; a running `zq up` knows better than a default does."""
    if not {"ZQ_WEB__HOST", "ZQ_WEB__PORT"} & set(settings.origins):
        found = live_url(settings.home)
        if found:
            return found
    return web_url(settings.web.host, settings.web.port)


def web_url(host: str, port: int) -> str:
    """Return the address that a client on this machine uses for a server that listens there."""
    local = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(host)  # noqa: S104
    bracketed = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return f"http://{local or bracketed}:{port}"
