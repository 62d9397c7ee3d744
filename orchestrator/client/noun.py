"""What the calls about one kind of thing are made of. Importing this costs nothing."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from orchestrator.client.transport import Http


class Noun:
    """The calls about one kind of thing, on a session."""

    def __init__(self, http: Http) -> None:
        self._http = http


def part(text: str) -> str:
    """Return a name as one part of a path."""
    return quote(text, safe="")


def new_key() -> dict[str, str]:
    """Return the header with which a repeated request creates nothing twice."""
    return {"Idempotency-Key": str(uuid.uuid4())}


def given(**values: Any) -> dict[str, Any]:
    """Return the values that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def is_id(text: str) -> bool:
    """Whether a text is a whole id."""
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
