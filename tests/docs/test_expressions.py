"""The tables of the expression reference: every example has the value that stands beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator.errors import ExpressionError
from orchestrator.models.expressions.expression import MAX_TEMPLATE_PARTS, evaluate, fill
from orchestrator.models.expressions.functions import FUNCTIONS
from orchestrator.models.expressions.meter import MAX_STEPS
from orchestrator.models.expressions.syntax import MACROS, MAX_CHAIN, MAX_NESTING, MAX_SOURCE, ROOTS
from orchestrator.models.expressions.values import MAX_TEXT
from tests.docs.pages import DOCS, blocks

PAGE = DOCS / "expression-reference.md"
TEXT = PAGE.read_text()
NOW = datetime(2026, 1, 31, 8, 0, tzinfo=UTC)


def rows() -> Iterator[tuple[int, str, str, str]]:
    """Yield (line, kind of table, source, value) of each row with an example."""
    kind = ""
    for number, line in enumerate(TEXT.splitlines(), 1):
        if not line.startswith("|"):
            kind = ""
            continue
        cells = [c.strip().replace("\\|", "|") for c in re.split(r"(?<!\\)\|", line)[1:-1]]
        if cells[-1] == "value":
            kind = cells[-2]
        elif kind and not cells[0].startswith("---"):
            yield number, kind, code(cells[-2]), code(cells[-1])


def code(cell: str) -> str:
    """Return what stands between backticks; a cell with backticks inside has two of them."""
    ticks = "``" if cell.startswith("``") else "`"
    inner = cell.removeprefix(ticks).removesuffix(ticks)
    return inner[1:-1] if ticks == "``" else inner


ROWS = list(rows())


@pytest.fixture(scope="module")
def scope() -> dict[str, Any]:
    (block,) = [b for b in blocks(PAGE) if "scope" in b.notes]
    return {**json.loads(block.text), "now": NOW}


@pytest.mark.parametrize(("line", "kind", "source", "value"), ROWS, ids=[str(r[0]) for r in ROWS])
def test_an_example_has_its_value(
    scope: dict[str, Any], line: int, kind: str, source: str, value: str
) -> None:
    read = fill if kind == "text" else evaluate
    if value.startswith("error: "):
        with pytest.raises(ExpressionError, match=re.escape(value.removeprefix("error: "))):
            read(source, scope)
        return
    found = read(source, scope)
    assert json.dumps(found) == json.dumps(json.loads(value)), f"{PAGE.name}:{line}"


def test_every_function_and_macro_has_an_example() -> None:
    sources = " ".join(source for _, _, source, _ in ROWS)
    called = set(re.findall(r"\b([A-Za-z_]+)\(", sources))
    assert {*FUNCTIONS, *MACROS, "has"} - called == set()


def test_every_operator_has_an_example() -> None:
    sources = " ".join(source for _, _, source, _ in ROWS)
    for operator in "+ - * / % == != < <= > >= && || ! ? in".split():
        assert operator in sources


def test_the_limits_are_told() -> None:
    for limit in (MAX_SOURCE, MAX_NESTING, MAX_CHAIN, MAX_STEPS, MAX_TEXT, MAX_TEMPLATE_PARTS):
        assert f"{limit:,}" in TEXT


def test_every_name_is_told() -> None:
    for root in ROOTS:
        assert f"`{root}" in TEXT
