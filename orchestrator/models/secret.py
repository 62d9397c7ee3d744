"""Secrets and variables: what may be one, and what is known of it. A secret's value is not."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

#: What `secrets.NAME` and `vars.NAME` may be called.
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\Z")
ENVIRONMENT = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}\Z")
#: Shorter values could not be masked without masking everything.
MIN_CHARS = 4
MAX_BYTES = 65_536
#: A line of a value of several lines counts as a secret of its own from this length on.
LINE_CHARS = 16
#: A text inside of a value that is JSON counts as one from this length on.
LEAF_CHARS = 8
#: So many lines and texts inside of one value can be masked; each is sought in a dozen forms.
MAX_PARTS = 2_000
_PEM = re.compile(r"-----BEGIN [^-\n]+-----(.*?)-----END ", re.DOTALL)
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


def parts(value: str) -> frozenset[str]:
    """Return the texts that count as secrets where this value is one.

    The value itself, also without blanks around it and with each blank or line end as one blank;
    its lines of 16 characters and more, those of a PEM block from 4; and where it is JSON the
    texts in it of 8 and more, each with its own parts.
    """
    found: set[str] = set()
    for text in (value, *_leaves(value)):
        found |= {text, text.strip(), " ".join(text.split())}
        found |= {line for each in text.splitlines() if len(line := each.strip()) >= LINE_CHARS}
        if "-----BEGIN " in text:
            blocks = (block for pem in _PEM.findall(text) for block in pem.splitlines())
            found |= {line.strip() for line in blocks}
    return frozenset(text for text in found if len(text) >= MIN_CHARS)


def _leaves(value: str) -> set[str]:
    if not value.lstrip().startswith(("{", "[")):
        return set()
    try:
        waiting = [orjson.loads(value)]
    except orjson.JSONDecodeError:
        return set()
    found: set[str] = set()
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
        elif isinstance(item, str) and len(item.strip()) >= LEAF_CHARS:
            found.add(item)
    return found


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
    if len(parts(value)) > MAX_PARTS:
        return f"has too many lines to be masked; {MAX_PARTS} are possible"
    return None
