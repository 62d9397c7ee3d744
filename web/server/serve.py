"""`python -m web.server.serve [--only sockets]`: API and sockets under gunicorn, on one port."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from typing import Any, Literal

from gunicorn.app.base import BaseApplication

from orchestrator.errors import ZQError
from orchestrator.process.memory_use import without_httpx_command
from orchestrator.settings import Settings, load


class Server(BaseApplication):  # type: ignore[misc]
    """Gunicorn, told what to do by our settings instead of its own files and flags."""

    def __init__(self, options: dict[str, Any], make: Callable[[], Any]) -> None:
        self._options = options
        self._make = make
        super().__init__()

    def load_config(self) -> None:
        """Give gunicorn its settings."""
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """Build the application; called in each process after its fork."""
        return self._make()


def serve(only: Literal["all", "sockets"]) -> None:
    """Serve until SIGTERM. It does not return: gunicorn ends the process.

    SettingsError before anything is started.
    """
    without_httpx_command()
    folder = None
    if load().web.processes > 1:
        # Must be set before prometheus_client is imported, which decides there how it counts.
        folder = tempfile.mkdtemp(prefix="zq-metrics-")
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
    master = os.getpid()
    try:
        from web.server.configured import load_settings
        from web.server.gunicorn_conf import options

        settings = load_settings()
        if settings.web.processes > 1:
            # Once for all of them; one alone imports it by itself, and its parent stays small.
            import web.wsgi  # noqa: F401
        Server(options(settings), lambda: _make(settings, only)).run()
    finally:
        if folder and os.getpid() == master:
            shutil.rmtree(folder, ignore_errors=True)


def _make(settings: Settings, only: Literal["all", "sockets"]) -> Any:
    from web.wsgi import make_app

    return make_app(settings, only=only)


def main() -> None:
    """Read the command line and the settings, and serve."""
    parser = argparse.ArgumentParser(prog="python -m web.server.serve", description=__doc__)
    parser.add_argument("--only", choices=["all", "sockets"], default="all")
    try:
        serve(parser.parse_args().only)
    except ZQError as error:
        sys.exit(f"zq web: {error.detail}")


if __name__ == "__main__":
    main()
