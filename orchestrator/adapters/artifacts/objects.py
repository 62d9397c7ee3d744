"""Artifacts in an object store that fsspec knows, S3 above all: laid out as `folder.py` does.

A folder that was used until now can be copied into the bucket as it is.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import fsspec

from orchestrator.adapters.artifacts.folder import (
    NAME,
    about_name,
    check_artifact,
    described,
    description,
    is_before,
)
from orchestrator.errors import NotFound, ServiceUnavailable, SettingsError
from orchestrator.ports.runtime import Artifact

#: A store that does not answer must not hold a request or a task for minutes.
_S3 = {
    "config_kwargs": {"connect_timeout": 5, "read_timeout": 30, "retries": {"max_attempts": 2}},
}
_OPTIONS: dict[str, dict[str, Any]] = {"s3": _S3, "s3a": _S3}


class ObjectArtifacts:
    """Answers `ports.runtime.Artifacts`. Safe to carry over a fork: it connects on first use.

    An object is there whole or not at all, since each is one PUT. What it is lies beside it in
    `.name.json`; without that only the type is lost. Credentials and endpoint are the store's own
    business (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, ...). ServiceUnavailable when it is away.
    """

    def __init__(self, url: str, *, largest: int) -> None:
        self._url = url
        self._largest = largest
        self._lock = threading.Lock()
        self._opened: tuple[int, Any, str] | None = None
        self._options = _OPTIONS.get(url.partition("://")[0], {})
        try:
            fsspec.get_filesystem_class(url.partition("://")[0])
        except (ImportError, ValueError) as error:
            raise SettingsError(f"ZQ_ARTIFACTS__URL {url}: {error}") from None

    def put(
        self, run_id: UUID, name: str, data: bytes, content_type: str, node_id: str
    ) -> Artifact:
        """See the port. TooLarge beyond `largest` bytes; HandlerError for a bad name or type."""
        check_artifact(name, content_type, len(data), self._largest)
        with self._reaching() as (store, root):
            about = description(content_type, node_id)
            store.pipe_file(f"{root}/{run_id}/{about_name(name)}", about)
            store.pipe_file(f"{root}/{run_id}/{name}", data)
        return Artifact(name=name, content_type=content_type, size_bytes=len(data), node_id=node_id)

    def get(self, run_id: UUID, name: str) -> tuple[Artifact, bytes]:
        """See the port."""
        missing = NotFound(f"the run has no artifact {name[:200]!r}")
        if not NAME.fullmatch(name):
            raise missing
        try:
            with self._reaching() as (store, root):
                folder = f"{root}/{run_id}"
                data: bytes = store.cat_file(f"{folder}/{name}")
                about = self._descriptions(store, folder, [name])
        except FileNotFoundError:
            raise missing from None
        return described(name, len(data), about.get(name, b"")), data

    def list(self, run_id: UUID) -> Sequence[Artifact]:
        """See the port."""
        try:
            with self._reaching() as (store, root):
                folder = f"{root}/{run_id}"
                entries = store.ls(folder, detail=True)
                sizes = {_last(e["name"]): e["size"] for e in entries if e["type"] == "file"}
                names = sorted(filter(NAME.fullmatch, sizes))
                about = self._descriptions(store, folder, names)
        except FileNotFoundError:
            return []
        return [described(name, sizes[name], about.get(name, b"")) for name in names]

    def size(self, run_id: UUID, name: str) -> int:
        """See the port."""
        try:
            with self._reaching() as (store, root):
                return int(store.info(f"{root}/{run_id}/{name}")["size"])
        except FileNotFoundError:
            return 0

    def copy(self, run_id: UUID, name: str, to: UUID, as_name: str | None = None) -> Artifact:
        """See the port."""
        found, data = self.get(run_id, name)
        return self.put(to, as_name or name, data, found.content_type, found.node_id or "")

    def discard(self, run_id: UUID) -> None:
        """See the port."""
        with contextlib.suppress(FileNotFoundError), self._reaching() as (store, root):
            store.rm(f"{root}/{run_id}", recursive=True)

    def prune(self, before: datetime, gone: Callable[[UUID, int], None] | None = None) -> int:
        """See the port."""
        count = 0
        try:
            with self._reaching() as (store, root):
                for folder in sorted(store.ls(root, detail=False)):
                    if is_before(_last(folder), before):
                        run_id = UUID(_last(folder))
                        held = sum(found.size_bytes for found in self.list(run_id)) if gone else 0
                        store.rm(folder, recursive=True)
                        count += 1
                        if gone is not None:
                            gone(run_id, held)
        except FileNotFoundError:
            # Nothing was ever stored, or another scheduler prunes too: the rest is for later.
            return count
        return count

    @staticmethod
    def _descriptions(store: Any, folder: str, names: Sequence[str]) -> dict[str, bytes]:
        if not names:
            return {}
        wanted = {f"{folder}/{about_name(name)}": name for name in names}
        found = store.cat([*wanted], on_error="omit")
        return {wanted[path.removeprefix("s3://")]: data for path, data in found.items()}

    @contextmanager
    def _reaching(self) -> Iterator[tuple[Any, str]]:
        try:
            yield self._store()
        except FileNotFoundError:
            raise
        except Exception as error:
            # Every store has its own errors, and most of them are no OSError.
            why = f"artifacts at {self._url} cannot be reached: {error}"
            raise ServiceUnavailable(why) from error

    def _store(self) -> tuple[Any, str]:
        with self._lock:
            if self._opened is None or self._opened[0] != os.getpid():
                store, root = fsspec.url_to_fs(
                    self._url,
                    # A client and what it remembers are ours alone: others write there too.
                    skip_instance_cache=True,
                    use_listings_cache=False,
                    **self._options,
                )
                self._opened = os.getpid(), store, root.rstrip("/")
            return self._opened[1], self._opened[2]


def _last(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]
