"""`zq runs cancel|pause|resume|retry|mark`: runs by their ids, or all that a filter finds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import click

from orchestrator.cli.commands.start import follow_run
from orchestrator.cli.terminal.completions import run_ids
from orchestrator.cli.terminal.ids import run_of, workflow_of
from orchestrator.cli.terminal.inputs import given_input
from orchestrator.cli.terminal.options import confirm, run_filters, short_format_option, yes_option
from orchestrator.cli.terminal.output import clean, complain, progress, say, state
from orchestrator.cli.terminal.verbs import Call, verb
from orchestrator.errors import ZQError

if TYPE_CHECKING:
    from orchestrator.client.documents import RunDoc
    from orchestrator.client.http import Client

_ENDS = ("succeeded", "failed", "skipped")
_dry_option = click.option("--dry", is_flag=True, help="Only say which runs that would be.")


def add_steering(group: click.Group) -> None:
    """Add the verbs that steer runs to a group."""
    for command in (cancel_runs, pause_runs, resume_runs, retry_runs, mark_task):
        group.add_command(command)


@verb("cancel")
@click.argument("run_ids", nargs=-1, shell_complete=run_ids)
@run_filters
@_dry_option
@yes_option
def cancel_runs(call: Call, run_ids: Sequence[str], dry: bool, yes: bool, **filters: Any) -> int:
    """Stop runs: nothing starts any more, what runs is told to stop.

    By id, or by filter: `zq runs cancel --workflow report --state running`.
    """
    return _steer(call, "cancel", run_ids, filters, dry=dry, yes=yes)


@verb("pause")
@click.argument("run_ids", nargs=-1, required=True, shell_complete=run_ids)
def pause_runs(call: Call, run_ids: Sequence[str]) -> int:
    """Let nothing new start in these runs; what runs goes on."""
    return _steer(call, "pause", run_ids, {})


@verb("resume")
@click.argument("run_ids", nargs=-1, required=True, shell_complete=run_ids)
def resume_runs(call: Call, run_ids: Sequence[str]) -> int:
    """Go on with paused runs."""
    return _steer(call, "resume", run_ids, {})


def _version(
    _context: click.Context, _option: click.Parameter, given: str | None
) -> int | str | None:
    if given is None or given == "latest":
        return given
    if not (given.isascii() and given.isdigit() and int(given)):
        raise click.BadParameter("is a version's number, or `latest`")
    return int(given)


@verb("retry")
@click.argument("run_ids", nargs=-1, shell_complete=run_ids)
@click.option("--from", "node", help="Run this node again too, with all that depends on it.")
@click.option("--version", metavar="N|latest", callback=_version, help="Run this version instead.")
@click.option("-i", "--input", "pairs", multiple=True, metavar="KEY=VALUE", help="Another input.")
@click.option("--follow", is_flag=True, help="Show the new run live; exit 1 unless it succeeds.")
@run_filters
@_dry_option
@yes_option
def retry_runs(
    call: Call,
    run_ids: Sequence[str],
    node: str | None,
    version: int | Literal["latest"] | None,
    pairs: Sequence[str],
    follow: bool,
    dry: bool,
    yes: bool,
    **filters: Any,
) -> int:
    """Run ended runs again, each as a new run: what did not succeed, and what depends on it.

    By id, or by filter; a filter without --state takes those that did not succeed. It is the run's
    own version and input that run, unless --version and --input say otherwise: then what they
    change runs again too. The values of --input replace those of the run one by one.
    """
    if (follow or node or pairs) and len(run_ids) != 1:
        raise click.UsageError("--from, --input and --follow take one run, by its id")
    if not (follow or node or pairs):
        return _steer(call, "retry", run_ids, filters, dry=dry, yes=yes, version=version)
    run_id = run_of(call.client, run_ids[0])
    value = _other_input(call.client, run_id, pairs) if pairs else None
    new = call.client.retry(run_id, node, version=version, input=value)
    _say_version(call, new)
    return follow_run(call, new) if follow else _print(call, [_row(run_id, new)])


def _other_input(client: Client, run_id: str, pairs: Sequence[str]) -> dict[str, Any]:
    run = client.run(run_id)
    declared = client.workflows.get(run["workflow_id"]).get("inputs")
    return {**(run.get("input") or {}), **given_input(None, pairs)(declared)}


def _say_version(call: Call, new: RunDoc) -> None:
    """Say which version runs, where there is a newer one; and where nothing was taken over."""
    if not call.for_people:
        return
    newer = new.get("newer_version")
    if newer:
        text = f"it runs version {new['version']}; version {newer} is there: --version latest"
        say(text, err=True)
    if new.get("taken_over") == 0:
        say(f"nothing is taken over: all of version {new['version']} runs again", err=True)


@verb("mark", printed=short_format_option)
@click.argument("run_id", shell_complete=run_ids)
@click.argument("node_id")
@click.option("--as", "ends_as", required=True, type=click.Choice(_ENDS), help="How it ended.")
@click.option("--output", metavar="JSON", help="What it put out; only with --as succeeded.")
@click.option("--reason", help="Why, for whoever reads the run's events.")
@click.option("--map-index", type=click.IntRange(0), hidden=True, help="Which instance of a node.")
def mark_task(
    call: Call,
    run_id: str,
    node_id: str,
    ends_as: str,
    output: str | None,
    reason: str | None,
    map_index: int | None,
) -> None:
    """Say how a task of a live run ended; what depends on it follows.

    A worker that is at it loses it, and is told to stop.
    """
    value = _output(output, ends_as)
    run_id = run_of(call.client, run_id)
    task = call.client.mark(
        run_id, node_id, ends_as, output=value, reason=reason, map_index=map_index
    )
    call.tell(task, f"task {clean(node_id)} of run {run_id} {state(task['state'])}")


def _output(text: str | None, ends_as: str) -> Any:
    if text is None:
        return None
    if ends_as != "succeeded":
        raise click.UsageError("--output goes with --as succeeded")
    try:
        return json.loads(text)
    except ValueError as error:
        raise click.UsageError(
            f"--output is the task's output as JSON ({error}); `-o` says how to print it"
        ) from None


def wanted(client: Client, filters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the filters of `run_filters` as the API takes them."""
    given = {name: value for name, value in filters.items() if value}
    if "workflow" in given:
        given["workflow_id"] = workflow_of(client, given.pop("workflow"))
    return {name: list(v) if isinstance(v, tuple) else v for name, v in given.items()}


def _steer(
    call: Call,
    verb: str,
    run_ids: Sequence[str],
    filters: Mapping[str, Any],
    *,
    dry: bool = False,
    yes: bool = False,
    version: int | Literal["latest"] | None = None,
) -> int:
    filtered = any(filters.values())
    if bool(run_ids) == filtered:
        raise click.UsageError("name runs by their ids, or choose them by a filter, one of the two")
    if dry and run_ids:
        raise click.UsageError("--dry tells what a filter finds")
    more = {} if version is None else {"version": version}
    if filtered:
        return _by_filter(call, verb, {**wanted(call.client, filters), **more}, dry=dry, yes=yes)
    one: Callable[..., RunDoc] = getattr(call.client, verb)
    rows, failed = [], 0
    with progress(run_ids, verb) as each:
        for named in each:
            try:
                run_id = run_of(call.client, named)
                steered = one(run_id, **more)
                _say_version(call, steered)
                rows.append(_row(run_id, steered))
            except ZQError as error:
                if len(run_ids) == 1:
                    raise
                failed += 1
                say(f"run {clean(named)}:", err=True)
                complain(error)
    _print(call, rows)
    return 1 if failed else 0


def _by_filter(call: Call, verb: str, filters: Mapping[str, Any], *, dry: bool, yes: bool) -> int:
    steer, none = call.client.steer_many, f"no run that one could {verb} fits"
    found = [] if yes and not dry else steer(verb, filters, dry=True)
    if dry or not (found or yes):
        return _print(call, found, empty=none)
    if not yes:
        confirm(f"{verb.capitalize()} {len(found)} run{'s' if len(found) > 1 else ''}?", yes=False)
    done = steer(verb, filters)
    _print(call, done, empty=none)
    return 1 if any(item.get("error") for item in done) else 0


def _row(run_id: str, run: RunDoc) -> dict[str, Any]:
    new = run["id"] if run["id"] != run_id else None
    return {"run_id": run_id, "state": run["state"], "new_run_id": new}


def _print(call: Call, rows: Sequence[Mapping[str, Any]], empty: str = "") -> int:
    if not call.for_people:
        call.show(rows, {})
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
