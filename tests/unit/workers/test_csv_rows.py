"""CSV as rows: a cell becomes a number only where nothing of it is lost."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import HandlerError
from workers.handlers.http import csv_rows
from workers.handlers.http.body import bad_response


def rows(text: str, delimiter: str = ",", **how: Any) -> list[dict[str, Any]]:
    return csv_rows.rows(text, csv_rows.options(how), delimiter, bad_response)


def column(*cells: str, **how: Any) -> list[Any]:
    return [row["a"] for row in rows("a\n" + "".join(f'"{cell}"\n' for cell in cells), **how)]


def test_columns_of_numbers_become_numbers_and_never_mix_types() -> None:
    text = (
        "whole,real,zip,mixed,gap,none,long,odd\r\n"
        '1,1,02134,1,5,,9,1_0\r\n-20,2.5,90210,N/A,,,123456789012345678901,"a\nb"\r\n\r\n'
    )
    assert rows(text) == [
        {
            "whole": 1, "real": 1.0, "zip": "02134", "mixed": "1",
            "gap": 5, "none": "", "long": "9", "odd": "1_0",
        },
        {
            "whole": -20, "real": 2.5, "zip": "90210", "mixed": "N/A",
            "gap": None, "none": "", "long": "123456789012345678901", "odd": "a\nb",
        },
    ]  # fmt: skip
    assert isinstance(rows(text)[0]["real"], float)


@pytest.mark.parametrize(
    "cells",
    [
        ("1234567890123456789", "1234567890123456790"),
        ("-9223372036854775808", "9223372036854775807"),
    ],
)
def test_long_ids_stay_what_they_are(cells: tuple[str, ...]) -> None:
    assert column(*cells) == [int(cell) for cell in cells]


@pytest.mark.parametrize(
    "cells",
    [
        ("1.10", "1.20"),
        ("1e5", "2e7"),
        ("2E3", "7"),
        ("9223372036854775808", "1"),
        ("12345678901234567", "0.5"),
        ("12345678901234567.89", "0.5"),
        ("-0", "1"),
        ("-0.00", "1.5"),
        *((odd,) for odd in "nan inf 1e999 +1 1. .5 1,5 0x1 --1 ٣".split()),
        (" 1",),
    ],
)
def test_what_would_not_read_the_same_stays_text(cells: tuple[str, ...]) -> None:
    assert column(*cells) == list(cells)


@given(st.lists(st.text("0123456789.-+eE ", min_size=1, max_size=24), min_size=1, max_size=4))
def test_a_guessed_number_is_the_number_that_was_written(cells: list[str]) -> None:
    for cell, value in zip(cells, column(*cells), strict=True):
        if isinstance(value, float):
            assert str(value) == cell or (value == int(cell) and abs(value) <= 2**53)
        else:
            assert str(value) == cell


def test_types_as_told() -> None:
    assert column("1", "2.5", "", types="none") == ["1", "2.5", ""]
    assert column("1.10", "1e3", "", types={"a": "number"}) == [1.1, 1000.0, None]
    assert column("7", "", types={"a": "integer"}) == [7, None]
    assert column("True", "false", types={"a": "boolean"}) == [True, False]
    assert column("7", types={"a": "string"}) == ["7"]
    assert rows("a,b\n1,2\n", types={"a": "string"}) == [{"a": "1", "b": 2}]


@pytest.mark.parametrize(
    ("type_", "cell"),
    [
        ("integer", "1.0"),
        ("integer", "9223372036854775808"),
        ("number", "1,5"),
        ("number", "1e999"),
        ("boolean", "1"),
    ],
)
def test_a_cell_that_is_not_of_its_type_is_told_with_its_place(type_: str, cell: str) -> None:
    with pytest.raises(HandlerError, match=f"row 2, column 'a': '{cell}' is not an? {type_}"):
        column("", cell, types={"a": type_})
    with pytest.raises(HandlerError, match="no column 'b'"):
        column("1", types={"b": type_})


def test_names_come_from_the_first_line_from_the_config_or_from_nowhere() -> None:
    assert rows("\r\n\na;b\n1;2\n", delimiter=";") == [{"a": 1, "b": 2}]
    assert rows("1,2\n3\n", header=False) == [{"c1": 1, "c2": 2}, {"c1": 3, "c2": None}]
    assert rows("1,2\n", header=["x", "y"]) == [{"x": 1, "y": 2}]
    assert rows("1\t2\n", "\t", header=["x", "y"]) == [{"x": 1, "y": 2}]
    assert rows("") == rows("a,b") == []


def test_short_lines_are_filled_and_long_ones_refused() -> None:
    assert rows("a,b\n1\n") == [{"a": 1, "b": None}]
    with pytest.raises(HandlerError, match="line 3 of the CSV has 3 cells for 2 columns"):
        rows("a,b\n1,2\n1,2,3\n")
    for text, how in (("a,a\n", {}), ("1,2\n", {"header": ["a", "a"]})):
        with pytest.raises(HandlerError, match="two columns called 'a'"):
            rows(text, **how)


def test_a_quote_that_is_never_closed_swallows_no_rows() -> None:
    for text in ('a,b\n1,"2\n3,4\n', 'a,b\n1,"2', 'a,"b\n'):
        with pytest.raises(HandlerError, match="a quote that it never closes"):
            rows(text)


@given(
    st.lists(
        st.lists(st.text(st.characters(codec="utf-8"), max_size=8), min_size=2, max_size=2),
        max_size=5,
    )
)
def test_what_was_written_is_read(lines: list[list[str]]) -> None:
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows([["a", "b"], *lines])
    read = rows(out.getvalue(), types="none")
    assert [[row["a"], row["b"]] for row in read] == lines


def test_a_cell_may_be_as_long_as_the_answer() -> None:
    assert column("x" * 200_000) == ["x" * 200_000]
