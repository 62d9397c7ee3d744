"""Masking by value: each way in which a secret is commonly written is replaced by `***`.

Pure. What a handler makes of a value beyond these forms (a hash, a part of it) is not recognised.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import cached_property
from itertools import pairwise
from typing import Any, Generic, TypeVar

import orjson

from orchestrator.models.secret import MIN_CHARS
from orchestrator.services.secrets.forms import forms
from orchestrator.services.secrets.matching import Matcher, Span

MASK = "***"
#: Lines held back at most, whatever may still become of them.
_HELD_LINES = 1000
_ENDS = re.compile("[\r\n]")
_NUMBER = re.compile(r"[-+.eE0-9]*[0-9][-+.eE0-9]*\Z")

Tag = TypeVar("Tag")


class Masker:
    """Hides some secrets in whatever it is given. Make one for each set of values, and keep it."""

    def __init__(self, values: Iterable[str]) -> None:
        self._all = frozenset(form for value in set(values) for form in forms(value))
        self._texts = Matcher(self._all)

    def text(self, text: str) -> str:
        """Return a text with every form masked; the same object where there is none."""
        spans = self._texts.spans(text)
        return _covered(text, spans) if spans else text

    def error(self, text: str) -> str:
        """Return a text that may have been cut: the beginnings of forms are masked too."""
        spans = [*self._texts.spans(text), *self._texts.begun(text)]
        return _covered(text, spans) if spans else text

    def value(self, value: Any, words: Collection[str] = ()) -> Any:
        """Return a JSON value with every form masked in its texts, keys and numbers.

        Keys that are among `words` stay: the definition says them. The same object where there
        is nothing to mask.
        """
        dumped = orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()
        if not self._texts.found(dumped) and not self._dumped.found(dumped):
            return value
        return self._walk(value, words)

    def data(self, data: bytes) -> bytes:
        """Return bytes with every form masked, wherever they are text."""
        text = data.decode("latin-1")
        spans = [*self._texts.spans(text), *self._encoded.spans(text)]
        return _covered(text, spans).encode("latin-1") if spans else data

    def lines(self) -> LineMasker[Any]:
        """Return the masker of a stream of lines."""
        return LineMasker(self)

    @cached_property
    def _dumped(self) -> Matcher:
        """The forms that are written otherwise inside a JSON document."""
        return Matcher({orjson.dumps(form).decode()[1:-1] for form in self._all} - self._all)

    @cached_property
    def _encoded(self) -> Matcher:
        """The forms that are other bytes than characters."""
        forms = (form for form in self._all if not form.isascii())
        return Matcher(form.encode("utf-8", "surrogatepass").decode("latin-1") for form in forms)

    @cached_property
    def _numbers(self) -> bool:
        return any(_NUMBER.match(form) for form in self._all)

    def _walk(self, value: Any, words: Collection[str]) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {
                key if key in words else self._walk(key, ()): self._walk(item, words)
                for key, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [self._walk(item, words) for item in value]
        if self._numbers and isinstance(value, int | float) and not isinstance(value, bool):
            dumped = orjson.dumps(value).decode()
            hidden = self.text(dumped)
            return value if hidden == dumped else hidden
        return value

    # --- streams of lines, seen without their line ends -----------------------------------------

    @cached_property
    def _joined(self) -> Matcher:
        """The forms that go over line ends, without these."""
        joined = {_ENDS.sub("", form) for form in self._all} - self._all
        return Matcher(form for form in joined if len(form) >= MIN_CHARS)

    def spans(self, text: str) -> list[Span]:
        """Return where forms are in a text without line ends, merged and in order."""
        return _merged([*self._texts.spans(text), *self._joined.spans(text)])

    def telling(self, text: str) -> list[Span]:
        """Return, as `spans`, also where forms only begin."""
        begun = *self._texts.begun(text), *self._joined.begun(text)
        return _merged([*self.spans(text), *begun])

    def held(self, text: str) -> int:
        """Return where the end of a text begins that may go on to be a form, else its length."""
        return min(self._texts.held(text), self._joined.held(text))


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
