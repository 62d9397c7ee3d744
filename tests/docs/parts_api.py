"""The API as tables: its paths, its error codes, its close codes, and the metrics it exports."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from tests.api.conftest import KEY, build_core
from web.app import create_app
from web.responses.errors import CODES, STATUS

#: Codes that are said in one place only, with their status.
_OTHERS = {"internal": 500, "stopping": 503, "wrong_schema": 503}
_METRIC = re.compile(r"# HELP (zq_\S+) (.*)\n# TYPE \S+ (\S+)")


@cache
def _get(path: str) -> Any:
    client = create_app(build_core()).test_client()
    return client.get(path, headers={"Authorization": f"Bearer {KEY}"})


def document() -> dict[str, Any]:
    """Return the OpenAPI document."""
    found: dict[str, Any] = _get("/api/v1/openapi.json").get_json()
    return found


def paths() -> str:
    """Return every path and method with its summary, by area."""
    areas: dict[str, list[str]] = {}
    for path, item in document()["paths"].items():
        for method, operation in item.items():
            if method == "parameters":
                continue
            summary = operation.get("summary") or operation.get("description", "")
            row = f"| `{method.upper()} {path}` | {_line(summary)} |"
            areas.setdefault(operation.get("tags", ["others"])[0], []).append(row)
    return "\n".join(
        line
        for area, rows in areas.items()
        for line in (f"**{area}**\n", "| path | does |", "|---|---|", *rows, "")
    )


def codes() -> str:
    """Return every error code with its HTTP status."""
    known = {**{code: status for status, code in CODES.items()}, **STATUS, **_OTHERS}
    rows = [f"| {status} | `{code}` |" for code, status in known.items()]
    ordered = sorted(rows, key=lambda row: (row.split()[1], row))
    return "\n".join(["| status | code |", "|---|---|", *ordered])


def close_codes() -> str:
    """Return the socket's close codes, as the API document tells them."""
    told = document()["paths"]["/api/v1/runs/{run_id}/stream"]["get"]["description"]
    found = re.findall(r"(\d{4}) ([^,.]+)", told)
    return "\n".join(["| code | means |", "|---|---|", *(f"| {n} | {text} |" for n, text in found)])


def metrics() -> str:
    """Return the metrics of the API with their kind and meaning."""
    found = _METRIC.findall(_get("/metrics").get_data(as_text=True))
    rows = {name: f"| `{name}` | {kind} | {_line(text)} |" for name, text, kind in found}
    kept = [row for name, row in sorted(rows.items()) if not name.endswith("_created")]
    return "\n".join(["| metric | kind | meaning |", "|---|---|---|", *kept])


def _line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
