"""Texts as they may be kept and shown."""

from __future__ import annotations

import re
import unicodedata

_SURROGATES = re.compile("[\ud800-\udfff]")
_ESCAPES = {c: f"\\x{c:02x}" for c in (*range(1, 32), *range(127, 160)) if c != ord("\t")}
_ESCAPES[0] = "\ufffd"


def storable(text: str) -> str:
    """Return the text with what no database keeps replaced."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def printable(line: str) -> str:
    """Return a line that every store and terminal can take: control characters other than tab
    escaped (`\\x1b`), NUL and lone surrogates replaced."""
    if line.isprintable():
        return line
    return _SURROGATES.sub("\ufffd", line.translate(_ESCAPES))


def normal_name(name: str) -> str:
    """Return a workflow's name in the one form it is kept and looked up in: Unicode NFC."""
    return unicodedata.normalize("NFC", name)
