"""Secrets and variables: what may be one, and what is known of it. A secret's value is not."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

#: What `secrets.NAME` and `vars.NAME` may be called.
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\Z")
ENVIRONMENT = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}\Z")
#: Shorter values could not be masked without masking everything.
MIN_CHARS = 4
MAX_BYTES = 65_536
MAX_VARIABLE_BYTES = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A secret without its value. Where it is kept elsewhere, only its name may be known."""

    name: str
    description: str = ""
    #: Counts the values it has had, from 1.
    version: int | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A value under a data key of its own, and that key under the master key of this id."""

    value: bytes = field(repr=False)
    data_key: bytes = field(repr=False)
    master_key_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedSecret:
    """A row of the record."""

    tenant_id: UUID
    name: str
    version: int
    description: str
    sealed: Sealed


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A plain value by name. With an environment it is that one's alone; '' is for all."""

    name: str
    environment: str
    value: Any
    description: str
    created_at: datetime
    updated_at: datetime


def refused(value: str) -> str | None:
    """Tell why a text cannot be a secret; None when it can."""
    if len(value.strip()) < MIN_CHARS:
        return f"is shorter than {MIN_CHARS} characters, which could not be masked in logs"
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        return "holds half of a surrogate pair; give valid text"
    if "\0" in value:
        return "holds a NUL; encode binary values, as base64 for instance"
    if size > MAX_BYTES:
        return f"is larger than {MAX_BYTES} bytes"
    return None
