"""A server that speaks HashiCorp Vault's KV engine, version 2, as its API documents say: versions,
deletion, lists, tokens, namespaces, being sealed. `python -m tests.vault_server TOKEN`."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

MOUNT = "secret"


class Vault(BaseHTTPRequestHandler):
    """Answers one request. What is stored is the server's."""

    protocol_version = "HTTP/1.1"
    #: path -> its versions, oldest first: {"data", "created_time", "deletion_time"}.
    kept: dict[str, list[dict[str, Any]]]
    token: str
    namespace = ""
    sealed = False

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _answer(self, status: int, body: Any = None) -> None:
        data = b"" if body is None else json.dumps({"request_id": "r", **body}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _refused(self) -> bool:
        if type(self).sealed:
            self._answer(503, {"errors": ["Vault is sealed"]})
        elif self.headers.get("X-Vault-Namespace", "") != type(self).namespace:
            self._answer(404, {"errors": []})
        elif self.headers.get("X-Vault-Token") != type(self).token:
            self._answer(403, {"errors": ["permission denied"]})
        else:
            return False
        return True

    def _path(self, kind: str) -> str | None:
        path = unquote(urlsplit(self.path).path)
        start = f"/v1/{MOUNT}/{kind}/"
        return path.removeprefix(start) if path.startswith(start) else None

    def do_GET(self) -> None:
        """Read a secret's newest version, or list a folder."""
        if self._refused():
            return
        query = parse_qs(urlsplit(self.path).query)
        folder, path = self._path("metadata"), self._path("data")
        if folder is not None and query.get("list") == ["true"]:
            start = folder.rstrip("/") + "/"
            below = [p.removeprefix(start) for p in self.kept if p.startswith(start)]
            keys = sorted({k if "/" not in k else k.partition("/")[0] + "/" for k in below})
            self._answer(200, {"data": {"keys": keys}}) if keys else self._answer(
                404, {"errors": []}
            )
            return
        versions = self.kept.get(path or "")
        if not versions:
            self._answer(404, {"errors": []})
            return
        newest = versions[-1]
        meta = {
            "created_time": newest["created_time"], "custom_metadata": None, "destroyed": False,
            "deletion_time": newest["deletion_time"], "version": len(versions),
        }  # fmt: skip
        gone = bool(newest["deletion_time"])
        data = {"data": None if gone else newest["data"], "metadata": meta}
        self._answer(404 if gone else 200, {"data": data, "lease_id": "", "renewable": False})

    def do_POST(self) -> None:
        """Write the next version of a secret; or, below /test, change the server itself."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/test":
            for name, value in body.items():
                setattr(type(self), name, value)
            self._answer(204)
            return
        path = self._path("data")
        if self._refused() or path is None:
            return
        versions = self.kept.setdefault(path, [])
        now = datetime.now(UTC).isoformat()
        versions.append({"data": body["data"], "created_time": now, "deletion_time": ""})
        self._answer(200, {"data": {"created_time": now, "version": len(versions)}})

    def do_DELETE(self) -> None:
        """Delete the newest version of a secret."""
        path = self._path("data")
        if self._refused() or path is None:
            return
        self.kept[path][-1]["deletion_time"] = datetime.now(UTC).isoformat()
        self._answer(204)


def main() -> None:
    """Serve on a free port, which is printed."""
    Vault.kept, Vault.token = {}, sys.argv[1]
    server = ThreadingHTTPServer(("127.0.0.1", 0), Vault)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
