"""W9: how long every list and get route takes, one request after the other on one connection.

The routes come from the API's own OpenAPI document, so a new one is measured without a line here.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import orjson

from orchestrator.models.ids import DEFAULT_TENANT
from tests.bench.client import Client
from tests.bench.figures import Row, at_most, percentile, spread
from tests.bench.history import COMMON_TAG
from tests.bench.installation import Installation
from tests.bench.shapes import chain

_PARAMETER = re.compile(r"{(\w+)}")
#: A tag of one run.
_RARE_TAG = "rare"
#: Filters worth a line of their own, by path; `{...}` is filled in as in paths.
FILTERS: Mapping[str, tuple[str, ...]] = {
    "/api/v1/runs": (
        "limit=200", "state=failed", "state=timed_out", "workflow_id={workflow_id}",
        "trigger=api", "since={since}&until={until}", "tags=none", f"tags={_RARE_TAG}",
        f"tags={COMMON_TAG}", f"tags={COMMON_TAG}&until={{early}}",
        f"tags={COMMON_TAG}&state=failed", f"tags={COMMON_TAG}&workflow_id={{workflow_id}}",
        f"tags={COMMON_TAG}&tags={_RARE_TAG}",
    ),
    "/api/v1/logs/history": (
        "q=nothing-says-this", "q=about", "q=about&until={early}", "level=error",
        "workflow_id={workflow_id}", "run_id={run_id}",
    ),
    "/api/v1/workflows/{workflow_id}/diff": ("from=1&to=1",),
}  # fmt: skip
#: No lists: these read the whole audit log, and take as long as it is. Shown, not judged.
_WHOLE = {"/api/v1/audit/export", "/api/v1/audit/verify"}
#: A diff needs to be told of what.
_ONLY_FILTERED = {"/api/v1/workflows/{workflow_id}/diff"}


def latencies(engine: Installation, run_id: str, calls: int, note: str) -> list[Row]:
    """Measure each route `calls` times; the row of all is judged by the slowest route."""
    rows, missing = [], []
    # A copied run has no files: those of a run that really ran are asked for.
    with_artifact = engine.begin(engine.save(chain(1, "bench.keep")), tags=(_RARE_TAG,))
    engine.ended([with_artifact])
    with Client(engine.url, engine.key) as client:
        _populate(client)
        known = _known(engine, run_id)
        for template in sorted(paths(client)):
            here = {**known, "run_id": with_artifact} if "/artifacts" in template else known
            address = _filled(template, here, client)
            queries = FILTERS.get(template, ())
            plain = () if template in _ONLY_FILTERED else ("",)
            for query in (*plain, *queries):
                where = f"{address}?{query.format(**known)}" if query else address
                row = _one(client, template, where, query, calls)
                rows.append(row) if isinstance(row, Row) else missing.append(row)
    slowest = max((row for row in rows if row.target), key=lambda row: row.figure)
    told = f"{slowest.what}; {note}"
    if missing:
        told += f"; not measured: {', '.join(missing)}"
    return [replace(slowest, what="the slowest list or get route", note=told), *rows]


def _populate(client: Client) -> None:
    """Make one of each thing that has a route to read it."""
    client.call("PUT", "/variables/bench", {"value": 1})
    client.call("PUT", "/secrets/bench", {"value": "not a secret"})
    user = {"email": "bench@example.org", "password": "a long phrase that nobody guesses"}
    client.call("POST", "/users", {**user, "roles": ["viewer"]})


def paths(client: Client) -> Iterator[str]:
    """Yield the paths below /api/v1 that answer GET, sockets left out."""
    _, data = client.send("GET", "/api/v1/openapi.json")
    for path, methods in orjson.loads(data)["paths"].items():
        answers = methods.get("get", {}).get("responses", {})
        # Where a browser comes back to after signing in elsewhere is no list and no get.
        if path.startswith("/api/v1/") and "/oauth/" not in path and "200" in answers:
            yield path


def _known(engine: Installation, run_id: str) -> dict[str, str]:
    ((workflow_id, early, since, until),) = engine.ask(
        "SELECT workflow_id::text, created_at - interval '20 days', created_at,"
        " created_at + interval '1 day' FROM runs WHERE id = %s",
        run_id,
    )
    ((node_id,),) = engine.ask(
        "SELECT node_id FROM tasks WHERE run_id = %s ORDER BY task_no LIMIT 1", run_id
    )
    stamps = [f"{at:%Y-%m-%dT%H:%M:%S}Z" for at in (early, since, until)]
    return {
        "run_id": run_id, "workflow_id": workflow_id, "node_id": node_id, "number": "1",
        "early": stamps[0], "since": stamps[1], "until": stamps[2],
        "tenant_id": str(DEFAULT_TENANT),
    }  # fmt: skip


def _filled(template: str, known: Mapping[str, str], client: Client) -> str:
    """Return a path with its parameters; what is not known is taken from the list above it."""
    path = template
    for name in _PARAMETER.findall(template):
        value = known.get(name) or _first(path.partition(f"/{{{name}}}")[0], client)
        path = path.replace(f"{{{name}}}", value or "none")
    return path


def _first(list_path: str, client: Client) -> str | None:
    status, data = client.send("GET", list_path)
    if status != 200:
        return None
    found = orjson.loads(data)
    items: list[dict[str, Any]] = found.get("items", []) if isinstance(found, dict) else []
    return next((str(i[k]) for i in items for k in ("id", "name") if k in i), None)


def _one(client: Client, template: str, where: str, query: str, calls: int) -> Row | str:
    shown = template.removeprefix("/api/v1")
    if query:
        shown += f"?{_PARAMETER.sub('…', query)}"
    taken = []
    for turn in range(calls + 1):
        began = time.perf_counter()
        status, _ = client.send("GET", where)
        if status != 200:
            return f"{shown} ({status})"
        if turn:
            taken.append((time.perf_counter() - began) * 1000)
    return Row(
        workload="W9", what=f"GET {shown}", unit="ms", ours=spread(taken),
        target=None if template in _WHOLE else at_most(50, "ms"),
        judged=percentile(taken, 95), judged_as="p95",
    )  # fmt: skip
