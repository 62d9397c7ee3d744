"""Sealing of secrets: AES-256-GCM under a data key each, which is itself sealed by a master key.

Master keys are derived from texts of the settings; their ids tell nothing of them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from orchestrator.errors import SecretsUnavailable, SecretUnreadable
from orchestrator.models.secret import Sealed, SealedSecret

_KEY_BYTES = 32
_NONCE_BYTES = 12


def _derived(text: str, purpose: bytes, size: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=size, salt=None, info=purpose).derive(text.encode())


class AesSecretBox:
    """Answers `ports.secrets.SecretBox`. The first of the keys is the newest."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = {
            _derived(text, b"zq secrets master key id v1", 8).hex(): _derived(
                text, b"zq secrets master key v1", _KEY_BYTES
            )
            for text in dict.fromkeys(keys)
        }

    @property
    def newest(self) -> str:
        """See the port."""
        for key_id in self._keys:
            return key_id
        raise SecretsUnavailable(
            "there is no key to seal secrets with: set ZQ_AUTH__SECRET_KEY or ZQ_SECRETS__KEYS"
        )

    def seal(self, tenant_id: UUID, name: str, version: int, value: str) -> Sealed:
        """See the port."""
        newest, about = self.newest, _about(tenant_id, name, version)
        data_key = AESGCM.generate_key(_KEY_BYTES * 8)
        return Sealed(
            value=_closed(data_key, value.encode(), b"value" + about),
            data_key=_closed(self._keys[newest], data_key, b"key" + about),
            master_key_id=newest,
        )

    def open(self, secret: SealedSecret) -> str:
        """See the port."""
        about = _about(secret.tenant_id, secret.name, secret.version)
        try:
            return _opened(self._data_key(secret), secret.sealed.value, b"value" + about).decode()
        except (InvalidTag, ValueError):
            raise _tampered(secret) from None

    def rewrap(self, secret: SealedSecret) -> Sealed:
        """See the port."""
        newest, about = self.newest, _about(secret.tenant_id, secret.name, secret.version)
        data_key = self._data_key(secret)
        return Sealed(
            value=secret.sealed.value,
            data_key=_closed(self._keys[newest], data_key, b"key" + about),
            master_key_id=newest,
        )

    def _data_key(self, secret: SealedSecret) -> bytes:
        master = self._keys.get(secret.sealed.master_key_id)
        if master is None:
            raise SecretUnreadable(
                f"secret {secret.name} is sealed under master key {secret.sealed.master_key_id},"
                " which this process does not have: add it to ZQ_SECRETS__KEYS, or set the"
                " secret again"
            )
        about = _about(secret.tenant_id, secret.name, secret.version)
        try:
            return _opened(master, secret.sealed.data_key, b"key" + about)
        except (InvalidTag, ValueError):
            raise _tampered(secret) from None


def _about(tenant_id: UUID, name: str, version: int) -> bytes:
    """Return what a sealed value is bound to; the name is last, so no two read alike."""
    return b" zq secret v1" + tenant_id.bytes + version.to_bytes(8, "big") + name.encode()


def _closed(key: bytes, data: bytes, about: bytes) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, data, about)


def _opened(key: bytes, data: bytes, about: bytes) -> bytes:
    return AESGCM(key).decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], about)


def _tampered(secret: SealedSecret) -> SecretUnreadable:
    return SecretUnreadable(
        f"secret {secret.name} cannot be opened: its row was changed by somebody else than ZQ; set"
        " the secret again"
    )
