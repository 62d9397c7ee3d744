"""What may be kept as a value: plain JSON that Postgres, CEL and every client can hold."""

from __future__ import annotations

import math
from typing import Any

MAX_DEPTH = 64
#: More values than fit into the largest output; stops shared references that unfold for ever.
MAX_VALUES = 5_000_000
_INT64 = 2**63

_HINTS = {
    "datetime": "return its .isoformat()",
    "date": "return its .isoformat()",
    "Timestamp": "return its .isoformat()",
    "Decimal": "return float(...) or str(...)",
    "UUID": "return str(...)",
    "set": "return sorted(...)",
    "frozenset": "return sorted(...)",
    "bytes": "store it with context.artifacts.put and return the name",
    "bytearray": "store it with context.artifacts.put and return the name",
    "ndarray": "return its .tolist()",
    "Series": "return its .tolist()",
    "DataFrame": 'return its .to_dict("records")',
    "generator": "return a list",
    "coroutine": "a handler is no `async def`; call asyncio.run inside",
}


class BadValue(ValueError):
    """A value is no plain JSON; the text starts with its path, as `$.rows[3].price`."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.path = ""
        self.why = why

    def inside(self, step: str) -> BadValue:
        """Put the step from the enclosing value before the path."""
        self.path = step + self.path
        return self

    def __str__(self) -> str:
        return f"${self.path[:500]}: {self.why}"


class _Budget:
    """What one copy has spent, and the keys it has found to be clean: rows share theirs."""

    __slots__ = ("keys", "left")

    def __init__(self) -> None:
        self.left = MAX_VALUES
        self.keys: set[str] = set()

    def spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise BadValue(f"more than {MAX_VALUES:,} values")

    def key(self, key: Any) -> str:
        if not isinstance(key, str):
            raise BadValue(f"the key {str(key)[:40]!r} is {type(key).__name__}; keys are text")
        if not _clean(key):
            _bad_text()
        plain_key = str.__str__(key)
        self.keys.add(plain_key)
        return plain_key


def plain(value: Any) -> Any:
    """Return a fresh copy of `value` made of dict, list, str, int, float, bool and None only.

    Tuples become lists and subclasses their JSON base. BadValue for NaN and infinity, NUL and
    lone surrogates in text, integers beyond 64 bits, keys that are no text, other types, and
    nesting beyond 64.
    """
    return _copy(value, 0, _Budget())


def _copy(value: Any, depth: int, budget: _Budget) -> Any:
    kind = type(value)
    if kind is str:
        return value if _clean(value) else _bad_text()
    if value is None or kind is bool:
        return value
    if isinstance(value, int):
        if -_INT64 <= value < _INT64:
            return int(value)
        raise BadValue("an integer beyond 64 bits; return it as text")
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        raise BadValue(f"{value} is no JSON number; return None or text")
    if isinstance(value, dict):
        budget.spend(len(value))
        return _copy_dict(value, depth + 1, budget)
    if isinstance(value, list | tuple):
        budget.spend(len(value))
        return _copy_list(value, depth + 1, budget)
    if isinstance(value, str):
        return str.__str__(value) if _clean(value) else _bad_text()
    hint = _HINTS.get(kind.__name__, "return dicts, lists, text, numbers, True, False or None")
    raise BadValue(f"{kind.__name__} is not plain JSON; {hint}")


def _copy_dict(value: dict[Any, Any], depth: int, budget: _Budget) -> dict[str, Any]:
    if depth > MAX_DEPTH:
        raise BadValue(f"nested more than {MAX_DEPTH} deep")
    copied: dict[str, Any] = {}
    keys = budget.keys
    for key, item in value.items():
        if type(key) is not str or key not in keys:
            key = budget.key(key)
        try:
            copied[key] = item if _simple(item) else _copy(item, depth, budget)
        except BadValue as bad:
            raise bad.inside(f".{key}" if key.isidentifier() else f"[{key[:60]!r}]") from None
    return copied


def _copy_list(value: list[Any] | tuple[Any, ...], depth: int, budget: _Budget) -> list[Any]:
    if depth > MAX_DEPTH:
        raise BadValue(f"nested more than {MAX_DEPTH} deep")
    copied: list[Any] = []
    add = copied.append
    try:
        for item in value:
            add(item if _simple(item) else _copy(item, depth, budget))
    except BadValue as bad:
        raise bad.inside(f"[{len(copied)}]") from None
    return copied


def _simple(item: Any) -> bool:
    """Whether a value is what nearly all are: a scalar that needs no second look."""
    kind = type(item)
    simple: bool
    if kind is str:
        simple = item.isascii() and "\0" not in item
    elif kind is int:
        simple = -_INT64 <= item < _INT64
    else:
        simple = kind is bool or item is None or (kind is float and math.isfinite(item))
    return simple


def _clean(text: str) -> bool:
    if "\0" in text:
        return False
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _bad_text() -> None:
    raise BadValue("text with a NUL or a lone surrogate; clean it, or store it as an artifact")
