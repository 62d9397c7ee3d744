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
    file, word = TESTED[row]
    assert (ROOT / file).is_file(), file
    assert found(row), f"no test of {file} is called {word}..."
