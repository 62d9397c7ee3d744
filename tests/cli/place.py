"""The command line against the API in memory: a real server on loopback, and a home of its own."""

from __future__ import annotations

import io
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from werkzeug.serving import make_server

from orchestrator.bootstrap.core import Core
from orchestrator.cli import main
from orchestrator.client import sign_in
from tests.api.conftest import KEY, Api, build_core
from tests.servers import Servers
from web.app import create_app

Captured = pytest.CaptureFixture[str]
EMAIL, PASSWORD = "ada@example.org", "correct horse battery"


@dataclass
class Place:
    """A server, a home, and the commands run there."""

    core: Core
    #: Does what workers do.
    api: Api
    url: str
    home: Path
    capsys: Captured
    patch: pytest.MonkeyPatch
    #: What the last command said on standard error.
    errors: str = ""

    def zq(self, *words: str, text: str = "", code: int = 0) -> str:
        """Run a command with this input; check its exit code and return what it printed."""
        self.patch.setattr(sys, "stdin", io.StringIO(text))
        self.capsys.readouterr()
        done = main(words)
        said = self.capsys.readouterr()
        self.errors = said.err
        assert done == code, said
        return said.out

    def told(self, *words: str, text: str = "") -> Any:
        """Run a command and return what it tells as JSON."""
        return json.loads(self.zq(*words, "-o", "json", text=text))

    def lines(self, *words: str) -> list[str]:
        """Run a command that tells one thing a line as JSON."""
        return self.zq(*words, "-o", "json").splitlines()

    def write(self, run_id: UUID, message: str, level: str = "info") -> None:
        """Let the one node of a run log a line and succeed, as a worker would."""
        (claim,) = self.api.claims(run_id)
        self.api.settle(claim, says=((level, message),))

    def make(self, *words: str, email: str = EMAIL) -> dict[str, Any]:
        """Make a user with the usual password."""
        made: dict[str, Any] = self.told(
            "user", "create", email, "--password-stdin", *words, text=f"{PASSWORD}\n"
        )
        return made

    def login(self, email: str = EMAIL) -> None:
        """Sign in."""
        words = ("login", "--email", email, "--password-stdin", "--server", self.url)
        self.zq(*words, text=f"{PASSWORD}\n")

    @property
    def kept(self) -> dict[str, Any]:
        """What is kept of a sign-in."""
        kept: dict[str, Any] = json.loads((self.home / "login.json").read_text())
        return kept

    def age(self) -> None:
        """Let the access token that is kept be near its end."""
        login = sign_in.load(self.home)
        assert login is not None
        sign_in.keep(self.home, sign_in.Login(**self.kept | {"fresh_until_s": 0.0}))


class Terminal(io.StringIO):
    """An input where somebody sits."""

    def isatty(self) -> bool:
        return True


@contextmanager
def opened(
    folder: Path, servers: Servers, patch: pytest.MonkeyPatch, capsys: Captured
) -> Iterator[Place]:
    """Serve a core without workers until the block ends."""
    core = build_core(servers)
    app = create_app(core)
    api = Api(app.test_client(), core)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    home = folder / "home"
    home.mkdir(mode=0o700)
    (home / "admin.key").write_text(KEY)
    patch.setenv("ZQ_HOME", str(home))
    patch.setenv("ZQ_WEB__PORT", str(server.server_port))
    patch.setenv("NO_COLOR", "1")
    try:
        yield Place(core, api, f"http://127.0.0.1:{server.server_port}", home, capsys, patch)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
