"""Where some of many texts are in another: made and used in time linear in all their sizes.

A form is found by its first four characters, then by its first sixteen, then by its size and
hash; no two forms are ever compared with each other.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

from orchestrator.models.secret import MIN_CHARS

Span = tuple[int, int]

_HEAD = 16
#: Up to so many different beginnings are looked for one by one, without Python per character.
_FEW = 200
_CODES = re.compile("(?:%[0-9A-Fa-f]{2})+")
#: What may be the beginning of a character: bytes without their last ones, and of a code.
_LAST = re.compile("[\udc80-\udcff]*(?:%[0-9A-Fa-f]?)?\\Z")
#: How often percent-codes are undone: a URL inside of a URL.
_ROUNDS = 2


class Matcher:
    """Finds some forms, each of at least `MIN_CHARS` characters, also percent-encoded ones."""

    def __init__(self, forms: Iterable[str]) -> None:
        self._forms = frozenset(forms)
        self._short = _sizes(form for form in self._forms if len(form) < _HEAD)
        self._long = _sizes((form for form in self._forms if len(form) >= _HEAD), _HEAD)
        self._grams = frozenset(form[:MIN_CHARS] for form in self._forms)

    def found(self, text: str) -> bool:
        """Whether any form is in a text."""
        return any(True for view, _ in _views(text) for _ in self._in(view))

    def spans(self, text: str) -> list[Span]:
        """Return where forms are, in no order."""
        return [span for view, starts in _views(text) for span in _back(self._in(view), starts)]

    def begun(self, text: str) -> list[Span]:
        """Return where so much of a form's beginning is that it must not be shown."""
        return [
            span for view, starts in _views(text) for span in _back(self._begun_in(view), starts)
        ]

    def held(self, text: str) -> int:
        """Return where the end of a text begins that may go on to be a form, else its length."""
        return min(
            starts[at] if starts else at
            for view, starts in _views(text)
            for at in self._held_in(view)
        )

    def _in(self, text: str) -> Iterator[Span]:
        #: Heads found already, and up to where: what repeats itself is not looked at once more.
        done: dict[str, int] = {}
        for at in self._places(text):
            head = text[at : at + _HEAD]
            if done.get(head, 0) > at:
                continue
            size = self._size(text, at, head)
            if size:
                done[head] = at + size
                yield at, at + size

    def _size(self, text: str, at: int, head: str) -> int:
        """Return the size of the longest form at a place, or 0."""
        for size in self._long.get(head, ()):
            if (piece := text[at : at + size]) in self._forms:
                return len(piece)
        for size in self._short.get(head[:MIN_CHARS], ()):
            if (piece := head[:size]) in self._forms:
                return len(piece)
        return 0

    def _places(self, text: str) -> Iterator[int]:
        """Yield where a form may begin."""
        grams = self._grams
        if len(grams) > _FEW:
            for at in range(len(text) - MIN_CHARS + 1):
                if text[at : at + MIN_CHARS] in grams:
                    yield at
            return
        for gram in grams:
            at = text.find(gram)
            while at >= 0:
                yield at
                at = text.find(gram, at + 1)

    # --- pieces of forms ------------------------------------------------------------------------

    @cached_property
    def _sorted(self) -> list[str]:
        return sorted(self._forms)

    @cached_property
    def _heads(self) -> tuple[frozenset[str], Mapping[str, tuple[int, ...]]]:
        heads = frozenset(form[: _telling(form)] for form in self._forms)
        return heads, _sizes(heads)

    def _begun_in(self, text: str) -> Iterator[Span]:
        heads, sizes = self._heads
        for at in self._places(text):
            lengths = sizes.get(text[at : at + MIN_CHARS], ())
            if any(text[at : at + size] in heads for size in lengths):
                yield at, at + self._shared(text, at)

    def _shared(self, text: str, at: int) -> int:
        """Return how many characters at a place are also the beginning of one form."""
        rest = text[at : at + self._longest]
        no = bisect_left(self._sorted, rest)
        return max(_alike(form, rest) for form in self._sorted[max(0, no - 1) : no + 1])

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self._forms), default=0)

    def _held_in(self, text: str) -> Iterator[int]:
        yield len(text)
        last = _LAST.search(text)
        for end in {len(text), last.start() if last else len(text)}:
            least = max(0, end - self._longest + 1)
            for at in sorted(self._places(text[least:end])):
                tail = text[least + at : end]
                no = bisect_left(self._sorted, tail)
                # The one that is the tail itself may come first; it goes on where more follows.
                if any(
                    form.startswith(tail) and (len(form) > len(tail) or end < len(text))
                    for form in self._sorted[no : no + 2]
                ):
                    yield least + at
                    break


def _views(text: str) -> Iterator[tuple[str, list[int] | None]]:
    """Yield a text, and it with its percent-codes undone and where each character stood."""
    yield text, None
    starts: list[int] | None = None
    for _ in range(_ROUNDS):
        if "%" not in text or not _CODES.search(text):
            return
        text, found = _decoded(text)
        starts = [starts[at] for at in found] if starts else found
        yield text, starts


def _decoded(text: str) -> tuple[str, list[int]]:
    pieces: list[str] = []
    starts: list[int] = []
    at = 0
    for codes in _CODES.finditer(text):
        pieces.append(text[at : codes.start()])
        starts += range(at, codes.start())
        at = codes.start()
        data = bytes.fromhex(codes[0].replace("%", ""))
        for char in data.decode("utf-8", "surrogateescape"):
            pieces.append(char)
            starts.append(at)
            at += 3 * len(char.encode("utf-8", "surrogateescape"))
    pieces.append(text[at:])
    starts += range(at, len(text) + 1)
    return "".join(pieces), starts


def _back(spans: Iterable[Span], starts: list[int] | None) -> Iterable[Span]:
    return ((starts[start], starts[end]) for start, end in spans) if starts else spans


def _sizes(forms: Iterable[str], chars: int = MIN_CHARS) -> Mapping[str, tuple[int, ...]]:
    """Return, by their first characters, which sizes texts have, the largest first."""
    found: dict[str, set[int]] = {}
    for form in forms:
        found.setdefault(form[:chars], set()).add(len(form))
    return {head: tuple(sorted(sizes, reverse=True)) for head, sizes in found.items()}


def _telling(form: str) -> int:
    """Return how many characters of a form's beginning are already too much to show."""
    return min(_HEAD, max(MIN_CHARS, len(form) // 2))


def _alike(form: str, text: str) -> int:
    """Return how many characters two texts begin with alike."""
    pairs = enumerate(zip(form, text, strict=False))
    return next((no for no, (a, b) in pairs if a != b), min(len(form), len(text)))
