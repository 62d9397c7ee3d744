"""`zq run`: start a run and follow it, or play a file through in memory (`--dry`)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.terminal.completions import workflows_or_files
from orchestrator.cli.terminal.inputs import read_input
from orchestrator.cli.terminal.options import PATIENCE_S, format_option, server_option
from orchestrator.cli.terminal.output import ago, clean, duration, say, show, state

if TYPE_CHECKING:
    from orchestrator.client.documents import RunDoc
    from orchestrator.client.http import Client


@click.command("run")
@click.argument("workflow", shell_complete=workflows_or_files)
@click.option("-i", "--input", "pairs", multiple=True, metavar="KEY=VALUE", help="One input value.")
@click.option(
    "--input-file", type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="The input as a YAML or JSON file; `-` reads standard input.",
)  # fmt: skip
@click.option("--tag", "tags", multiple=True, help="A tag of the run; may be repeated.")
@click.option("--follow", is_flag=True, help="Show it live; exit 1 unless it succeeds.")
@click.option(
    "--dry", is_flag=True,
    help="Play the file WORKFLOW through here, in memory: no server, waits take no time.",
)  # fmt: skip
@click.option(
    "--pin", "pins", multiple=True, metavar="NODE=JSON|@FILE",
    help="With --dry: this node's output; its work is not done.",
)  # fmt: skip
@click.option(
    "--secrets-file", type=click.Path(exists=True, dir_okay=False),
    help="With --dry: what `secrets.NAME` reads, as a YAML or JSON file.",
)  # fmt: skip
@click.option(
    "--vars-file", type=click.Path(exists=True, dir_okay=False),
    help="With --dry: what `vars.NAME` reads, as a YAML or JSON file.",
)  # fmt: skip
@server_option
@format_option
def run_command(
    workflow: str,
    pairs: Sequence[str],
    input_file: str | None,
    tags: Sequence[str],
    follow: bool,
    dry: bool,
    pins: Sequence[str],
    secrets_file: str | None,
    vars_file: str | None,
    server: str | None,
    shape: str,
) -> int:
    """Start a run of a workflow, by name or id. A value that reads as JSON is sent as that JSON.

    With --dry WORKFLOW is a file: its real handlers run in this process's place, but for pinned
    nodes. Exit 1 unless it succeeds.
    """
    given = read_input(input_file, pairs)
    if dry:
        from orchestrator.cli.commands.dry import run_dry

        return run_dry(workflow, given, pins, shape, secrets=secrets_file, variables=vars_file)
    if pins or secrets_file or vars_file:
        raise click.UsageError(
            "--pin, --secrets-file and --vars-file work with --dry only: a server has its own"
        )
    from orchestrator.client.discovery import connect

    with connect(server, patience_s=PATIENCE_S if follow else 0.0) as client:
        run = client.start(workflow, given, tags=tags, trigger="manual")
        if follow:
            return follow_run(client, run, shape)
    show(shape, run, RUN_COLUMNS)
    return 0


def follow_run(client: Client, run: RunDoc, shape: str = "table") -> int:
    """Show a run until its end; print its output; 0 when it succeeded, else 1."""
    try:
        if shape == "table":
            from orchestrator.cli.terminal.live import follow

            follow(client, run["id"])
        else:
            for _ in client.watch(run["id"]):
                pass
    except KeyboardInterrupt:
        say(f"\nthe run goes on; `zq runs cancel {run['id']}` stops it", err=True)
        raise
    return print_ended(client.run(run["id"]), shape)


def print_ended(ended: Mapping[str, Any], shape: str) -> int:
    """Print what became of a run; 0 when it succeeded, else 1."""
    if shape != "table":
        show(shape, ended, {})
    else:
        say(f"run {ended['id']} {state(ended['state'])} in {duration(ended['duration_ms'])}")
        if ended.get("error"):
            say(f"error: {clean(error_text(ended['error']))}", err=True)
        if ended.get("output") is not None:
            say(json.dumps(ended["output"], indent=2, ensure_ascii=False))
    return 0 if ended["state"] == "succeeded" else 1


def error_text(error: Any) -> str:
    """Return an error's code and message in one line."""
    if isinstance(error, dict):
        return f"{error.get('code', 'error')}: {error.get('message', '')}"
    return str(error)


RUN_COLUMNS = {
    "run": lambda r: r["id"],
    "workflow": lambda r: clean(r.get("workflow_name") or r["workflow_id"]),
    "version": lambda r: r["version"],
    "state": lambda r: state(r["state"]),
    "trigger": lambda r: r["trigger"],
    "started": lambda r: ago(r.get("started_at")),
    "took": lambda r: duration(r.get("duration_ms")),
}
TASK_COLUMNS = {
    "node": lambda t: t["node_id"],
    "type": lambda t: t["type"],
    "state": lambda t: state(t["state"]),
    "attempt": lambda t: f"{t['attempt']}/{t['max_attempts']}" if t["attempt"] else "",
    "took": lambda t: duration(t.get("duration_ms")),
    "worker": lambda t: clean(t.get("worker") or ""),
    "error": lambda t: clean(error_text(t["error"]))[:80] if t.get("error") else "",
}
