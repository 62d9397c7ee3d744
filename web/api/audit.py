"""Routes of the audit log: look into it, check its chain, take it away as a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from flask import Response

from orchestrator.models.access.permissions import Permission
from orchestrator.ports.audit import AuditEntry, AuditFilter
from orchestrator.services.auditing import Verdict
from web.api.paging import page
from web.context import core, tenant_id
from web.openapi.document import Routes
from web.responses.headers import attachment
from web.responses.json_provider import dump
from web.schemas.audit import (
    AuditEntrySchema,
    AuditExportQuery,
    AuditListQuery,
    AuditPage,
    VerdictSchema,
    VerifyQuery,
)
from web.schemas.fields import cursor

routes = Routes("audit", __name__, description="Who did what: the audit log.")
NDJSON, CSV = "application/x-ndjson", "text/csv"
#: What a spreadsheet takes for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_COLUMNS = tuple(AuditEntrySchema().fields)


@routes.at("/audit")
@routes.needs(Permission.AUDIT_READ)
@routes.query(AuditListQuery)
@routes.gives(200, AuditPage)
def list_entries(query: Mapping[str, Any]) -> dict[str, Any]:
    """List who did what to what, newest first."""
    limit = query["limit"]
    found = core().auditing.list(_filter(query, before=query["cursor"], limit=limit + 1))
    return page(found, limit, lambda each: cursor(each.no))


def _filter(query: Mapping[str, Any], **more: Any) -> AuditFilter:
    names = ("since", "until", "principal", "action", "resource", "resource_id")
    return AuditFilter(tenant_id=tenant_id(), **{name: query[name] for name in names}, **more)


@routes.at("/audit/verify")
@routes.needs(Permission.AUDIT_READ)
@routes.query(VerifyQuery)
@routes.gives(200, VerdictSchema)
def verify(query: Mapping[str, Any]) -> Verdict:
    """Work the chain out anew: an edited, deleted, inserted, swapped or cut-off entry shows.

    Reads every entry, some 30,000 a second. Keep `head` outside and give it as `anchor` later.
    """
    return core().auditing.verify(tenant_id(), query["anchor"])


@routes.at("/audit/export")
@routes.needs(Permission.AUDIT_READ)
@routes.query(AuditExportQuery)
@routes.gives(200, {"type": "string"}, content_type=NDJSON)
@routes.documents(responses={200: {"content": {CSV: {"schema": {"type": "string"}}}}})
def export(query: Mapping[str, Any]) -> Response:
    """Download entries, oldest first, as they are read: one JSON object a line, or CSV.

    In CSV a cell that a spreadsheet would take for a formula begins with a quote (').
    """
    pages = core().auditing.pages(_filter(query))
    # Read before anything is sent, so that a database that is away is a proper 503.
    first = next(pages, ())
    shape = query["format"]
    write, kind = (_ndjson, NDJSON) if shape == "ndjson" else (_csv, f"{CSV}; charset=utf-8")
    answer = Response(_written(first, pages, write, head=shape == "csv"), content_type=kind)
    answer.headers["Content-Disposition"] = attachment(f"audit.{shape}")
    return answer


def _written(
    first: Sequence[AuditEntry],
    pages: Iterator[Sequence[AuditEntry]],
    write: Callable[[Iterable[Mapping[str, Any]]], str],
    *,
    head: bool,
) -> Iterator[str]:
    """Yield the file a page at a time; no more of it is ever in memory."""
    schema = AuditEntrySchema(many=True)
    if head:
        yield write([{name: name for name in _COLUMNS}])
    for entries in chain([first], pages):
        yield write(schema.dump(entries))


def _ndjson(entries: Iterable[Mapping[str, Any]]) -> str:
    return "".join(f"{dump(entry).decode()}\n" for entry in entries)


def _csv(entries: Iterable[Mapping[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerows([_cell(entry[name]) for name in _COLUMNS] for entry in entries)
    return out.getvalue()


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
