"""The functions that the demo workflow's `python` nodes call: plain Python over weather records.

`pace_s` makes a node last long enough for a person to see it; it changes no result.
"""

from __future__ import annotations

import csv
import io
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from workers.demo.chart import climate_svg
from workers.functions import Context, function

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
Day = Mapping[str, Any]


def _celsius(fahrenheit: float) -> float:
    return (fahrenheit - 32) * 5 / 9


def _daily_means(hours: str) -> dict[str, float]:
    """Return date -> mean °C of a CSV text with `date` (`2010/01/31 23:00`) and `temp` (°F)."""
    found: dict[str, list[float]] = defaultdict(list)
    for row in csv.DictReader(io.StringIO(hours)):
        found[row["date"][:10].replace("/", "-")].append(float(row["temp"]))
    return {date: round(_celsius(fmean(temps)), 2) for date, temps in found.items()}


@function("demo.join_by_date")
def join_by_date(
    seattle: str, san_francisco: str, context: Context, pace_s: float = 0
) -> list[dict[str, Any]]:
    """Return one row for each date that both cities have: their mean temperatures in °C."""
    here, there = _daily_means(seattle), _daily_means(san_francisco)
    time.sleep(pace_s)
    context.log.info("Seattle has %d days, San Francisco %d", len(here), len(there))
    for date in sorted(here.keys() ^ there.keys()):
        context.log.warning("only one city has %s: left out", date)
    both = sorted(here.keys() & there.keys())
    time.sleep(pace_s)
    print(f"joined {len(both)} days")  # noqa: T201  # that print is captured is part of the show
    return [{"date": d, "seattle": here[d], "san_francisco": there[d]} for d in both]


@function("demo.by_month")
def by_month(days: Sequence[Day], pace_s: float = 0) -> list[dict[str, Any]]:
    """Return the twelve months with both cities' mean temperatures in °C."""
    time.sleep(pace_s)
    months: dict[int, list[Day]] = defaultdict(list)
    for day in days:
        months[int(day["date"][5:7])].append(day)
    return [
        {
            "month": MONTHS[number - 1],
            "seattle": round(fmean(d["seattle"] for d in group), 1),
            "san_francisco": round(fmean(d["san_francisco"] for d in group), 1),
        }
        for number, group in sorted(months.items())
    ]


@function("demo.rain_by_month")
def rain_by_month(days: Sequence[Day], context: Context, pace_s: float = 0) -> list[dict[str, Any]]:
    """Return the twelve months with Seattle's mean rain, mm a month."""
    years = {day["date"][:4] for day in days}
    context.log.info("%d days of %s", len(days), ", ".join(sorted(years)))
    time.sleep(pace_s)
    total_mm: Counter[int] = Counter()
    for day in days:
        total_mm[int(day["date"][5:7])] += day["precipitation"]
    return [
        {"month": MONTHS[number - 1], "rain_mm": round(mm / len(years), 1)}
        for number, mm in sorted(total_mm.items())
    ]


@function("demo.count_kinds")
def count_kinds(days: Sequence[Day]) -> dict[str, int]:
    """Return how many days there were of each kind of weather, most frequent first."""
    return dict(Counter(day["weather"] for day in days).most_common())


@function("demo.records")
def records(days: Sequence[Day], context: Context, pace_s: float = 0) -> dict[str, Any]:
    """Return the most extreme days, each with its date and value."""
    wanted = {
        "hottest_c": ("temp_max", max),
        "coldest_c": ("temp_min", min),
        "wettest_mm": ("precipitation", max),
        "windiest_m_s": ("wind", max),
    }
    found = {}
    for name, (column, best) in wanted.items():
        time.sleep(pace_s / len(wanted))
        day = best(days, key=lambda d: d[column])
        found[name] = {"date": day["date"].replace("/", "-"), "value": day[column]}
        context.log.info("%s: %s on %s", name, day[column], found[name]["date"])
    return found


@function("demo.heat_waves")
def heat_waves(days: Sequence[Day], hot_c: float, context: Context) -> dict[str, Any]:
    """Return the three longest rows of hot days: when they began and how many days they lasted."""
    waves: list[dict[str, Any]] = []
    length = 0
    for day in days:
        length = length + 1 if day["temp_max"] >= hot_c else 0
        if length == 1:
            waves.append({"began": day["date"].replace("/", "-"), "days": 1})
        elif length:
            waves[-1]["days"] = length
    waves.sort(key=lambda wave: -wave["days"])
    context.log.info("%d heat waves, the longest lasted %d days", len(waves), waves[0]["days"])
    return {"kind": "hot", "waves": waves[:3]}


@function("demo.verdict")
def verdict(warmer_days: int, hot_days: int, hot_c: float, found: Mapping[str, Any]) -> str:
    """Return the answer to the question, in two sentences."""
    first = f"San Francisco was the warmer city on {warmer_days} days of 2010"
    if found["kind"] == "hot":
        longest = found["waves"][0]
        return (
            f"{first}. Seattle had {hot_days} days of {hot_c:g} °C and more in 2012-2015; its"
            f" longest heat wave began on {longest['began']} and lasted {longest['days']} days."
        )
    return (
        f"{first}. Seattle is mild: {hot_days} days of {hot_c:g} °C and more in 2012-2015, and a"
        f" mean high of {found['mean_high_c']} °C."
    )


@function("demo.chart")
def chart(
    months: Sequence[Mapping[str, Any]],
    rain: Sequence[Mapping[str, Any]],
    context: Context,
    pace_s: float = 0,
) -> str:
    """Draw both cities' temperatures over Seattle's rain; return the artifact's name."""
    time.sleep(pace_s)
    svg = climate_svg(months, rain)
    context.log.info("the chart has %d bytes", len(svg))
    return context.artifacts.put("climate.svg", svg, "image/svg+xml")


@function("demo.report")
def report(
    verdict: str,
    chart: str,
    records: Mapping[str, Mapping[str, Any]],
    kinds: Mapping[str, int],
    context: Context,
) -> dict[str, Any]:
    """Write the report as Markdown; return what a reader wants to know first."""
    lines = [
        "# Seattle or San Francisco?", "", verdict, "", f"![Both cities by month]({chart})", "",
        "## Seattle's records, 2012-2015", "", *_table(("record", "value", "date"), (
            (name.replace("_", " "), str(r["value"]), r["date"]) for name, r in records.items()
        )),
        "", "## Kinds of days", "", *_table(("kind", "days"), (
            (kind, str(days)) for kind, days in kinds.items()
        )), "",
    ]  # fmt: skip
    name = context.artifacts.put("report.md", "\n".join(lines), "text/markdown")
    context.log.info("%s", verdict)
    return {"verdict": verdict, "records": records, "kinds": kinds, "files": [chart, name]}


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [heads, ["---"] * len(heads), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]
