"""Masking by value: whatever a secret is written like, it does not survive; the rest stays."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any
from urllib.parse import quote, quote_plus

import orjson
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from orchestrator.services.secrets.masking import MASK, Masker, forms

#: No `*`: beside a mask it could make the secret anew by chance.
_CHARS = st.characters(codec="utf-8", exclude_characters="*\0", exclude_categories=("Cs",))
_TEXTS = st.text(_CHARS, max_size=60)
_SECRETS = st.text(_CHARS, min_size=4, max_size=40).filter(lambda s: len(s.strip()) >= 4)
_ASCII = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=4, max_size=40)

WRITTEN: dict[str, Callable[[str], str]] = {
    "plain": lambda s: s,
    "quoted": lambda s: quote(s, safe=""),
    "quoted path": quote,
    "plus": quote_plus,
    "lower quoted": lambda s: "".join(
        chr(b) if re.match("[A-Za-z0-9_.~-]", chr(b)) else f"%{b:02x}" for b in s.encode()
    ),
    "json": json.dumps,
    "json utf-8": lambda s: orjson.dumps(s).decode(),
    "json in json": lambda s: json.dumps(json.dumps({"a": s})),
    "repr": repr,
    "hex": lambda s: s.encode().hex(),
    "HEX": lambda s: s.encode().hex().upper(),
    "base64": lambda s: base64.b64encode(s.encode()).decode(),
    "base64 after 1": lambda s: base64.b64encode(b"x" + s.encode() + b"yz").decode(),
    "base64 after 2": lambda s: base64.b64encode(b"u:" + s.encode() + b"\xff\xfe").decode(),
    "urlsafe": lambda s: base64.urlsafe_b64encode(s.encode()).decode().rstrip("="),
    "urlsafe after 1": lambda s: base64.urlsafe_b64encode(b"\xff" + s.encode()).decode(),
    "lines of base64": lambda s: base64.encodebytes(s.encode()).decode(),
}
way = pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)


def survivors(secret: str, text: str) -> list[str]:
    """Return the forms that are to be found in a text."""
    return [form for form in forms(secret) if form in text.replace(MASK, "\0")]


@way
@settings(max_examples=60, deadline=None)
@given(secret=_SECRETS, before=_TEXTS, after=_TEXTS)
def test_no_form_survives_in_a_text(
    written: Callable[[str], str], secret: str, before: str, after: str
) -> None:
    form = written(secret)
    hidden = Masker([secret]).text(before + form + after)
    assert survivors(secret, hidden) == []
    assert MASK in hidden
    # A form in what stands around may reach into it; else what stands around is untouched.
    if not survivors(secret, before + "\0" + after):
        assert hidden[: max(0, len(before) - 8)] == before[: max(0, len(before) - 8)]


@way
@settings(max_examples=40, deadline=None)
@given(secret=_SECRETS, data=st.data())
def test_no_form_survives_in_lines_however_they_are_split(
    written: Callable[[str], str], secret: str, data: st.DataObject
) -> None:
    text = data.draw(_TEXTS) + written(secret) + data.draw(_TEXTS)
    flat = text.replace("\r", "").replace("\n", "")
    # A piece of a form that is shorter than four characters cannot be told from chance.
    starts = [m.start() for f in forms(secret) for m in re.finditer(f"(?={re.escape(f)})", flat)]
    cuts = data.draw(st.lists(st.integers(0, len(flat)), max_size=5))
    kept = {cut for cut in cuts if not any(start < cut < start + 4 for start in starts)}
    edges = sorted({0, len(flat), *kept})
    masker = Masker([secret]).lines()
    shown: list[str] = []
    for start, end in pairwise(edges):
        shown += [line for line, _ in masker.add(flat[start:end], None)]
    shown += [line for line, _ in masker.end()]
    assert survivors(secret, "".join(shown)) == []


@settings(max_examples=200, deadline=None)
@given(secret=_SECRETS, value=st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(_CHARS, max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=4),
    max_leaves=12,
))  # fmt: skip
def test_a_clean_value_is_the_same_object(secret: str, value: Any) -> None:
    dumped = orjson.dumps(value).decode()
    assume(not survivors(secret, dumped) and not survivors(secret, json.dumps(value)))
    assert Masker([secret]).value(value) == value


@settings(max_examples=200, deadline=None)
@given(secret=_SECRETS, text=_TEXTS)
def test_a_clean_text_is_unchanged(secret: str, text: str) -> None:
    assume(not survivors(secret, text))
    masker = Masker([secret])
    assert masker.text(text) is text
    assert masker.data(text.encode()) == text.encode()
    lines = masker.lines()
    flat = text.replace("\r", "").replace("\n", "")
    assume(not masker.telling(flat))
    assert [line for line, _ in [*lines.add(flat, 0), *lines.end()]] == [flat]


@settings(max_examples=200, deadline=None)
@given(secret=_SECRETS, key=_TEXTS, data=st.data())
def test_no_form_survives_inside_values(secret: str, key: str, data: st.DataObject) -> None:
    written = data.draw(st.sampled_from(list(WRITTEN.values())))(secret)
    assume(not survivors(secret, orjson.dumps({key: [1, {"deep": ["a", None]}]}).decode()))
    value = {key: [1, {"deep": [f"a{written}b", None]}], written: {"x": written}}
    hidden = Masker([secret]).value(value)
    assert survivors(secret, orjson.dumps(hidden).decode()) == []


@settings(max_examples=100, deadline=None)
@given(secret=_ASCII.filter(lambda s: "*" not in s), around=st.binary(max_size=40))
def test_no_form_survives_in_bytes(secret: str, around: bytes) -> None:
    data = around + secret.encode() + around + base64.b64encode(secret.encode()) + around
    assert survivors(secret, Masker([secret]).data(data).decode("latin-1")) == []


def test_two_secrets_of_which_one_holds_the_other() -> None:
    masker = Masker(["hunter", "hunter2-and-more"])
    assert masker.text("a hunter2-and-more, a hunter") == "a ***, a ***"


def test_numbers_are_masked_where_they_are_the_secret() -> None:
    masker = Masker(["271828"])
    assert masker.value({"pin": 271828, "other": 5, "in": [12718289]}) == {
        "pin": MASK, "other": 5, "in": ["1***9"],
    }  # fmt: skip


def test_an_error_that_was_cut_keeps_no_beginning() -> None:
    masker = Masker(["correct-horse-battery-staple-and-then-some"])
    assert masker.error("no URL: 'correct-horse-battery'…") == "no URL: '***'…"
    assert masker.error("they were correct") == "they were correct"


def test_a_key_of_many_lines_is_masked_line_by_line_too() -> None:
    body = "\n".join(f"{n}{'QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo' * 2}" for n in range(5))
    pem = f"-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n"
    masker = Masker([pem])
    assert masker.text(pem) == f"{MASK}"
    assert masker.value(pem.splitlines()) == [MASK] * 7
    lines = masker.lines()
    shown = [t for line in pem.splitlines() for t, _ in lines.add(line, None)]
    shown += [t for t, _ in lines.end()]
    assert "".join(shown).strip("*") == ""


def test_a_line_that_may_begin_a_secret_waits_for_the_next_one() -> None:
    masker = Masker(["swordfish-42"])
    lines = masker.lines()
    assert lines.add("nothing here", 1) == [("nothing here", 1)]
    assert lines.add("I say sword", 2) == []
    assert lines.add("fish-42, friend", 3) == [("I say ***", 2), (", friend", 3)]
    assert lines.add("and swor", 4) == []
    assert lines.add("ds", 5) == [("and swor", 4), ("ds", 5)]
    assert lines.end() == []


def test_large_secrets_and_texts_cost_little() -> None:
    secret = base64.b64encode(bytes(range(256)) * 180).decode()
    masker = Masker([secret])
    text = "x" * 500_000 + secret + "y" * 500_000
    assert masker.text(text) == "x" * 500_000 + MASK + "y" * 500_000
    assert masker.text("a" * 1_000_000) == "a" * 1_000_000
