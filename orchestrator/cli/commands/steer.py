"""`zq runs cancel|pause|resume|retry`: some runs by their ids, or all that a filter finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.commands.run import follow_run
from orchestrator.cli.terminal.completions import run_ids
from orchestrator.cli.terminal.options import (
    PATIENCE_S,
    confirm,
    format_option,
    run_filters,
    server_option,
    yes_option,
)
from orchestrator.cli.terminal.output import clean, complain, progress, say, show, state
from orchestrator.errors import ZQError

if TYPE_CHECKING:
    from orchestrator.client.documents import RunDoc
    from orchestrator.client.http import Client

_dry_option = click.option("--dry", is_flag=True, help="Only say which runs that would be.")


@click.command("cancel")
@click.argument("run_ids", nargs=-1, shell_complete=run_ids)
@run_filters
@_dry_option
@yes_option
@server_option
@format_option
def cancel_runs(
    run_ids: Sequence[str], dry: bool, yes: bool, server: str | None, shape: str, **filters: Any
) -> int:
    """Stop runs: nothing starts any more, what runs is told to stop.

    By id, or by filter: `zq runs cancel --workflow report --state running`.
    """
    return _steer("cancel", run_ids, filters, server, shape, dry=dry, yes=yes)


@click.command("pause")
@click.argument("run_ids", nargs=-1, required=True, shell_complete=run_ids)
@server_option
@format_option
def pause_runs(run_ids: Sequence[str], server: str | None, shape: str) -> int:
    """Let nothing new start in these runs; what runs goes on."""
    return _steer("pause", run_ids, {}, server, shape)


@click.command("resume")
@click.argument("run_ids", nargs=-1, required=True, shell_complete=run_ids)
@server_option
@format_option
def resume_runs(run_ids: Sequence[str], server: str | None, shape: str) -> int:
    """Go on with paused runs."""
    return _steer("resume", run_ids, {}, server, shape)


@click.command("retry")
@click.argument("run_ids", nargs=-1, shell_complete=run_ids)
@click.option("--from", "node", help="Run this node again too, with all that depends on it.")
@click.option("--follow", is_flag=True, help="Show the new run live; exit 1 unless it succeeds.")
@run_filters
@_dry_option
@yes_option
@server_option
@format_option
def retry_runs(
    run_ids: Sequence[str],
    node: str | None,
    follow: bool,
    dry: bool,
    yes: bool,
    server: str | None,
    shape: str,
    **filters: Any,
) -> int:
    """Run ended runs again, each as a new run: what did not succeed, and what depends on it.

    By id, or by filter; a filter without --state takes those that did not succeed.
    """
    if (follow or node) and len(run_ids) != 1:
        raise click.UsageError("--from and --follow take one run, by its id")
    if follow or node:
        from orchestrator.client.discovery import connect

        with connect(server, patience_s=PATIENCE_S if follow else 0.0) as client:
            new = client.retry(run_ids[0], node)
            if follow:
                return follow_run(client, new, shape)
        return _print(shape, [_row(run_ids[0], new)])
    return _steer("retry", run_ids, filters, server, shape, dry=dry, yes=yes)


def wanted(client: Client, filters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the filters of `run_filters` as the API takes them."""
    given = {name: value for name, value in filters.items() if value}
    if "workflow" in given:
        given["workflow_id"] = client.workflow(given.pop("workflow"))["id"]
    return {name: list(v) if isinstance(v, tuple) else v for name, v in given.items()}


def _steer(
    verb: str,
    run_ids: Sequence[str],
    filters: Mapping[str, Any],
    server: str | None,
    shape: str,
    *,
    dry: bool = False,
    yes: bool = False,
) -> int:
    from orchestrator.client.discovery import connect

    filtered = any(filters.values())
    if bool(run_ids) == filtered:
        raise click.UsageError("name runs by their ids, or choose them by a filter, one of the two")
    if dry and run_ids:
        raise click.UsageError("--dry tells what a filter finds")
    with connect(server) as client:
        if filtered:
            return _by_filter(client, verb, wanted(client, filters), shape, dry=dry, yes=yes)
        one: Callable[[str], RunDoc] = getattr(client, verb)
        rows, failed = [], 0
        with progress(run_ids, verb) as each:
            for run_id in each:
                try:
                    rows.append(_row(run_id, one(run_id)))
                except ZQError as error:
                    if len(run_ids) == 1:
                        raise
                    failed += 1
                    say(f"run {clean(run_id)}:", err=True)
                    complain(error)
    _print(shape, rows)
    return 1 if failed else 0


def _by_filter(
    client: Client, verb: str, filters: Mapping[str, Any], shape: str, *, dry: bool, yes: bool
) -> int:
    found = [] if yes and not dry else client.steer_many(verb, filters, dry=True)
    if dry or not (found or yes):
        return _print(shape, found, empty=f"no run that one could {verb} fits")
    if not yes:
        confirm(f"{verb.capitalize()} {len(found)} run{'s' if len(found) > 1 else ''}?", yes=False)
    done = client.steer_many(verb, filters)
    _print(shape, done, empty=f"no run that one could {verb} fits")
    return 1 if any(item.get("error") for item in done) else 0


def _row(run_id: str, run: RunDoc) -> dict[str, Any]:
    new = run["id"] if run["id"] != run_id else None
    return {"run_id": run_id, "state": run["state"], "new_run_id": new}


def _print(shape: str, rows: list[dict[str, Any]], empty: str = "") -> int:
    if shape != "table":
        show(shape, rows, {})
        return 0
    for row in rows:
        say(_text(row))
    if not rows and empty:
        say(empty, err=True)
    return 0


def _text(row: Mapping[str, Any]) -> str:
    text = f"run {clean(row['run_id'])}"
    if row.get("new_run_id"):
        return f"{text} goes on as run {row['new_run_id']}"
    if row.get("error"):
        return f"{text} {state(row['state'])}: {clean(row['error']['message'])}"
    return f"{text} {state(row['state'])}"
