"""A context of its own for each request, so that what one sets is never seen by the next one.

It lasts until the answer is sent: a streamed answer works on behalf of the same principal. A
socket's handler runs inside its request and so inside this. Threads that it starts have none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextvars import Context, copy_context
from typing import Any, Self

from web.access.proxies import Wsgi


class OwnContext:
    """Goes around the application."""

    def __init__(self, app: Wsgi) -> None:
        self._app = app

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        context = copy_context()
        return _Body(context.run(self._app, environ, start_response), context)


class _Body:
    """An answer's body, made and closed in the context of its request."""

    def __init__(self, body: Iterable[bytes], context: Context) -> None:
        self._body = body
        self._context = context
        self._parts: Iterator[bytes] = context.run(iter, body)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        return self._context.run(next, self._parts)

    def close(self) -> None:
        """Close what is inside; servers call it whatever happened."""
        close = getattr(self._body, "close", None)
        if close is not None:
            self._context.run(close)
