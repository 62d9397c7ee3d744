"""CEL in definitions: check, find what is read, evaluate, fill `{{ }}` in any JSON value.

Pure and bounded: `now()` is the scope's `now`, no I/O, no unbounded work. `until` is when an
evaluation has to be done, on `time.monotonic()`'s clock; without it 10 s from now.
Results are JSON types: a time becomes RFC 3339 text, a duration `90s`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from orchestrator.errors import ExpressionError
from orchestrator.models.expressions import values as expression_values
from orchestrator.models.expressions.meter import Meter
from orchestrator.models.expressions.program import Frame, Run, compile_tree
from orchestrator.models.expressions.syntax import ROOTS, Reference, Tree, parse

__all__ = [
    "ROOTS",
    "Reference",
    "check",
    "evaluate",
    "expression_references",
    "fill",
    "inspect",
    "references",
]
MAX_TEMPLATE_PARTS = 1000
#: Longer texts are parsed each time, so that no cache holds megabytes.
MAX_KEPT = 8192
_Place = tuple[str | int, ...]


class _Program(NamedTuple):
    source: str
    run: Run


class Finding(NamedTuple):
    """What one text of a value reads, or why it cannot be read."""

    path: _Place
    references: frozenset[Reference]
    error: str | None


@functools.lru_cache(512)
def _tree(expression: str) -> Tree:
    return parse(expression)


@functools.lru_cache(512)
def _program(expression: str) -> _Program:
    return _Program(expression, compile_tree(_tree(expression).top))


def _parts(text: str) -> tuple[str | tuple[str, Tree], ...]:
    """A text as literal pieces and expressions: 'a {{ x }}' is ('a ', (' x ', tree))."""
    found: list[str | tuple[str, Tree]] = []
    at = 0
    while (opens := text.find("{{", at)) >= 0:
        if len(found) > MAX_TEMPLATE_PARTS:
            raise ExpressionError(f"more than {MAX_TEMPLATE_PARTS} expressions in one text")
        tree = parse(text, opens + 2, template=True)
        if opens > at:
            found.append(text[at:opens])
        found.append((text[opens + 2 : tree.end], tree))
        at = tree.end + 2
    if at < len(text):
        found.append(text[at:])
    return tuple(found)


_known_parts = functools.lru_cache(512)(_parts)


def _reads(text: str) -> frozenset[Reference]:
    trees = [part[1] for part in _parts(text) if not isinstance(part, str)]
    return frozenset().union(*(tree.references for tree in trees))


#: Kept apart from the parts, being small: a definition of 10,000 nodes fits.
_known_reads = functools.lru_cache(32_768)(_reads)


@functools.lru_cache(32_768)
def _bare_reads(expression: str) -> frozenset[Reference]:
    return parse(expression).references


def check(expression: str) -> str | None:
    """Why `expression` is no valid CEL, for a person; None when it is."""
    try:
        _bare_reads(expression)
    except ExpressionError as error:
        return error.detail
    return None


def expression_references(expression: str) -> frozenset[Reference]:
    """The names a bare expression reads; macro variables are none. Raises ExpressionError."""
    return _bare_reads(expression)


def _texts(value: Any, path: _Place = ()) -> Iterator[tuple[_Place, str]]:
    waiting: list[tuple[_Place, Any]] = [(path, value)]
    while waiting:
        at, item = waiting.pop()
        if isinstance(item, str):
            if "{{" in item:
                yield at, item
        elif isinstance(item, dict):
            waiting += [((*at, key), inner) for key, inner in item.items()]
        elif isinstance(item, list):
            waiting += [((*at, no), inner) for no, inner in enumerate(item)]


def inspect(value: Any) -> list[Finding]:
    """Each text of `value` that holds `{{ }}`, with what it reads or why it is wrong."""
    found: list[Finding] = []
    for path, text in _texts(value):
        try:
            reads = (_known_reads if len(text) <= MAX_KEPT else _reads)(text)
            found.append(Finding(path, reads, None))
        except ExpressionError as error:
            found.append(Finding(path, frozenset(), error.detail))
    return found


def references(value: Any) -> frozenset[Reference]:
    """The names read by all `{{ }}` in `value`; texts that do not parse count for none."""
    return frozenset().union(*(finding.references for finding in inspect(value)))


def _evaluate(expression: str, scope: Mapping[str, Any], source: str, meter: Meter) -> Any:
    try:
        meter.renew()
        value = _program(expression).run(Frame(scope, meter))
        meter.renew()
        return expression_values.plain(meter, value)
    except ExpressionError as error:
        raise ExpressionError(f"{_short(source)}: {error.detail}", expression=source) from None
    except RecursionError:
        why = "nested too deeply"
    except (ArithmeticError, ValueError, TypeError) as error:
        why = str(error)[:200]
    raise ExpressionError(f"{_short(source)}: {why}", expression=source)


def _short(source: str) -> str:
    text = " ".join(source.split())
    return f"`{text[:97]}...`" if len(text) > 100 else f"`{text}`"


def evaluate(
    expression: str,
    scope: Mapping[str, Any],
    steps: int | None = None,
    until: float | None = None,
) -> Any:
    """The value of a bare expression in JSON types.

    `scope` maps roots (`inputs`, `nodes`, ...) to JSON values, and `now` to the time that
    `now()` gives. `steps` is another allowance than the usual one. Raises ExpressionError, which
    names the expression and the reason.
    """
    return _evaluate(expression, scope, expression, Meter(steps, until))


def fill(
    value: Any,
    scope: Mapping[str, Any],
    steps: int | None = None,
    until: float | None = None,
) -> Any:
    """`value` with each `{{ expression }}` replaced; each has the allowance, all one deadline.

    A text that is one `{{ }}` becomes the expression's value, whatever its type; inside
    other text a value that is no text is written as JSON. `{{ '{{' }}` writes `{{`.
    """
    return _fill(value, scope, Meter(steps, until))


def _fill(value: Any, scope: Mapping[str, Any], meter: Meter) -> Any:
    if isinstance(value, str):
        return _fill_text(value, scope, meter) if "{{" in value else value
    if isinstance(value, dict):
        return {key: _fill(item, scope, meter) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, scope, meter) for item in value]
    return value


def _fill_text(text: str, scope: Mapping[str, Any], meter: Meter) -> Any:
    try:
        parts = (_known_parts if len(text) <= MAX_KEPT else _parts)(text)
    except ExpressionError as error:
        raise ExpressionError(f"{_short(text)}: {error.detail}", expression=text) from None
    expressions = [part for part in parts if not isinstance(part, str)]
    if len(expressions) == 1 and all(not isinstance(p, str) or p.isspace() for p in parts):
        return _evaluate(expressions[0][0], scope, expressions[0][0], meter)
    made: list[str] = []
    size = 0
    for part in parts:
        if isinstance(part, str):
            made.append(part)
        else:
            value = _evaluate(part[0], scope, part[0], meter)
            meter.renew()
            made.append(expression_values.to_text(meter, value))
        size += len(made[-1])
        if size > expression_values.MAX_TEXT:
            most = f"longer than {expression_values.MAX_TEXT} characters"
            raise ExpressionError(f"{_short(text)}: it makes a text {most}", expression=text)
    return "".join(made)
