"""docs/performance.md is what the benchmark of today writes from the figures that it carries.

No figure is asserted: no timing decides whether a test passes.
"""

from __future__ import annotations

from tests.bench.page import PAGE, figures_of, notes_of, rendered


def test_the_page_is_in_the_current_format() -> None:
    text = PAGE.read_text()
    results = figures_of(text)
    assert results is not None, "run `make bench ARGS='--write docs/performance.md'`"
    told = "run `python -m tests.bench --render`"
    assert rendered(results, notes_of(text)) == text, told


def test_every_figure_came_of_a_measurement() -> None:
    results = figures_of(PAGE.read_text())
    assert results is not None
    assert sorted(at for rows in results.source.values() for at in rows) == list(
        range(len(results.rows))
    )
    assert results.source.keys() == results.measured.keys()
