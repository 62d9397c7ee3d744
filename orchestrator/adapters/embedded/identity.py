"""As whom a server runs. Postgres refuses root, so root starts it as somebody else.

A user namespace is tried first: it needs no chown, no second user, and works below a 0700 /root.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import EmbeddedUnavailable

PARENT_DEATH = Path(__file__).with_name("parent_death.py")
#: Where a server that runs as `nobody` may keep its data when $ZQ_HOME is closed to it.
SHARED_FOLDERS = (Path("/var/lib"), Path("/var/tmp"))  # noqa: S108


@dataclass(frozen=True, slots=True)
class Identity:
    """How to become the server's user: a command in front, or a user to drop to."""

    prefix: tuple[str, ...] = ()
    owner: tuple[int, int] | None = None  #: (uid, gid)

    def command(self, command: Sequence[str | Path], death_signal: int) -> list[str]:
        """Return `command` tied to us: it gets `death_signal` when we die (0: none)."""
        owner = f"{self.owner[0]}:{self.owner[1]}" if self.owner else "-"
        tied = [
            sys.executable,
            "-I",
            "-S",
            str(PARENT_DEATH),
            str(os.getpid()),
            str(death_signal),
            owner,
        ]
        return [*self.prefix, *tied, *map(str, command)]

    def can(self, program: Path, folder: Path) -> bool:
        """Tell whether this identity can run `program` and write in `folder`."""
        runs, writes = (str(program), "--version"), ("/bin/sh", "-c", 'test -w "$0"', str(folder))
        for probe in (runs, writes):
            try:
                done = subprocess.run(
                    self.command(probe, 0), check=False, capture_output=True, timeout=30, cwd="/"
                )
            except (OSError, subprocess.TimeoutExpired):
                return False
            if done.returncode != 0:
                return False
        return True


def itself() -> Identity:
    """Return the identity of this process."""
    return Identity()


def choose(program: Path, folder: Path) -> Identity:
    """Return who runs `program` on `folder`: ourselves, a namespace's nobody, or `nobody`.

    `initdb` wants a uid that has a name, so a container's nameless uid takes the namespace too.
    """
    if os.geteuid() != 0 and _has_name(os.geteuid()):
        return itself()
    if unshare := shutil.which("unshare"):
        nobody = pwd.getpwnam("nobody")
        user, group = f"--map-user={nobody.pw_uid}", f"--map-group={nobody.pw_gid}"
        mapped = Identity(prefix=(unshare, "--user", user, group))
        if mapped.can(program, folder):
            return mapped
    if os.geteuid() != 0:
        raise EmbeddedUnavailable(
            f"User id {os.geteuid()} has no name on this machine and user namespaces are off, so "
            "initdb would refuse it. Set ZQ_DATABASE__URL to a running server, or use a named user."
        )
    nobody = pwd.getpwnam("nobody")
    return Identity(owner=(nobody.pw_uid, nobody.pw_gid))


def open_to_others(folder: Path) -> bool:
    """Tell whether a stranger may pass through every folder down to `folder`, itself included."""
    return all(part.stat().st_mode & 0o001 for part in (folder, *folder.parents))


def shared_folder(name: str) -> Path:
    """Return a new or existing folder outside any private home, for `nobody` to work in."""
    for parent in SHARED_FOLDERS:
        if parent.is_dir() and os.access(parent, os.W_OK):
            folder = parent / name
            folder.mkdir(mode=0o711, exist_ok=True)
            folder.chmod(0o711)
            return folder
    raise EmbeddedUnavailable(
        "Root may start Postgres only as `nobody` here, and there is no folder it could use. "
        "Set ZQ_DATABASE__URL, or run as a plain user."
    )


def give(folder: Path, identity: Identity) -> None:
    """Make a file, or a folder with all below it, belong to the server's user."""
    uid, gid = identity.owner or (os.geteuid(), os.getegid())
    if os.geteuid() != 0:
        return
    for path in (folder, *folder.rglob("*")):
        if path.lstat().st_uid != uid:
            os.lchown(path, uid, gid)


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True
