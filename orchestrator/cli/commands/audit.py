"""`zq audit`: look at who did what, check that the record of it is whole, take it away."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from orchestrator.cli.terminal.options import time_options
from orchestrator.cli.terminal.output import clean, say
from orchestrator.cli.terminal.times import moment
from orchestrator.cli.terminal.verbs import Call, verb

if TYPE_CHECKING:
    from uuid import UUID

    from orchestrator.services.auditing import Verdict

F = TypeVar("F", bound=Callable[..., Any])


def _filters(command: F) -> F:
    """Add the options that say which entries; the command takes them as `**filters`."""
    options = (
        *time_options("entries made"),
        click.option("--principal", help="Only what it did: a name, or an id."),
        click.option("--action", help="Only this one, such as `runs.cancel_run`."),
        click.option("--resource", help="Only this kind of thing, such as `workflow`."),
        click.option("--resource-id", help="Only this thing."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.group("audit")
def audit_command() -> None:
    """Look at who did what, and check that nobody has touched the record of it."""


@verb("list", of=audit_command)
@_filters
@click.option(
    "--limit", type=click.IntRange(1), default=50, show_default=True, help="How many at most."
)
def list_entries(call: Call, limit: int, **filters: str | None) -> None:
    """Print entries, newest first."""
    found = call.client.audit.list(limit=limit, **filters)
    call.show(found, _COLUMNS, empty="no entries")


@verb("verify", of=audit_command)
@click.option(
    "--anchor", metavar="NO:DIGEST", help="A head that was kept outside: the chain must hold it."
)
@click.option(
    "--database",
    is_flag=True,
    help="Every tenant's, beside the database: no server is asked, nor believed.",
)
def verify(call: Call, anchor: str | None, database: bool) -> int:
    """Check that no entry was edited, deleted, inserted or cut off; exit 1 names the first bad one.

    Prints the chain's head: keep it where nobody with the database can reach it, and give it with
    --anchor another day. Without one, a chain that was written anew from its start looks whole.
    """
    if database:
        if anchor or call.server:
            raise click.UsageError("--database goes with neither --anchor nor --server")
        found: list[Mapping[str, Any]] = _of_all_tenants()
    else:
        found = [call.client.audit.verify(anchor)]
    if call.for_people:
        for verdict in found:
            say(_sentence(verdict), err=not verdict["valid"])
    else:
        call.show(found if database else found[0], {})
    return 0 if all(verdict["valid"] for verdict in found) else 1


def _of_all_tenants() -> list[Mapping[str, Any]]:
    from orchestrator.bootstrap import core as bootstrap
    from orchestrator.bootstrap.resolving import resolve
    from orchestrator.settings import load

    with bootstrap.audit_log(resolve(load()).database.url) as auditing:
        return [_told(tenant, auditing.verify(tenant)) for tenant in auditing.tenants()]


def _told(tenant_id: UUID, verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as the API tells it, with its tenant."""
    head = verdict.head
    return {
        "tenant_id": str(tenant_id),
        "valid": verdict.valid,
        "entries": verdict.entries,
        "first_bad": verdict.first_bad,
        "reason": verdict.reason,
        "head": {"no": head.no, "digest": head.digest.hex()} if head else None,
    }


def _sentence(verdict: Mapping[str, Any]) -> str:
    whose = f"tenant {verdict['tenant_id']}: " if "tenant_id" in verdict else ""
    if not verdict["valid"]:
        return f"{whose}entry {verdict['first_bad']} is bad: {clean(verdict['reason'])}"
    head = verdict["head"]
    told = f", head {head['no']}:{head['digest']}" if head else ""
    return f"{whose}{verdict['entries']} entries, all as they were written{told}"


@verb("export", of=audit_command, printed=None)
@_filters
@click.option(
    "--format", "form", type=click.Choice(["ndjson", "csv"]), default="ndjson", show_default=True,
    help="One JSON object a line, or a table.",
)  # fmt: skip
@click.option("--file", type=click.Path(dir_okay=False), help="Where to; else to standard output.")
def export(call: Call, form: str, file: str | None, **filters: str | None) -> None:
    """Write entries out, oldest first. A file is there when it is complete, and not before."""
    parts = call.client.audit.export(form, **filters)
    if file is not None:
        _keep(file, parts)
        return
    for part in parts:
        sys.stdout.buffer.write(part)
    sys.stdout.buffer.flush()


def _keep(file: str, parts: Iterable[bytes]) -> None:
    from tempfile import NamedTemporaryFile

    wanted = Path(file)
    with NamedTemporaryFile(dir=wanted.parent, prefix=".audit-", delete=False) as made:
        try:
            made.writelines(parts)
            made.flush()
            os.fsync(made.fileno())
            Path(made.name).replace(wanted)
        except BaseException:
            Path(made.name).unlink()
            raise


_COLUMNS: dict[str, Callable[[Any], Any]] = {
    "no": lambda e: e["no"],
    "at": lambda e: moment(e["at"]),
    "who": lambda e: clean(e["principal"] or e["principal_kind"]),
    "action": lambda e: clean(e["action"]),
    "resource": lambda e: clean(f"{e['resource']} {e['resource_id']}".strip()),
    "from": lambda e: clean(e["address"]),
    "detail": lambda e: clean(e["detail"]),
}
