"""Entries of the audit log, and the chain they make: each digest covers the one before.

`migrations/functions/audit_v1.sql` writes the same text; this is the other hand, which checks it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import orjson

#: Longer texts are cut: a request may send what it likes.
_LONGEST = 500
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: What stands before the first entry of a chain.
ORIGIN = bytes(32)
#: Begins the text of every entry: another way to write it gets another name.
FORM = "zq-audit-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """What is to be recorded: who did what to what, and from where."""

    tenant_id: UUID
    principal_id: UUID | None
    #: `user`, `key`, `system`, or `unknown` for somebody who could not be told.
    principal_kind: str
    principal: str
    #: The operation, such as `runs.cancel_run` or `auth.sign_in_failed`.
    action: str
    resource: str = ""
    resource_id: str = ""
    #: Digests (hex SHA-256, see `digest_of`) of the resource as it was, and as it is since.
    before: str | None = None
    after: str | None = None
    #: Why, in a word or two; of writes it is empty.
    detail: str = ""
    address: str = ""
    request_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry(Happening):
    """One link of a tenant's chain. `no` counts from 1 without gaps; `at` is whole milliseconds."""

    no: int
    at: datetime
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Where a chain ends: the number and digest of its last entry. Kept outside, an anchor."""

    no: int
    digest: bytes


def canonical(entry: AuditEntry) -> bytes:
    """Return an entry as the bytes that are digested: each field with its length before it.

    `<length in bytes>:<UTF-8>,` for a text, `-,` for none: no field can run into the next.
    """
    micros = (entry.at - _EPOCH) // timedelta(microseconds=1)
    fields = (
        FORM, str(entry.tenant_id), str(entry.no), str(micros),
        None if entry.principal_id is None else str(entry.principal_id),
        entry.principal_kind, entry.principal, entry.action, entry.resource, entry.resource_id,
        entry.before, entry.after, entry.detail, entry.address, entry.request_id,
    )  # fmt: skip
    return b"".join(_framed(text) for text in fields)


def _framed(text: str | None) -> bytes:
    if text is None:
        return b"-,"
    raw = text.encode()
    return b"%d:%b," % (len(raw), raw)


def chained(previous: bytes, entry: AuditEntry) -> bytes:
    """Return the digest that an entry must have after an entry with the digest `previous`."""
    return sha256(previous + canonical(entry)).digest()


def recordable(text: str) -> str:
    """Return a text as it is recorded: 500 characters, no NUL, no half characters."""
    return text[:_LONGEST].replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def digest_of(value: Any) -> str:
    """Return the hex SHA-256 of a value as canonical JSON: keys sorted, no spaces, UTF-8."""
    return sha256(orjson.dumps(value, default=str, option=orjson.OPT_SORT_KEYS)).hexdigest()
