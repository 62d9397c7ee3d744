"""Who this worker is: one incarnation from the start of the Celery process to its end.

The id is made before the pool forks, so that main and children carry the same one.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

#: How a supervisor tells the Celery process it starts who it is. Not settings: nobody sets them.
INCARNATION = "_ZQ_INCARNATION"
FOLDER = "_ZQ_FOLDER"
#: How a supervisor passes the writing end of its pulse pipe.
PULSE_FD = "_ZQ_PULSE_FD"
#: In the folder: what the worker turned out to be, for whoever beats for it.
CARD = "worker.json"

#: What the pulse says: the main loop turns; the worker is closing and finishes what it holds.
ALIVE, CLOSING = b".", b"!"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """One incarnation of a worker. `folder` is one that only its processes share."""

    id: UUID
    name: str
    host: str
    folder: Path


def identity() -> Identity:
    """Return the identity that a supervisor gave this process, or make one and keep it."""
    return _read(os.environ) if INCARNATION in os.environ else fresh(os.environ)


def fresh(environment: MutableMapping[str, str]) -> Identity:
    """Make a new incarnation and put it into the environment of a Celery process to be started."""
    environment[INCARNATION] = str(uuid4())
    environment[FOLDER] = tempfile.mkdtemp(prefix="zq-worker-")
    return _read(environment)


def _read(environment: Mapping[str, str]) -> Identity:
    worker_id, host = UUID(environment[INCARNATION]), socket.gethostname()
    return Identity(
        id=worker_id,
        name=f"{host}-{str(worker_id)[:8]}",
        host=host,
        folder=Path(environment[FOLDER]),
    )
