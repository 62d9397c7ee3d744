"""A page that says whether a process without an API of its own does its work: 200 or 503."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Fresh:
    """Tells whether something has happened lately."""

    def __init__(self, within_s: float) -> None:
        self._within_s = within_s
        self._touched_at: float | None = None

    def touch(self) -> None:
        """It happens now."""
        self._touched_at = time.monotonic()

    def is_fresh(self) -> bool:
        """Whether it happened within the time; False before the first time."""
        at = self._touched_at
        return at is not None and time.monotonic() - at < self._within_s


def serve(host: str, port: int, alive: Callable[[], bool]) -> int:
    """Answer every GET in a thread, as long as the process lives; nothing for port 0.

    Returns the port. OSError when it is taken.
    """
    if port == 0:
        return 0
    # Two megabytes that a process without a page need not have.
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Page(BaseHTTPRequestHandler):
        """200 while all is well, else 503."""

        def do_GET(self) -> None:
            well = alive()
            body = f'{{"alive": {str(well).lower()}}}'.encode()
            self.send_response(200 if well else 503)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Health checks are not worth a log line."""

    server = ThreadingHTTPServer((host, port), Page)
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server.server_address[1]
