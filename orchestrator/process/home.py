"""What `zq` keeps in $ZQ_HOME for itself: its keys, and who runs everything here and where."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import ZQError

KEY_FILE = "admin.key"
SECRET_FILE = "secret.key"  # noqa: S105
LOCK_FILE = "up.lock"
STATE_FILE = "up.json"


class AlreadyUp(ZQError):
    """Another `zq up` runs in this home."""

    code = "already_up"


@dataclass(frozen=True, slots=True)
class Up:
    """A running `zq up`: its process, and its address once it has one."""

    pid: int
    url: str
    #: Where its nodes may reach a demo's data server on 127.0.0.1; 0: nowhere.
    data_port: int = 0


def admin_key(home: Path, *, make: bool = True) -> str:
    """Return the key kept in the home, made once with 256 bits; "" without `make` and a file."""
    path = home / KEY_FILE
    if not make:
        with contextlib.suppress(OSError):
            return path.read_text().strip()
        return ""
    # Here and below: with it come the drivers of Postgres and Redis, which a client has no use for.
    from orchestrator.process.private_files import password, private_folder

    private_folder(home)
    return password(path)


def secret_key(home: Path) -> str:
    """Return the secret key kept in the home, made once with 256 bits.

    Of two processes that make one at the same time, both get the first one's.
    """
    from orchestrator.process.private_files import password, private_folder

    kept = private_folder(home) / SECRET_FILE
    if not kept.exists():
        made = home / f".{SECRET_FILE}.{os.getpid()}"
        password(made)
        with contextlib.suppress(FileExistsError):
            os.link(made, kept)
        made.unlink()
    return kept.read_text().strip()


@contextlib.contextmanager
def only_one(home: Path) -> Iterator[None]:
    """Hold the home; AlreadyUp names who holds it. The kernel lets go when this process dies."""
    from orchestrator.process.private_files import private_folder

    private_folder(home)
    lock = os.open(home / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        other = _state(home)
        who = f"pid {other.pid}, {other.url}" if other else "it is just starting"
        raise AlreadyUp(
            f"`zq up` or `zq demo` runs in {home} already ({who}):"
            " use that one, stop it, or set ZQ_HOME to another folder"
        ) from None
    try:
        yield
    finally:
        (home / STATE_FILE).unlink(missing_ok=True)
        os.close(lock)


def announce(home: Path, url: str, data_port: int = 0) -> None:
    """Write down, while the home is held, where the server is and where a demo's data may be."""
    from orchestrator.process.private_files import write_private

    state = {"pid": os.getpid(), "url": url, "data_port": data_port}
    write_private(home / STATE_FILE, json.dumps(state))


def live(home: Path) -> Up | None:
    """Return who holds the home, if anybody does and has said where it is."""
    try:
        lock = os.open(home / LOCK_FILE, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _state(home)
    finally:
        os.close(lock)
    return None


def live_url(home: Path) -> str | None:
    """Return the address of the `zq up` that runs in the home."""
    found = live(home)
    return found.url if found else None


def _state(home: Path) -> Up | None:
    try:
        known = json.loads((home / STATE_FILE).read_text())
        data_port = int(known.get("data_port", 0))
        return Up(pid=int(known["pid"]), url=str(known["url"]), data_port=data_port)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def web_url(host: str, port: int) -> str:
    """Return the address that a client on this machine uses for a server that listens there."""
    local = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(host)  # noqa: S104
    bracketed = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return f"http://{local or bracketed}:{port}"
