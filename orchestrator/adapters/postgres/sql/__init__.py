"""Named statements of the .sql files: blocks of `-- name: x`, purpose lines, the statement."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_BLOCK = re.compile(
    r"^-- name: (\w+)\n((?:--[^\n]*\n)+)(.*?)(?=^-- name: |\Z)", re.MULTILINE | re.DOTALL
)


@cache
def statements(noun: str) -> dict[str, str]:
    """Return the statements of `<noun>.sql` by name."""
    text = Path(__file__).with_name(f"{noun}.sql").read_text()
    return {name: body.strip().removesuffix(";") for name, _, body in _BLOCK.findall(text)}
