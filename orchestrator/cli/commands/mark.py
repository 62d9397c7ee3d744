"""`zq runs mark`: settle a task by hand."""

from __future__ import annotations

import json
from typing import Any

import click

from orchestrator.cli.terminal.completions import run_ids
from orchestrator.cli.terminal.options import server_option
from orchestrator.cli.terminal.output import clean, say, show, state

_ENDS = ("succeeded", "failed", "skipped")


@click.command("mark")
@click.argument("run_id", shell_complete=run_ids)
@click.argument("node_id")
@click.option("--as", "ends_as", required=True, type=click.Choice(_ENDS), help="How it ended.")
@click.option("--output", metavar="JSON", help="What it put out; only with --as succeeded.")
@click.option("--reason", help="Why, for whoever reads the run's events.")
@click.option(
    "--map-index", type=click.IntRange(0), help="Which instance of a node that was fanned out."
)
@server_option
@click.option(
    "-o", "shape", type=click.Choice(["table", "json", "yaml"]), default="table",
    show_default=True, help="How to print the task.",
)  # fmt: skip
def mark_task(
    run_id: str,
    node_id: str,
    ends_as: str,
    output: str | None,
    reason: str | None,
    map_index: int | None,
    server: str | None,
    shape: str,
) -> int:
    """Say how a task of a live run ended; what depends on it follows.

    A worker that is at it loses it, and is told to stop.
    """
    from orchestrator.client.discovery import connect

    value = _value(output, ends_as)
    with connect(server) as client:
        task = client.mark(
            run_id, node_id, ends_as, output=value, reason=reason, map_index=map_index
        )
    if shape == "table":
        say(f"task {clean(node_id)} of run {clean(run_id)} {state(task['state'])}")
    else:
        show(shape, task, {})
    return 0


def _value(text: str | None, ends_as: str) -> Any:
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
