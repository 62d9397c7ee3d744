"""Every row of the list of attacks is tested somewhere, or says why not yet."""

from __future__ import annotations

import pytest

from tests.attack.rows import ALL, NOT_YET, TESTED, found
from tests.integration.serving import ROOT


def test_each_row_is_either_tested_or_explained() -> None:
    assert set(TESTED) | set(NOT_YET) == set(ALL)
    assert not set(TESTED) & set(NOT_YET)
    assert all(len(reason) > 10 for reason in NOT_YET.values())


@pytest.mark.parametrize("row", TESTED)
def test_a_row_leads_to_its_tests(row: str) -> None:
    assert TESTED[row]
    for file, words in TESTED[row].items():
        assert (ROOT / file).is_file(), file
        missing = [word for word in words if not found(file, word)]
        assert words
        assert not missing, f"no test of {file} is called {missing}"


#: What needs none, or one of its own: sources, a start that is refused, the database, bytes.
_APART = {"R3", "R4", "M1", "M2", "M3", "M4", "B20", "B21"}


@pytest.mark.parametrize("row", sorted(TESTED.keys() - _APART))
def test_a_row_is_tried_on_the_living_installation(row: str) -> None:
    """With the checks after each case: its tests ask for the stack."""
    files = [file for file in TESTED[row] if file.startswith("tests/attack/")]
    assert any("stack: Stack" in (ROOT / file).read_text(encoding="utf-8") for file in files)
