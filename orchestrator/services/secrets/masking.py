"""Masking by value: each way in which a secret is commonly written is replaced by `***`.

Pure. What a handler makes of a value beyond these forms (a hash, a part of it) is not recognised.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import pairwise
from typing import Any, Generic, TypeVar
from urllib.parse import quote, quote_plus

import orjson

MASK = "***"
#: Shorter texts are everywhere: masking them would hide everything and protect nothing.
MIN_CHARS = 4
#: A line of a value of several lines counts as a value of its own from this length on.
_LINE_CHARS = 16
#: So much of a form's beginning gives the secret away.
_BEGINNING = 16
#: Lines held back at most, whatever may still become of them.
_HELD_LINES = 1000
#: What URL libraries leave as it is, beyond letters, digits and `_.-~`.
_SAFE = ("", "/", "!'()*", "!$&'()*+,;=:@/", "!$&'()*+,;=:@/?", "!#$%&'()*+,/:;=?@[]~")
_HEX = re.compile("%[0-9A-F]{2}")
_ENDS = re.compile("[\r\n]")
_NUMBER = re.compile(r"[-+.eE0-9]*[0-9][-+.eE0-9]*\Z")

Span = tuple[int, int]
Tag = TypeVar("Tag")


def forms(value: str) -> frozenset[str]:
    """Return the ways in which a value may be written: as it is, and escaped or encoded for URLs,
    JSON (also JSON in JSON), HTML, Python, in another case, in hex, and in base64 at any place of
    a longer text."""
    lines = {line.strip() for line in value.splitlines() if len(line.strip()) >= _LINE_CHARS}
    found: set[str] = set()
    for text in {value, value.strip(), " ".join(value.split()), *lines}:
        if len(text) < MIN_CHARS:
            continue
        found |= {text, html.escape(text), html.escape(text, quote=False), repr(text)[1:-1]}
        # Host names come out in lower case, methods in upper.
        found |= {text.lower(), text.upper()}
        found |= _in_urls(text)
        found |= (once := _in_json(text))
        found |= {twice for inner in once for twice in _in_json(inner)}
        data = text.encode("utf-8", "surrogatepass")
        found |= {data.hex(), data.hex().upper(), *_in_base64(data)}
    return frozenset(form for form in found if len(form) >= MIN_CHARS)


def _in_urls(text: str) -> set[str]:
    data = text.encode("utf-8", "surrogatepass")
    found = {quote(data, safe) for safe in _SAFE}
    found |= {quote_plus(data, safe) for safe in _SAFE}
    return found | {_HEX.sub(lambda code: code[0].lower(), form) for form in found}


def _in_json(text: str) -> set[str]:
    found = {json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
    return found | {form.replace("/", "\\/") for form in found}


def _in_base64(data: bytes) -> set[str]:
    whole = base64.b64encode(data).decode()
    found = {whole, base64.encodebytes(data).decode().strip()}
    for before in range(3):
        # Only the characters that no neighbour's bits are in.
        encoded = base64.b64encode(bytes(before) + data).decode()
        found.add(encoded[-(-before * 8 // 6) : (before + len(data)) * 8 // 6])
    return found | {form.translate(str.maketrans("+/", "-_")) for form in found}


class Masker:
    """Hides some secrets in whatever it is given. Make one for each set of values, and keep it."""

    def __init__(self, values: Iterable[str]) -> None:
        #: A form with others inside is found with them, but it must be covered as a whole.
        self._all = frozenset(form for value in set(values) for form in forms(value))
        self._forms = _least(self._all)

    def text(self, text: str) -> str:
        """Return a text with every form masked; the same object where there is none."""
        if not any(form in text for form in self._forms):
            return text
        return _covered(text, _spans(text, self._all))

    def error(self, text: str) -> str:
        """Return a text that may have been cut: the beginnings of forms are masked too."""
        spans = [*_spans(text, self._all), *self._beginnings(text)]
        return _covered(text, spans) if spans else text

    def value(self, value: Any) -> Any:
        """Return a JSON value with every form masked in its texts, keys and numbers.

        The same object where there is none.
        """
        dumped = orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()
        if not any(form in dumped for form in self._dumped):
            return value
        return self._walk(value)

    def data(self, data: bytes) -> bytes:
        """Return bytes with every form masked, wherever they are text."""
        forms = self._bytes
        if not any(form in data for form in forms):
            return data
        text = data.decode("latin-1")
        spans = _spans(text, {form.decode("latin-1") for form in forms})
        return _covered(text, spans).encode("latin-1")

    def lines(self) -> LineMasker[Any]:
        """Return the masker of a stream of lines."""
        return LineMasker(self)

    @cached_property
    def _dumped(self) -> frozenset[str]:
        """The forms as they are inside a JSON document."""
        inner = {orjson.dumps(form).decode()[1:-1] for form in self._all}
        return frozenset(_least(self._all | inner))

    @cached_property
    def _bytes(self) -> tuple[bytes, ...]:
        return tuple(form.encode("utf-8", "surrogatepass") for form in self._all)

    @cached_property
    def _heads(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for form in self._all:
            found.setdefault(form[: _telling(form)], []).append(form)
        return found

    @cached_property
    def _numbers(self) -> bool:
        return any(_NUMBER.match(form) for form in self._all)

    def _walk(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self._walk(key): self._walk(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._walk(item) for item in value]
        if self._numbers and isinstance(value, int | float) and not isinstance(value, bool):
            dumped = orjson.dumps(value).decode()
            hidden = self.text(dumped)
            return value if hidden == dumped else hidden
        return value

    def _beginnings(self, text: str) -> Iterator[Span]:
        for head, forms in self._heads.items():
            at = text.find(head)
            while at >= 0:
                rest = text[at : at + max(map(len, forms))]
                size = max(_shared(form, rest) for form in forms)
                yield at, at + size
                at = text.find(head, at + size)

    # --- streams of lines, seen without their line ends -----------------------------------------

    @cached_property
    def _flat(self) -> frozenset[str]:
        flat = {_ENDS.sub("", form) for form in self._all}
        return frozenset(form for form in flat if len(form) >= MIN_CHARS)

    @cached_property
    def _starts(self) -> re.Pattern[str]:
        heads = sorted({form[:MIN_CHARS] for form in self._flat})
        return re.compile(f"(?={'|'.join(map(re.escape, heads))})" if heads else r"(?!)")

    def spans(self, text: str) -> list[Span]:
        """Return where forms are in a text without line ends, merged and in order."""
        return _merged(_spans(text, self._flat))

    def telling(self, text: str) -> list[Span]:
        """Return, as `spans`, also where forms only begin."""
        return _merged([*_spans(text, self._flat), *self._beginnings(text)])

    def held(self, text: str) -> int:
        """Return where the end of a text begins that may go on to be a form, else its length."""
        longest = max(map(len, self._flat), default=0)
        for start in self._starts.finditer(text, max(0, len(text) - longest + 1)):
            tail = text[start.start() :]
            if any(len(form) > len(tail) and form.startswith(tail) for form in self._flat):
                return start.start()
        return len(text)


class LineMasker(Generic[Tag]):
    """Masks lines as they come, also what goes on over their ends.

    A line whose end may be the beginning of a secret is held back until the next one tells.
    """

    def __init__(self, masker: Masker) -> None:
        self._masker = masker
        self._held: list[tuple[str, Tag]] = []

    def add(self, line: str, tag: Tag) -> list[tuple[str, Tag]]:
        """Take a line; return those that are safe to show, each with the tag it came with."""
        self._held.append((line, tag))
        text = "".join(line for line, _ in self._held)
        spans = self._masker.spans(text)
        if len(self._held) > _HELD_LINES:
            return self.end()
        return self._let_go(spans, self._count(spans, self._masker.held(text)))

    def end(self) -> list[tuple[str, Tag]]:
        """Return what was held back; a secret that has only begun is masked as well."""
        text = "".join(line for line, _ in self._held)
        return self._let_go(self._masker.telling(text), len(self._held)) if text else []

    def _count(self, spans: list[Span], limit: int) -> int:
        """Return how many lines end before `limit` and not in the middle of a span."""
        ends: list[int] = []
        for line, _ in self._held:
            ends.append((ends[-1] if ends else 0) + len(line))
        for start, end in reversed(spans):
            if start < limit < end:
                limit = start
        count = sum(end <= limit for end in ends)
        while count and any(start < ends[count - 1] < end for start, end in spans):
            count -= 1
        return count

    def _let_go(self, spans: list[Span], count: int) -> list[tuple[str, Tag]]:
        gone, self._held = self._held[:count], self._held[count:]
        shown: list[tuple[str, Tag]] = []
        at = 0
        for line, tag in gone:
            shown.append((_clipped(line, at, spans) if spans else line, tag))
            at += len(line)
        return shown


def _telling(form: str) -> int:
    """Return how many characters of a form's beginning are already too much to show."""
    return min(_BEGINNING, max(MIN_CHARS, len(form) // 2))


def _shared(form: str, text: str) -> int:
    """Return how many characters two texts begin with alike."""
    pairs = enumerate(zip(form, text, strict=False))
    return next((no for no, (a, b) in pairs if a != b), min(len(form), len(text)))


def _least(forms: Iterable[str]) -> tuple[str, ...]:
    """Return the forms that have no other one inside: where none of these is, none is."""
    kept: list[str] = []
    for form in sorted(set(forms), key=len):
        if not any(short in form for short in kept):
            kept.append(form)
    return tuple(kept)


def _spans(text: str, forms: Iterable[str]) -> list[Span]:
    found: list[Span] = []
    for form in forms:
        at = text.find(form)
        while at >= 0:
            found.append((at, at + len(form)))
            at = text.find(form, at + len(form))
    return found


def _merged(spans: list[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _covered(text: str, spans: list[Span]) -> str:
    edges = [0, *(edge for span in _merged(spans) for edge in span), len(text)]
    return MASK.join(text[start:end] for start, end in list(pairwise(edges))[::2])


def _clipped(line: str, at: int, spans: list[Span]) -> str:
    """Return a line that begins at `at` of the stream; a span's mask is where the span begins."""
    shown: list[str] = []
    done = at
    for start, end in spans:
        if end <= at or start >= at + len(line):
            continue
        shown.append(line[done - at : max(start, at) - at])
        if start >= at:
            shown.append(MASK)
        done = min(end, at + len(line))
    shown.append(line[done - at :])
    return "".join(shown)
