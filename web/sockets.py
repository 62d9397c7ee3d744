"""What all sockets share: the check before the upgrade, and a bounded number of slots.

Before the upgrade: 401 without a key, 403 for a foreign Origin, 400 for a bad query or handshake,
503 when no slot is free. After it, close codes tell what is wrong.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any

from flask import Blueprint, g, request
from flask_sock import Sock

from orchestrator.errors import BadRequest, ServiceUnavailable
from web.context import shared

routes = Blueprint("stream", __name__)
sock = Sock()
#: By endpoint: reads the query into `g.query`, or raises BadRequest.
QUERIES: dict[str, Callable[[], Any]] = {}


@routes.before_request
def admit() -> None:
    """Check the request and take a socket's slot, so that watchers never starve the API."""
    if request.headers.get("Upgrade", "").lower() != "websocket" or request.method != "GET":
        return
    g.query = QUERIES[request.endpoint or ""]()
    _check_handshake()
    # Messages are small and flow one way: compression would cost more memory than it saves.
    request.environ.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)
    request.prom_do_not_track = True  # type: ignore[attr-defined]
    web = shared()
    if web.stopping.is_set() or not web.sockets.acquire(blocking=False):
        raise ServiceUnavailable("no socket is free just now; try again in a moment")
    g.slot = web.sockets


@routes.teardown_request
def leave(_: BaseException | None) -> None:
    """Give the slot back, however the request ended."""
    slot = g.pop("slot", None)
    if slot is not None:
        slot.release()


def _check_handshake() -> None:
    try:
        nonce = base64.b64decode(request.headers.get("Sec-WebSocket-Key", ""), validate=True)
    except (binascii.Error, ValueError):
        nonce = b""
    if len(nonce) != 16 or request.headers.get("Sec-WebSocket-Version") != "13":
        raise BadRequest("the handshake needs Sec-WebSocket-Version: 13 and a Sec-WebSocket-Key")
