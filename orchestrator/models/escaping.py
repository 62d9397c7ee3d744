"""Text that cannot steer a terminal: what has no shape of its own is shown as an escape."""

from __future__ import annotations

import re

#: C0 and C1 controls, line separators, overrides of the direction, and halves of characters.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
#: Those of them that `json.dumps` leaves as they are; in JSON they stand in strings only.
_IN_JSON = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def escaped(text: str) -> str:
    """Return a text in one line, each control character as `\\n`, `\\x1b` or `\\u202e`."""
    return _CONTROL.sub(_escape, text)


def escaped_json(text: str) -> str:
    """Return a JSON text that says the same without control characters."""
    return _IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _escape(found: re.Match[str]) -> str:
    number = ord(found[0])
    return _NAMED.get(found[0]) or (f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}")
