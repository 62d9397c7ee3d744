"""The command line `zq`. It talks to servers over HTTP and starts processes, no more."""

from __future__ import annotations

from orchestrator.cli.app import main

__all__ = ["main"]
