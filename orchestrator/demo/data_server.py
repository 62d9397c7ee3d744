"""A loopback HTTP server for the CSV and JSON files that the PyPI package `vega-datasets` ships.

The first request for the flaky file gets 503 with Retry-After, as a busy server would.
"""

from __future__ import annotations

import importlib.util
import mimetypes
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestrator.errors import ZQError

DATA_FILES = ("seattle-weather.csv", "seattle-temps.csv", "sf-temps.csv")
FLAKY_FILE = "seattle-weather.csv"
RETRY_AFTER_S = 1
_SUFFIXES = {".csv", ".json"}


class NoData(ZQError):
    """The demo's data set is not installed."""

    code = "no_demo_data"


def data_folder() -> Path:
    """Return where the package's files are; it is found, not imported: that would import pandas."""
    found = importlib.util.find_spec("vega_datasets")
    folders = list(found.submodule_search_locations or ()) if found else []
    folder = Path(folders[0], "_data") if folders else None
    if folder is None or not all((folder / name).is_file() for name in DATA_FILES):
        raise NoData(
            "the demo's data set is not installed: pip install 'zqautonxg[demo]' brings"
            " vega-datasets"
        )
    return folder


class PortTaken(ZQError):
    """Another program, or another demo, listens where this one's data is to be."""

    code = "port_taken"


class DataServer:
    """Serves the files on a port of 127.0.0.1 (0: any) from a thread; use it in a `with`."""

    def __init__(
        self, folder: Path | None = None, *, flaky: str = FLAKY_FILE, port: int = 0
    ) -> None:
        self._left_to_refuse = {flaky} if flaky else set()
        self._lock = threading.Lock()
        handler = partial(_Handler, self, folder or data_folder())
        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        except OSError as error:
            raise PortTaken(
                f"port {port} of 127.0.0.1, where `zq up` lets nodes fetch the demo's data, is"
                " taken; start again when the other demo is over, or start `zq up` again"
            ) from error
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, name="demo data", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def refuses(self, name: str) -> bool:
        """Whether this request is turned away; each flaky file once."""
        with self._lock:
            if name in self._left_to_refuse:
                self._left_to_refuse.discard(name)
                return True
        return False


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, server: DataServer, folder: Path, *args: object) -> None:
        self._data_server = server
        self._files = {p.name: p for p in folder.iterdir() if p.suffix in _SUFFIXES}
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        name = self.path.partition("?")[0].removeprefix("/")
        file = self._files.get(name)
        if file is None:
            self._answer(404, b"there is no such file\n", "text/plain")
        elif self._data_server.refuses(name):
            self._answer(503, b"too busy, come again\n", "text/plain", retry_after_s=RETRY_AFTER_S)
        else:
            kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
            self._answer(200, file.read_bytes(), kind)

    def _answer(
        self, status: int, body: bytes, kind: str, *, retry_after_s: int | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if retry_after_s is not None:
            self.send_header("Retry-After", str(retry_after_s))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """The nodes log what they fetch; twice would be noise."""
