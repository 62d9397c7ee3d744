"""`zq run` and `zq runs`: start, follow, list, look at, read the logs of, and cancel runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from orchestrator.cli.inputs import read_input
from orchestrator.cli.output import ago, clean, duration, format_option, say, show, state
from orchestrator.client import Client, RunDoc
from orchestrator.watching import Frame

#: How long a follower puts up with a server that is away.
PATIENCE_S = 30.0

server_option = click.option("--server", metavar="URL", help="The server's address.")


@click.command("run")
@click.argument("workflow")
@click.option("-i", "--input", "pairs", multiple=True, metavar="KEY=VALUE", help="One input value.")
@click.option(
    "--input-file", type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="The input as a YAML or JSON file; `-` reads standard input.",
)  # fmt: skip
@click.option("--follow", is_flag=True, help="Show it live; exit 1 unless it succeeds.")
@server_option
@format_option
def run_command(
    workflow: str,
    pairs: Sequence[str],
    input_file: str | None,
    follow: bool,
    server: str | None,
    shape: str,
) -> int:
    """Start a run of a workflow, by name or id. A value that reads as JSON is sent as that JSON."""
    from orchestrator.cli.connection import connect

    given = read_input(input_file, pairs)
    with connect(server, patience_s=PATIENCE_S if follow else 0.0) as client:
        run = client.start(workflow, given)
        if follow:
            return follow_run(client, run, shape)
    show(shape, run, _RUN_COLUMNS)
    return 0


def follow_run(client: Client, run: RunDoc, shape: str = "table") -> int:
    """Show a run until its end; print its output; 0 when it succeeded, else 1."""
    from orchestrator.cli.live import follow

    try:
        if shape == "table":
            follow(client, run["id"])
        else:
            for _ in client.watch(run["id"]):
                pass
    except KeyboardInterrupt:
        say(f"\nthe run goes on; `zq runs cancel {run['id']}` stops it", err=True)
        raise
    ended = client.run(run["id"])
    if shape != "table":
        show(shape, ended, {})
    else:
        say(f"run {ended['id']} {state(ended['state'])} in {duration(ended['duration_ms'])}")
        if ended.get("error"):
            say(f"error: {clean(_error(ended['error']))}", err=True)
        if ended.get("output") is not None:
            say(json.dumps(ended["output"], indent=2, ensure_ascii=False))
    return 0 if ended["state"] == "succeeded" else 1


@click.group("runs")
def runs_command() -> None:
    """Look at runs and stop them."""


@runs_command.command("list")
@click.option("--workflow", help="Only runs of this workflow, by name or id.")
@click.option("--state", "wanted", help="Only runs in this state.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="At most.")
@server_option
@format_option
def list_runs(
    workflow: str | None, wanted: str | None, limit: int, server: str | None, shape: str
) -> int:
    """Print runs, newest first."""
    from orchestrator.cli.connection import connect

    with connect(server) as client:
        filters = {"state": wanted} if wanted else {}
        if workflow:
            filters["workflow_id"] = client.workflow(workflow)["id"]
        found = client.runs(limit=limit, **filters)
    show(shape, found, _RUN_COLUMNS, empty="no runs: `zq run WORKFLOW` starts one")
    return 0


@runs_command.command("get")
@click.argument("run_id")
@server_option
@format_option
def get_run(run_id: str, server: str | None, shape: str) -> int:
    """Print a run and its tasks."""
    from orchestrator.cli.connection import connect

    with connect(server) as client:
        run, tasks = client.run(run_id), client.tasks(run_id)
    if shape != "table":
        show(shape, {**run, "tasks": tasks}, {})
        return 0
    show("table", [run], _RUN_COLUMNS)
    say()
    show("table", tasks, _TASK_COLUMNS)
    for name in ("error", "output"):
        value: Any = run.get(name)
        if value is not None:
            say(f"\n{name}: {json.dumps(value, indent=2, ensure_ascii=False)}")
    return 0


@runs_command.command("logs")
@click.argument("run_id")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run has ended.")
@click.option("--node", help="Only lines of this node.")
@click.option("--level", help="Only lines of this level and above.")
@server_option
def print_logs(
    run_id: str, follow: bool, node: str | None, level: str | None, server: str | None
) -> int:
    """Print what the nodes of a run have logged."""
    from orchestrator.cli.connection import connect

    filters = {k: v for k, v in (("node", node), ("level", level)) if v}
    with connect(server, patience_s=PATIENCE_S if follow else 0.0) as client:
        last = 0
        for line in client.logs(run_id, **filters):
            say(_log_text(line))
            last = int(line["seq"])
        if follow:
            for frame in client.watch(run_id, last):
                if frame["kind"] == "log" and _wanted(frame, node, level):
                    say(_log_text(frame))
    return 0


@runs_command.command("cancel")
@click.argument("run_id")
@server_option
def cancel_run(run_id: str, server: str | None) -> int:
    """Stop a run: nothing starts any more, what runs is told to stop."""
    from orchestrator.cli.connection import connect

    with connect(server) as client:
        run = client.cancel(run_id)
    say(f"run {run['id']} {state(run['state'])}")
    return 0


_LEVELS = ("debug", "info", "warning", "error", "critical")


def _wanted(frame: Frame, node: str | None, level: str | None) -> bool:
    if node and frame.get("node_id") != node:
        return False
    known = str(frame.get("level")).lower()
    if level and level.lower() in _LEVELS and known in _LEVELS:
        return _LEVELS.index(known) >= _LEVELS.index(level.lower())
    return True


def _log_text(line: Frame) -> str:
    clock = str(line.get("at", ""))[11:23]
    where = click.style(str(line.get("node_id") or "-"), fg="cyan")
    level = str(line.get("level", "info"))
    loud = click.style(f"{level} ", fg="yellow") if level not in {"info", "debug"} else ""
    return f"{clock}  {where}  {loud}{clean(line.get('message', ''))}"


def _error(error: Any) -> str:
    if isinstance(error, dict):
        return f"{error.get('code', 'error')}: {error.get('message', '')}"
    return str(error)


_RUN_COLUMNS = {
    "run": lambda r: r["id"],
    "workflow": lambda r: clean(r.get("workflow_name") or r["workflow_id"]),
    "version": lambda r: r["version"],
    "state": lambda r: state(r["state"]),
    "trigger": lambda r: r["trigger"],
    "started": lambda r: ago(r.get("started_at")),
    "took": lambda r: duration(r.get("duration_ms")),
}
_TASK_COLUMNS = {
    "node": lambda t: t["node_id"],
    "type": lambda t: t["type"],
    "state": lambda t: state(t["state"]),
    "attempt": lambda t: f"{t['attempt']}/{t['max_attempts']}" if t["attempt"] else "",
    "took": lambda t: duration(t.get("duration_ms")),
    "worker": lambda t: clean(t.get("worker") or ""),
    "error": lambda t: clean(_error(t["error"]))[:80] if t.get("error") else "",
}
