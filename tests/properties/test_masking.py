"""Masking by value: whatever a secret is written like, it does not survive; the rest stays."""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any
from urllib.parse import quote, quote_plus, unquote

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
    "half quoted": lambda s: "".join(
        c if no % 2 and c.isascii() and c not in "%+" else "".join(f"%{b:02X}" for b in c.encode())
        for no, c in enumerate(s)
    ),
    "twice quoted": lambda s: quote(quote(s, safe=""), safe=""),
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
    return [form for form in known(secret) if form in text.replace(MASK, "\0")]


def known(secret: str) -> set[str]:
    return {*forms(secret), *(write(secret) for write in WRITTEN.values())}


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
    starts = [m.start() for f in known(secret) for m in re.finditer(f"(?={re.escape(f)})", flat)]
    cuts = data.draw(st.lists(st.integers(0, len(flat)), max_size=5))
    kept = {cut for cut in cuts if not any(cut - at > 0 and few(flat[at:cut]) for at in starts)}
    edges = sorted({0, len(flat), *kept})
    masker = Masker([secret]).lines()
    shown: list[str] = []
    for start, end in pairwise(edges):
        shown += [line for line, _ in masker.add(flat[start:end], None)]
    shown += [line for line, _ in masker.end()]
    assert survivors(secret, "".join(shown)) == []


def few(piece: str) -> bool:
    """Whether a piece has fewer than four characters, however they are written."""
    for _ in range(2):
        piece = unquote(re.sub("%[0-9A-Fa-f]?$", "", piece), errors="ignore")
    return len(piece) < 4


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


PEM = "-----BEGIN PRIVATE KEY-----\n{}\nQUJDRA==\n-----END PRIVATE KEY-----\n".format(
    "\n".join(f"{n}{'QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo' * 2}" for n in range(3))
)


def test_short_lines_of_a_key_are_masked_too() -> None:
    masker = Masker([PEM])
    for line in PEM.splitlines():
        assert masker.text(f"<{line}>") == "<***>"
        assert masker.error(f"<{line}>") == "<***>"


def test_texts_inside_a_secret_that_is_json_are_secrets() -> None:
    account = {"user": "robot-17", "keys": [{"pem": PEM, "pin": "1234", "n": 5}], "on": True}
    masker = Masker([json.dumps(account, indent=2)])
    told = {"u": "robot-17", "last": "QUJDRA==", "url": f"?k={quote(PEM)}", "pin": "1234", "on": 5}
    assert masker.value(told) == {
        "u": MASK, "last": MASK, "url": "?k=***", "pin": "1234", "on": 5,
    }  # fmt: skip
    assert masker.data(b"\xff" + PEM.encode() + b"\xff") == b"\xff***\xff"
    lines = masker.lines()
    shown = [text for text, _ in [*lines.add("it is robot", 1), *lines.add("-17!", 2)]]
    assert [*shown, *(text for text, _ in lines.end())] == ["it is ***", "!"]


@pytest.mark.parametrize(
    "sent",
    [
        "Zm9v+YmFy/cXV4==",
        "Zm9v+YmFy%2FcXV4%3D%3D",
        "Zm9v%2bYmFy/cXV4=%3d",
        "Zm9v%252BYmFy%252FcXV4%253D%253D",
        "%5am9v+YmFy/cXV4==",
    ],
)
def test_a_secret_in_a_url_is_found_however_it_is_encoded(sent: str) -> None:
    masker = Masker(["Zm9v+YmFy/cXV4=="])
    assert masker.text(f"?k={sent}&page=1%20") == "?k=***&page=1%20"
    assert masker.value({"q": f"k={sent}"}) == {"q": "k=***"}
    assert re.fullmatch(r"k=\*\*\*(%|%25)?", masker.error(f"k={sent[:-2]}"))
    for cut in range(12, len(sent)):
        lines = masker.lines()
        shown = [*lines.add(f"k={sent[:cut]}", 0), *lines.add(sent[cut:] + "&", 1), *lines.end()]
        assert "".join(text for text, _ in shown) == "k=***&"


def test_a_word_of_the_definition_stays_as_a_key() -> None:
    masker = Masker(["prod"])
    value = {"production": {"production": "production", "product": 1}}
    assert masker.value(value, {"production"}) == {
        "production": {"production": "***uction", "***uct": 1}
    }


def test_the_work_grows_with_the_secret_and_not_with_its_square() -> None:
    def work(lines: int) -> int:
        secret = "\n".join(
            base64.b64encode(f"line {no} of {no * no}".encode()).decode() for no in range(lines)
        )
        calls = 0

        def count(*_: object) -> None:
            nonlocal calls
            calls += 1

        sys.setprofile(count)
        try:
            masker = Masker([secret])
            assert masker.text(f"<{secret}>") == "<***>"
            assert masker.value([secret[:30]]) != [secret[:30]]
            assert masker.lines().add("no line of it", 0) == [("no line of it", 0)]
        finally:
            sys.setprofile(None)
        return calls

    assert work(1200) < 6 * work(300)


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
