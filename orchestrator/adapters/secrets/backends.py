"""Secrets that are kept outside: in the environment, in files, in HashiCorp Vault. Read only.

Each has a place of its own for every tenant; the first tenant may also use the place itself.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from orchestrator.errors import SecretsUnavailable
from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.models.secret import MAX_BYTES, NAME, Secret

_TIMEOUT_S = 5.0
#: An answer of Vault is never larger: a secret, with room for what surrounds it.
_ANSWER_BYTES = 1024 * 1024
#: Begins the names of a tenant's variables; no secret of the first tenant may look like it.
_OWNED = re.compile(r"[0-9A-Fa-f]{32}__")


class EnvironmentSecrets:
    """Variables of the process: PREFIX + name for the first tenant, and for any tenant
    PREFIX + its id in 32 upper-case hex digits + `__` + name."""

    place = "the environment of the workers"

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def list(self, tenant_id: UUID, *, after: str, limit: int) -> Sequence[Secret]:
        """See the port. What this process has; workers may have others."""
        own = f"{self._prefix}{_hex(tenant_id)}__"
        names = {name.removeprefix(own) for name in os.environ if name.startswith(own)}
        if tenant_id == DEFAULT_TENANT:
            start = len(self._prefix)
            names |= {name[start:] for name in os.environ if name.startswith(self._prefix)}
        return _page({name for name in names if _plain(name)}, after, limit)

    def values(self, tenant_id: UUID, names: Sequence[str]) -> Mapping[str, str]:
        """See the port."""
        found: dict[str, str] = {}
        for name in filter(_plain, names):
            value = os.environ.get(f"{self._prefix}{_hex(tenant_id)}__{name}")
            if value is None and tenant_id == DEFAULT_TENANT:
                value = os.environ.get(self._prefix + name)
            if value is not None:
                found[name] = value
        return found


class FileSecrets:
    """A folder as Kubernetes mounts one: a file a secret in `DIR/TENANT_ID`, or in `DIR` itself for
    the first tenant. One line end at the end of a file is not part of the value."""

    place = "files"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _folders(self, tenant_id: UUID) -> list[Path]:
        own = [self._folder / str(tenant_id)]
        return [*own, self._folder] if tenant_id == DEFAULT_TENANT else own

    def list(self, tenant_id: UUID, *, after: str, limit: int) -> Sequence[Secret]:
        """See the port."""
        names: set[str] = set()
        for folder in self._folders(tenant_id):
            if folder.is_dir():
                names |= {p.name for p in folder.iterdir() if NAME.match(p.name) and p.is_file()}
        return _page(names, after, limit)

    def values(self, tenant_id: UUID, names: Sequence[str]) -> Mapping[str, str]:
        """See the port."""
        found: dict[str, str] = {}
        for name in names:
            for folder in self._folders(tenant_id):
                if NAME.match(name) and (value := _content(folder / name)) is not None:
                    found.setdefault(name, value)
        return found


def _content(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 2)
        return re.sub(r"\r?\n\Z", "", data.decode())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise SecretsUnavailable(f"secret file {path.name} cannot be read: {error}") from None


class VaultSecrets:
    """HashiCorp Vault's KV engine, version 2: `MOUNT/PATH/TENANT_ID/NAME`, the value in the field
    `value`. The token's policy decides what can be read at all."""

    place = "Vault"

    def __init__(
        self,
        url: str,
        *,
        mount: str,
        path: str,
        token: str,
        token_path: str,
        namespace: str,
        ca: str,
    ) -> None:
        self._url = url.rstrip("/")
        self._mount = mount.strip("/")
        self._path = path.strip("/")
        self._token = token
        self._token_path = token_path
        self._namespace = namespace
        self._verify: Any = True
        if ca:
            import ssl

            self._verify = ssl.create_default_context(cafile=ca)

    def list(self, tenant_id: UUID, *, after: str, limit: int) -> Sequence[Secret]:
        """See the port. The token needs `list` on `MOUNT/metadata/PATH/*`."""
        with self._client() as client:
            body = self._get(client, f"metadata/{self._folder(tenant_id)}", list="true")
        keys = (body or {}).get("data", {}).get("keys", ())
        return _page({key for key in keys if NAME.match(key)}, after, limit)

    def values(self, tenant_id: UUID, names: Sequence[str]) -> Mapping[str, str]:
        """See the port. A value that is no text counts as none, and so does a deleted version."""
        found: dict[str, str] = {}
        with self._client() as client:
            for name in filter(NAME.match, names):
                body = self._get(client, f"data/{self._folder(tenant_id)}/{name}")
                kept = ((body or {}).get("data") or {}).get("data") or {}
                if isinstance(kept.get("value"), str):
                    found[name] = kept["value"]
        return found

    def _folder(self, tenant_id: UUID) -> str:
        return f"{self._path}/{tenant_id}".lstrip("/")

    def _client(self) -> httpx.Client:
        # A client a look-up: it is rare, survives forks, and takes a new token at once.
        headers = {"X-Vault-Token": self._present_token(), "X-Vault-Request": "true"}
        if self._namespace:
            headers["X-Vault-Namespace"] = self._namespace
        return httpx.Client(
            headers=headers, timeout=_TIMEOUT_S, trust_env=False, verify=self._verify
        )

    def _present_token(self) -> str:
        if not self._token_path:
            return self._token
        try:
            return Path(self._token_path).read_text().strip()
        except OSError as error:
            raise SecretsUnavailable(
                f"the file of Vault's token cannot be read: {error.strerror}"
            ) from None

    def _get(self, client: httpx.Client, path: str, **query: str) -> dict[str, Any] | None:
        url = f"{self._url}/v1/{self._mount}/{path}"
        try:
            with client.stream("GET", url, params=query) as answer:
                data = b""
                for piece in answer.iter_bytes():
                    data += piece
                    if len(data) > _ANSWER_BYTES:
                        raise SecretsUnavailable("Vault's answer is larger than any secret")
        except httpx.HTTPError as error:
            raise SecretsUnavailable(f"Vault cannot be reached: {type(error).__name__}") from None
        if answer.status_code == 404:
            return None
        if answer.status_code == 403:
            raise SecretsUnavailable("Vault refuses the token: it is wrong, old, or lacks a policy")
        if answer.status_code != 200:
            raise SecretsUnavailable(f"Vault answered {answer.status_code}")
        try:
            body = httpx.Response(200, content=data).json()
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise SecretsUnavailable("Vault's answer cannot be read")
        return body


def _hex(tenant_id: UUID) -> str:
    return tenant_id.hex.upper()


def _plain(name: str) -> bool:
    return bool(NAME.match(name)) and not _OWNED.match(name)


def _page(names: set[str], after: str, limit: int) -> list[Secret]:
    return [Secret(name=name) for name in sorted(n for n in names if n > after)[:limit]]
