"""Artifacts as plain files: one folder a run, one file a name, and what it is beside it.

The folder is shared by API and workers. Who may read a run is decided elsewhere.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from uuid import UUID

import orjson

from orchestrator.errors import HandlerError, NotFound, TooLarge
from orchestrator.models.ids import time_of
from orchestrator.ports.runtime import Artifact

NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_TYPE = re.compile(
    r"[a-z0-9][a-z0-9.+-]{0,62}/[a-z0-9][a-z0-9.+-]{0,62}(; ?[a-z]+=[A-Za-z0-9_.-]+)?"
)
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MAKE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_UNKNOWN = "application/octet-stream"


class FolderArtifacts:
    """Answers `ports.runtime.Artifacts`. Folders are 0700, files 0600; links are not followed.

    An artifact is there whole or not at all: a name starts with no dot, so `.name.json` (what it
    is) and `.new-...` (not finished) are never one. A missing `.name.json` costs only the type.
    """

    def __init__(self, folder: Path, *, largest: int) -> None:
        self._folder = folder
        self._largest = largest

    def put(
        self, run_id: UUID, name: str, data: bytes, content_type: str, node_id: str
    ) -> Artifact:
        """See the port. TooLarge beyond `largest` bytes; HandlerError for a bad name or type."""
        check_artifact(name, content_type, len(data), self._largest)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            (self._folder / str(run_id)).mkdir(mode=0o700)
        with self._open(run_id) as at:
            _write(at, about_name(name), description(content_type, node_id))
            _write(at, name, data)
            os.fsync(at)
        return Artifact(name=name, content_type=content_type, size_bytes=len(data), node_id=node_id)

    def get(self, run_id: UUID, name: str) -> tuple[Artifact, bytes]:
        """See the port."""
        missing = NotFound(f"the run has no artifact {name[:200]!r}")
        if not NAME.fullmatch(name):
            raise missing
        try:
            with self._open(run_id) as at:
                data = _read(at, name)
                return _artifact(at, name, len(data)), data
        except FileNotFoundError:
            raise missing from None

    def list(self, run_id: UUID) -> Sequence[Artifact]:
        """See the port."""
        found: list[Artifact] = []
        with contextlib.suppress(FileNotFoundError), self._open(run_id) as at:
            for name in sorted(filter(NAME.fullmatch, os.listdir(at))):  # noqa: PTH208 (a descriptor)
                about = os.stat(name, dir_fd=at, follow_symlinks=False)
                if stat.S_ISREG(about.st_mode):
                    found.append(_artifact(at, name, about.st_size))
        return found

    def size(self, run_id: UUID, name: str) -> int:
        """See the port."""
        with contextlib.suppress(FileNotFoundError), self._open(run_id) as at:
            about = os.stat(name, dir_fd=at, follow_symlinks=False)
            return about.st_size if stat.S_ISREG(about.st_mode) else 0
        return 0

    def copy(self, run_id: UUID, name: str, to: UUID, as_name: str | None = None) -> Artifact:
        """See the port."""
        found, data = self.get(run_id, name)
        return self.put(to, as_name or name, data, found.content_type, found.node_id or "")

    def discard(self, run_id: UUID) -> None:
        """See the port."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self._folder / str(run_id))

    def prune(self, before: datetime, gone: Callable[[UUID, int], None] | None = None) -> int:
        """See the port."""
        count = 0
        with contextlib.suppress(FileNotFoundError):
            for folder in sorted(self._folder.iterdir()):
                if is_before(folder.name, before) and not folder.is_symlink():
                    run_id = UUID(folder.name)
                    held = sum(found.size_bytes for found in self.list(run_id)) if gone else 0
                    shutil.rmtree(folder)
                    count += 1
                    if gone is not None:
                        gone(run_id, held)
        return count

    @contextmanager
    def _open(self, run_id: UUID) -> Iterator[int]:
        """Open a run's folder; all its files are reached from there, so no path can lead away."""
        try:
            at = os.open(self._folder / str(run_id), _FOLDER)
        except OSError as error:
            raise _as_missing(error) from None
        try:
            yield at
        finally:
            os.close(at)


def check_artifact(name: str, content_type: str, size_bytes: int, largest: int) -> None:
    """Raise HandlerError for a bad name or type, TooLarge beyond `largest` bytes."""
    if not NAME.fullmatch(name):
        raise HandlerError(
            "bad_artifact_name",
            f"{name[:200]!r} cannot name an artifact: use 1-128 of A-Z a-z 0-9 . _ -, no dot first",
            retryable=False,
        )
    if not _TYPE.fullmatch(content_type):
        why = f"{content_type[:80]!r} is no content type like text/csv"
        raise HandlerError("bad_artifact_type", why, retryable=False)
    if size_bytes > largest:
        raise TooLarge(
            f"artifact {name} has {size_bytes:,} bytes; the largest may have"
            f" {largest:,} (ZQ_LIMITS__ARTIFACT_BYTES)"
        )


def about_name(name: str) -> str:
    """Return where it is written down what an artifact is."""
    return f".{name}.json"


def description(content_type: str, node_id: str) -> bytes:
    """Return what is written there."""
    return orjson.dumps({"content_type": content_type, "node_id": node_id})


def described(name: str, size_bytes: int, text: bytes) -> Artifact:
    """Return an artifact by its description; one that cannot be read costs only the type."""
    about: dict[str, str] = {}
    with contextlib.suppress(orjson.JSONDecodeError):
        about = orjson.loads(text)
    return Artifact(
        name=name,
        content_type=about.get("content_type", _UNKNOWN),
        size_bytes=size_bytes,
        node_id=about.get("node_id"),
    )


def is_before(folder: str, at: datetime) -> bool:
    """Tell whether a folder belongs to a run that was started before a moment."""
    try:
        run_id = UUID(folder)
    except ValueError:
        return False
    return run_id.version == 7 and str(run_id) == folder and time_of(run_id) < at


def _artifact(at: int, name: str, size_bytes: int) -> Artifact:
    text = b""
    with contextlib.suppress(FileNotFoundError):
        text = _read(at, about_name(name))
    return described(name, size_bytes, text)


def _read(at: int, name: str) -> bytes:
    """Return the bytes of a regular file; FileNotFoundError for links, pipes and folders too."""
    try:
        descriptor = os.open(name, _READ, dir_fd=at)
    except OSError as error:
        raise _as_missing(error) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(name)
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def _write(at: int, name: str, data: bytes) -> None:
    draft = f".new-{secrets.token_hex(12)}"
    descriptor = os.open(draft, _MAKE, 0o600, dir_fd=at)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.rename(draft, name, src_dir_fd=at, dst_dir_fd=at)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft, dir_fd=at)
        raise


def _as_missing(error: OSError) -> OSError:
    """A link, or a file where a folder should be, is as good as nothing."""
    if error.errno in {errno.ELOOP, errno.ENOTDIR, errno.ENXIO}:
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), error.filename)
    return error
