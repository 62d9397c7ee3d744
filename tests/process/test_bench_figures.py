"""The benchmark's arithmetic, checked against figures worked out by hand; and its page's format."""

from __future__ import annotations

import base64
import math
import random
import statistics
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench import page, report
from tests.bench.figures import (
    Row,
    Spread,
    at_least,
    at_most,
    paired,
    percentile,
    ratios,
    single,
    spread,
)
from tests.bench.large import plain, tasks_of
from tests.bench.shapes import chain, diamond, fan, layered
from tests.bench.stage import MEASUREMENTS, chosen
from tests.bench.watchers import _frames

ORDER = ["W1", "W9"]


def test_a_spread_keeps_the_outliers() -> None:
    assert spread([3.0, 1.0, 100.0]) == Spread(3.0, 1.0, 100.0, 3)
    assert spread([1.0, 2.0, 3.0, 10.0]).median == 2.5
    with pytest.raises(ValueError, match="nothing"):
        spread([])


def test_percentiles_are_measured_values() -> None:
    hundred = list(range(100, 0, -1))
    assert [percentile(hundred, p) for p in (1, 50, 95, 99, 100)] == [1, 50, 95, 99, 100]
    assert percentile([7.0], 99) == 7.0
    assert percentile([1.0, 2.0, 3.0], 50) == 2.0
    for wrong in (0, 101):
        with pytest.raises(ValueError):
            percentile(hundred, wrong)


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.1, 100))
def test_so_many_do_not_exceed_a_percentile(values: list[float], percent: float) -> None:
    found = percentile(values, percent)
    assert found in values
    assert sum(v <= found for v in values) * 100 >= percent * len(values) * (1 - 1e-12)
    below = [v for v in values if v < found]
    assert len(below) * 100 < percent * len(values)


def test_ratios_are_taken_pair_by_pair() -> None:
    ours, theirs = [1.0, 20.0, 3.0], [2.0, 10.0, 4.0]
    assert ratios(ours, theirs) == Spread(0.75, 0.5, 2.0, 3)
    # The ratio of the medians is another one: it compares what was measured at other times.
    assert statistics.median(ours) / statistics.median(theirs) == 0.75
    assert ratios([1.0, 20.0, 3.0], [2.0, 100.0, 1.0]).median == 0.5
    with pytest.raises(ValueError, match="no pairs"):
        ratios([1.0], [1.0, 2.0])


def test_a_target_says_by_how_much_it_is_missed() -> None:
    assert at_most(0.55).reached(0.55)
    assert not at_most(0.55).reached(0.56)
    assert at_least(10).reached(10)
    assert at_least(10).short_by(9) == pytest.approx(0.1)
    assert at_most(50).short_by(75) == pytest.approx(0.5)
    assert at_most(50).short_by(50) == 0
    assert at_most(0).short_by(1) == math.inf
    assert str(at_least(10, "×")) == "≥ 10×"
    assert str(at_most(3, "ms")) == "≤ 3 ms"


def test_a_row_is_judged_by_its_ratio_else_by_its_median_else_as_it_says() -> None:
    assert paired("W", "w", "s", [1.0], [2.0]).figure == 0.5
    assert single("W", "w", "ms", [3.0, 4.0, 9.0]).figure == 4.0
    assert Row(workload="W", what="w", unit="", ours=spread([1]), judged=9.0).figure == 9.0


def test_shapes_are_what_they_are_called() -> None:
    assert [len(s["nodes"]) for s in (chain(100), fan(500), diamond())] == [100, 502, 5]
    assert [len(s["edges"]) for s in (chain(100), fan(500), diamond())] == [99, 1000, 6]
    large = layered(100, 100)
    assert len(large["nodes"]) == 10_000
    assert len({(e["source"], e["target"]) for e in large["edges"]}) == 99 * 100 * 2


def test_messages_are_measured_as_they_were_sent() -> None:
    args = [["run", [[1, 1], [2, 1], [3, 2]]], {}, None]
    message = orjson.dumps(
        {"body": base64.b64encode(orjson.dumps(args)).decode(), "quote": '"\\\n'}
    )
    shown = "".join(
        f"\\{chr(b)}" if chr(b) in '"\\' else chr(b) if 32 <= b < 127 else f"\\x{b:02x}"
        for b in message
    )
    assert plain(shown.encode()) == message
    assert tasks_of(message) == 3
    assert plain(rb"a\nb\x00\xff") == b"a\nb\x00\xff"


def test_frames_are_read_however_they_are_cut() -> None:
    sizes = (0, 1, 125, 126, 70_000)
    payloads = [bytes([n % 250]) * size for n, size in enumerate(sizes)]
    stream = b""
    for payload in payloads:
        size = len(payload)
        head = (
            bytes([size]) if size < 126
            else b"\x7e" + size.to_bytes(2) if size < 1 << 16
            else b"\x7f" + size.to_bytes(8)
        )  # fmt: skip
        stream += b"\x81" + head + payload
    cuts = sorted(random.sample(range(len(stream)), 40))
    parts = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    read = list(_frames([(float(n), part) for n, part in enumerate(parts)]))
    assert [payload for _, _, payload in read] == payloads
    assert read[-1][0] == len(parts) - 1


def results(*, ours: float, names: tuple[str, ...] = ("W1", "W9")) -> page.Results:
    all_ = {
        "W1": [paired("W1", "a | b {c}", "ms", [ours, 2.0], [4.0, 4.0], at_most(0.55, "×"))],
        "W9": [
            single("W9", "slowest", "ms", [9.0], at_most(50), note="a --> b"),
            Row(workload="W9", what="GET /x/{id}", unit="ms", ours=spread([1.0, 9.0]), judged=9.0),
        ],
    }  # fmt: skip
    rows = [row for name in names for row in all_[name]]
    at = {name: [rows.index(row) for row in all_[name]] for name in names}
    return page.Results({"Cores": "2"}, tuple(rows), dict.fromkeys(names, f"when {ours}"), at)


def test_a_page_carries_the_figures_it_was_written_from(tmp_path: Path) -> None:
    path = tmp_path / "performance.md"
    page.write(path, results(ours=1.0), ORDER)
    text = path.read_text()
    assert page.figures_of(text) == results(ours=1.0)
    assert text.splitlines()[-1].count("-->") == 1
    path.write_text(text.replace(f"{page.BEGIN}\n", f"{page.BEGIN}\nTried: a thing.\n"))
    page.write(path, results(ours=3.0, names=("W1",)), ORDER)
    again = path.read_text()
    assert "Tried: a thing." in again
    found = page.figures_of(again)
    assert found is not None
    assert [row.what for row in found.rows] == ["a | b {c}", "slowest", "GET /x/{id}"]
    assert found.rows[0].ours == spread([3.0, 2.0])
    assert found.measured == {"W1": "when 3.0", "W9": "when 1.0"}


def test_a_table_says_what_is_reached(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.verdict(results(ours=1.0).rows[0]) == "reached"
    assert report.verdict(results(ours=40.0).rows[0]) == "missed by 855%"
    assert [report.number(n) for n in (0.123, 1.234, 12.34, 1234.5)] == [
        "0.12",
        "1.23",
        "12.3",
        "1,234",
    ]
    report.show(results(ours=1.0).rows)
    assert "reached" in capsys.readouterr().out


def test_measurements_have_names_of_their_own() -> None:
    names = [m.name for m in MEASUREMENTS]
    assert len(set(names)) == len(names)
    assert {f"W{n}" for n in (1, 2, 3, 4, 5, 6, 8, 9, 10, 11)} <= set(names)
    assert [m.name for m in chosen({"W3", "W1"}, quick=False)] == ["W1", "W3"]
    with pytest.raises(KeyError, match="W7"):
        chosen({"W7"}, quick=False)
