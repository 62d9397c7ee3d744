"""The demo's chart, as SVG text: lines of temperature over bars of rain, no plotting library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 720, 400, 56, 48, 44
COLOURS = {"seattle": "#2563eb", "san_francisco": "#ea580c", "rain": "#bfdbfe"}
FONT = 'font-family="sans-serif" font-size="12"'


def climate_svg(months: Sequence[Mapping[str, Any]], rain: Sequence[Mapping[str, Any]]) -> str:
    """Draw months with `seattle` and `san_francisco` in °C, and `rain_mm`, in the same order."""
    step = (WIDTH - 2 * LEFT) / len(months)
    highest_c = max(max(m["seattle"], m["san_francisco"]) for m in months) * 1.2
    most_mm = max(r["rain_mm"] for r in rain) * 1.4
    base = HEIGHT - BOTTOM

    def x(number: int) -> float:
        return LEFT + step * (number + 0.5)

    def y(value: float, top: float) -> float:
        return base - (base - TOP) * value / top

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        "<title>Seattle and San Francisco by month</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for number, item in enumerate(rain):
        height = base - y(item["rain_mm"], most_mm)
        parts.append(
            f'<rect x="{x(number) - step * 0.35:.1f}" y="{base - height:.1f}"'
            f' width="{step * 0.7:.1f}" height="{height:.1f}" fill="{COLOURS["rain"]}">'
            f"<title>{item['rain_mm']} mm</title></rect>"
        )
    for number, month in enumerate(months):
        parts.append(_text(x(number), base + 18, month["month"]))
    for degrees in range(0, int(highest_c) + 1, 5):
        at = y(degrees, highest_c)
        parts.append(f'<path d="M{LEFT} {at:.1f}H{WIDTH - LEFT}" stroke="#e5e7eb"/>')
        parts.append(_text(LEFT - 24, at + 4, f"{degrees} °C"))
    for city in ("seattle", "san_francisco"):
        points = " ".join(f"{x(n):.1f},{y(m[city], highest_c):.1f}" for n, m in enumerate(months))
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{COLOURS[city]}" stroke-width="2.5"/>'
        )
    return "\n".join([*parts, *_legend(), "</svg>", ""])


def _legend() -> list[str]:
    names = (("seattle", "Seattle"), ("san_francisco", "San Francisco"), ("rain", "Rain, Seattle"))
    parts = []
    for number, (key, name) in enumerate(names):
        at = LEFT + number * 150
        parts.append(f'<rect x="{at}" y="16" width="14" height="14" fill="{COLOURS[key]}"/>')
        parts.append(_text(at + 20, 28, name, anchor="start"))
    return parts


def _text(x: float, y: float, text: str, *, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {FONT}>{escape(text)}</text>'
