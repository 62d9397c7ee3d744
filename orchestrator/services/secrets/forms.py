"""In which ways a secret is commonly written, beside the percent-codes of URLs: those are undone
in the text that is looked at, since any of a value's characters may be written as one."""

from __future__ import annotations

import base64
import html
import json
import re

from orchestrator.models.secret import MIN_CHARS, parts

#: Nobody escapes these.
_PLAIN = re.compile("[A-Za-z0-9_.+=-]*\\Z")


def forms(value: str) -> frozenset[str]:
    """Return the ways in which a value, or a part of it that counts as a secret, may be written.

    As it is, and escaped for JSON (also JSON in JSON), HTML and Python, with blanks as `+`, in
    another case, in hex, and in base64 at any place of a longer text.
    """
    found: set[str] = set()
    for text in parts(value):
        data = text.encode("utf-8", "surrogatepass")
        # Host names come out in lower case, methods in upper; `+` is a blank in a query.
        found |= {text, text.lower(), text.upper(), data.hex(), data.hex().upper()}
        found |= _in_base64(data)
        if not _PLAIN.match(text):
            found |= {text.replace(" ", "+"), repr(text)[1:-1]}
            found |= {escaped := html.escape(text), html.escape(text, quote=False)}
            # Jinja and Go name the quotes by their decimal numbers.
            found.add(escaped.replace("&#x27;", "&#39;").replace("&quot;", "&#34;"))
            found |= (once := _in_json(text))
            found |= {twice for inner in once for twice in _in_json(inner)}
    return frozenset(form for form in found if len(form) >= MIN_CHARS)


def _in_json(text: str) -> set[str]:
    found = {json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
    return found | {form.replace("/", "\\/") for form in found}


def _in_base64(data: bytes) -> set[str]:
    whole = base64.b64encode(data).decode()
    found = {whole}
    if len(whole) > 76:
        found.add(base64.encodebytes(data).decode().strip())
    for before in range(3):
        # Only the characters that no neighbour's bits are in.
        encoded = base64.b64encode(bytes(before) + data).decode()
        found.add(encoded[-(-before * 8 // 6) : (before + len(data)) * 8 // 6])
    return found | {form.replace("+", "-").replace("/", "_") for form in found}
