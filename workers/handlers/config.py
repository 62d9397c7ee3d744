"""Reading a filled config: expressions may have put anything where the schema wants a number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from orchestrator.errors import HandlerError

T = TypeVar("T")

_WORDS = {
    str: "text",
    bool: "true or false",
    dict: "an object",
    list: "a list",
    float: "a number",
}


def bad_config(field: str, why: str) -> HandlerError:
    """Return the error of a field whose value cannot be used; another attempt would not help."""
    return HandlerError("bad_config", f"config.{field}: {why}", retryable=False)


def read(config: Mapping[str, Any], field: str, kind: type[T], default: T) -> T:
    """Return a field, or `default` when it is missing or null; HandlerError for another type."""
    value = config.get(field)
    if value is None:
        return default
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind):
        raise bad_config(field, f"needs {_WORDS[kind]}, but its expression gave {kind_of(value)}")
    return value


def kind_of(value: Any) -> str:
    """Return the JSON name of a value's type."""
    if isinstance(value, bool):
        return "a boolean"
    names = {str: "text", int: "a number", float: "a number", dict: "an object", list: "a list"}
    return "null" if value is None else names.get(type(value), type(value).__name__)
