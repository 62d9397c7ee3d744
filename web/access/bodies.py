"""How large a body may be, by what the route is for, and how many bytes of bodies are in work.

Where no credential is needed 16 kB, where definitions come in ZQ_WEB__MAX_BODY_BYTES, else what a
run's input may have.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from flask import Flask, g, request

from orchestrator.errors import ServiceUnavailable
from orchestrator.settings import Settings
from web.access.guard import PUBLIC
from web.schemas.strict_json import BODY_TAKES

View = TypeVar("View", bound=Callable[..., Any])
#: The largest body of a route that needs no credential.
PUBLIC_BYTES = 16 * 1024
#: What a body may hold around a run's input.
_AROUND_BYTES = 64 * 1024
#: How many of the largest bodies a process reads and works on at a time.
_AT_ONCE = 4
#: Bodies up to this are not counted: all threads together have few of them.
_SMALL_BYTES = 64 * 1024
_RETRY_S = 1
_TAKES_DEFINITIONS = "zq_takes_definitions"


def takes_definitions(view: View) -> View:
    """Declare that an endpoint function is sent definitions, which may be large."""
    setattr(view, _TAKES_DEFINITIONS, True)
    return view


class InWork:
    """The bytes of bodies that a process has in hand; safe to share between threads."""

    def __init__(self, most: int) -> None:
        self._left = most
        self._lock = threading.Lock()

    def take(self, count: int) -> bool:
        """Take some; False when there are not so many."""
        with self._lock:
            if count > self._left:
                return False
            self._left -= count
            return True

    def give_back(self, count: int) -> None:
        """Give back what was taken."""
        with self._lock:
            self._left += count


def limit_of(app: Flask, endpoint: str | None, settings: Settings) -> int:
    """Return the largest body that an endpoint takes, in bytes."""
    largest = settings.web.max_body_bytes
    if endpoint in PUBLIC:
        return min(PUBLIC_BYTES, largest)
    if getattr(app.view_functions.get(endpoint or ""), _TAKES_DEFINITIONS, False):
        return largest
    return min(settings.limits.input_bytes + _AROUND_BYTES, largest)


def install(app: Flask, settings: Settings) -> None:
    """Bound the bodies of all routes."""
    in_work = InWork(_AT_ONCE * settings.web.max_body_bytes)

    @app.before_request
    def bound() -> None:
        request.max_content_length = limit_of(app, request.endpoint, settings)
        g.body_bytes = g.body_counted = 0
        request.environ[BODY_TAKES] = takes

    def takes(count: int) -> None:
        g.body_bytes += count
        if g.body_bytes <= _SMALL_BYTES:
            return
        more = g.body_bytes - g.body_counted
        if not in_work.take(more):
            busy = "too many large bodies are being read just now; try again in a moment"
            raise ServiceUnavailable(busy, retry_after_s=_RETRY_S)
        g.body_counted += more

    @app.teardown_request
    def give_back(_: BaseException | None) -> None:
        in_work.give_back(g.pop("body_counted", 0))
