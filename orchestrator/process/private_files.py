"""Private folders and files below $ZQ_HOME: their modes never depend on the umask."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from orchestrator.errors import EmbeddedUnavailable

#: `sockaddr_un` holds 104 bytes on macOS and 108 on Linux, the final zero included.
MAX_SOCKET_PATH_BYTES = 103


def private_folder(folder: Path) -> Path:
    """Create `folder` for this user alone, or take the rights of all others away.

    A folder that others need (sticky, or another user's) is refused, never closed to them.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_mode & stat.S_ISVTX or (os.geteuid() != 0 and found.st_uid != os.geteuid()):
        raise EmbeddedUnavailable(
            f"{folder} belongs to others too; set ZQ_HOME to a folder of your own."
        )
    if stat.S_IMODE(found.st_mode) != 0o700:
        folder.chmod(0o700)
    return folder


def write_private(path: Path, text: str) -> None:
    """Replace `path` in one step with a file that only this user can read."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def password(path: Path) -> str:
    """Return the password kept in `path`, made up (256 bits, URL-safe) the first time."""
    if not path.exists():
        write_private(path, secrets.token_urlsafe(32))
    return path.read_text().strip()


def fits_socket(folder: Path, name: str) -> bool:
    """Tell whether a unix socket of this name can live in `folder`."""
    return len(os.fsencode(folder / name)) <= MAX_SOCKET_PATH_BYTES
