"""Who this worker is: one incarnation from the start of the Celery process to its end.

The id is made before the pool forks, so that main and children carry the same one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import tempfile
import time
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


#: In the folder: locked by whoever made it.
LOCK = "lock"
_PREFIX = "zq-worker-"
_MULTIPROCESSING = "multiprocessing"
#: Seconds after which a folder without a holder was not just being made.
_SETTLED_S = 60.0
#: The lock that this process holds.
_held: list[int] = []


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
    sweep()
    folder = tempfile.mkdtemp(prefix=_PREFIX)
    environment[FOLDER] = folder
    _hold(Path(folder))
    return _read(environment)


def keep_temporary(folder: Path) -> None:
    """Let `multiprocessing` and Celery's own copy of it keep their files in a worker's folder.

    They remove theirs when a process ends well; of a killed one they are swept with the folder.
    Children take it over. Whatever else is made with `tempfile` stays where it was.
    """
    # A supervisor, which needs neither, imports this module too.
    import multiprocessing

    import billiard

    within = folder / _MULTIPROCESSING
    within.mkdir(exist_ok=True)
    for process in (multiprocessing.current_process(), billiard.current_process()):
        vars(process)["_config"]["tempdir"] = str(within)


def _hold(folder: Path) -> None:
    """Hold a folder as long as this process lives, or until it holds its next one."""
    while _held:
        os.close(_held.pop())
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    _held.append(lock)


def sweep(older_s: float = _SETTLED_S) -> list[Path]:
    """Remove the folders of incarnations that were killed; return them.

    The kernel lets go of a folder's lock when its last holder dies. One without a lock is not ours
    to judge, and a young one may be about to be locked.
    """
    gone = []
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime < older_s:
                continue
            lock = os.open(folder / LOCK, os.O_RDWR)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
                gone.append(folder)
            finally:
                os.close(lock)
    return gone


def _read(environment: Mapping[str, str]) -> Identity:
    worker_id, host = UUID(environment[INCARNATION]), socket.gethostname()
    return Identity(
        id=worker_id,
        name=f"{host}-{str(worker_id)[:8]}",
        host=host,
        folder=Path(environment[FOLDER]),
    )
