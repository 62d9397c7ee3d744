"""`zq logs`: the log lines of all runs."""

from __future__ import annotations

from typing import Any

import click

from orchestrator.cli.terminal.completions import run_ids, workflow_names
from orchestrator.cli.terminal.ids import run_of, workflow_of
from orchestrator.cli.terminal.lines import log_text
from orchestrator.cli.terminal.options import level_option, time_options
from orchestrator.cli.terminal.output import say, show_line
from orchestrator.cli.terminal.verbs import Call, verb


@click.group("logs")
def logs_command() -> None:
    """Search the log lines of all runs; those of one run are `zq runs logs`."""


@verb("search", of=logs_command)
@click.argument("text", required=False)
@click.option("--workflow", shell_complete=workflow_names, help="Only of this workflow.")
@click.option("--run", shell_complete=run_ids, help="Only of this run.")
@click.option("--node", help="Only lines of this node.")
@level_option
@time_options("lines written")[0]
@time_options("lines written")[1]
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="At most.")
def search_logs(
    call: Call, text: str | None, workflow: str | None, run: str | None, limit: int, **filters: Any
) -> None:
    """Print lines with TEXT in their message, in any case, newest first; without TEXT, all.

    With `-o json` one object a line.
    """
    filters["workflow_id"] = workflow and workflow_of(call.client, workflow)
    filters["run_id"] = run and run_of(call.client, run)
    found = False
    for line in call.client.logs.search(limit=limit, q=text, **filters):
        found = True
        show_line(call.shape, line, f"{line['run_id']}  {log_text(line, dated=True)}")
    if not found:
        say("no line fits", err=True)
