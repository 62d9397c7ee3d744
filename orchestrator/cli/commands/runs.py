"""`zq runs`: list, look at, watch and read the logs of runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.commands.mark import mark_task
from orchestrator.cli.commands.run import RUN_COLUMNS, TASK_COLUMNS, follow_run
from orchestrator.cli.commands.steer import cancel_runs, pause_runs, resume_runs, retry_runs, wanted
from orchestrator.cli.terminal.completions import run_ids
from orchestrator.cli.terminal.lists import show_list
from orchestrator.cli.terminal.options import (
    PATIENCE_S,
    format_option,
    run_filters,
    server_option,
    watch_option,
)
from orchestrator.cli.terminal.output import clean, say, show, show_line

if TYPE_CHECKING:
    from orchestrator.client.watching import Frame

_LEVELS = ("debug", "info", "warning", "error", "critical")


@click.group("runs")
def runs_command() -> None:
    """Look at runs; cancel, pause, resume or retry them, or mark a task of one."""


for _command in (cancel_runs, mark_task, pause_runs, resume_runs, retry_runs):
    runs_command.add_command(_command)


@runs_command.command("why")
@click.argument("run_id", shell_complete=run_ids)
@server_option
@format_option
def why_run(run_id: str, server: str | None, shape: str) -> int:
    """Say why a run has not ended: what runs, what waits for what, and what to do about it."""
    from orchestrator.client.discovery import connect

    with connect(server) as client:
        answer = client.why(run_id)
    if shape == "table":
        for reason in answer["reasons"]:
            say(f"{reason['node_id'] or 'run':<20}  {clean(reason['message'])}")
        if answer["more"]:
            say("[...] there is more: `-o json` has the first 200")
    else:
        show(shape, answer, {})
    return 0


@runs_command.command("list")
@run_filters
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="At most.")
@watch_option
@server_option
@format_option
def list_runs(
    limit: int, watch_s: float | None, server: str | None, shape: str, **filters: Any
) -> int:
    """Print runs, newest first."""
    from orchestrator.client.discovery import connect

    with connect(server, patience_s=PATIENCE_S if watch_s else 0.0) as client:
        chosen = wanted(client, filters)
        return show_list(
            lambda: client.runs(limit=limit, **chosen),
            shape,
            RUN_COLUMNS,
            empty="no runs: `zq run WORKFLOW` starts one",
            watch_s=watch_s,
        )


@runs_command.command("get")
@click.argument("run_id", shell_complete=run_ids)
@server_option
@format_option
def get_run(run_id: str, server: str | None, shape: str) -> int:
    """Print a run and its tasks."""
    from orchestrator.client.discovery import connect

    with connect(server) as client:
        run, tasks = client.run(run_id), client.tasks(run_id)
    if shape != "table":
        show(shape, {**run, "tasks": tasks}, {})
        return 0
    show("table", [run], RUN_COLUMNS)
    say()
    show("table", tasks, TASK_COLUMNS)
    for name in ("error", "output"):
        value: Any = run.get(name)
        if value is not None:
            say(f"\n{name}: {json.dumps(value, indent=2, ensure_ascii=False)}")
    return 0


@runs_command.command("watch")
@click.argument("run_id", shell_complete=run_ids)
@server_option
@format_option
def watch_run(run_id: str, server: str | None, shape: str) -> int:
    """Show a run live until it has ended; exit 1 unless it succeeds."""
    from orchestrator.client.discovery import connect

    with connect(server, patience_s=PATIENCE_S) as client:
        return follow_run(client, client.run(run_id), shape)


@runs_command.command("logs")
@click.argument("run_id", shell_complete=run_ids)
@click.option("-f", "--follow", is_flag=True, help="Go on until the run has ended.")
@click.option("--node", help="Only lines of this node.")
@click.option("--level", type=click.Choice(_LEVELS), help="Only lines this grave and graver.")
@server_option
@format_option
def print_logs(
    run_id: str, follow: bool, node: str | None, level: str | None, server: str | None, shape: str
) -> int:
    """Print what the nodes of a run have logged; with `-o json` one object a line."""
    from orchestrator.client.discovery import connect

    filters = {k: v for k, v in (("node", node), ("level", level)) if v}
    with connect(server, patience_s=PATIENCE_S if follow else 0.0) as client:
        last = 0
        for line in client.logs(run_id, **filters):
            show_line(shape, line, _log_text(line))
            last = int(line["seq"])
        if follow:
            for frame in client.watch(run_id, last):
                if frame["kind"] == "log" and _fits(frame, node, level):
                    show_line(shape, frame, _log_text(frame))
    return 0


@runs_command.command("artifacts")
@click.argument("run_id", shell_complete=run_ids)
@click.argument("name", required=False)
@click.option(
    "--to", "file", type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write the file here; else it is printed as it is.",
)  # fmt: skip
@server_option
@format_option
def artifacts_of_run(
    run_id: str, name: str | None, file: Path | None, server: str | None, shape: str
) -> int:
    """List the files that a run left behind, or fetch the one of this name."""
    from orchestrator.client.discovery import connect

    if name is None and file is not None:
        raise click.UsageError("name the artifact that --to is for")
    with connect(server) as client:
        if name is None:
            show(shape, client.artifacts(run_id), _ARTIFACTS, empty="the run left no files behind")
            return 0
        data = client.artifact(run_id, name)
    if file is None:
        click.echo(data, nl=False)
        return 0
    try:
        file.write_bytes(data)
    except OSError as error:
        raise click.FileError(str(file), error.strerror) from None
    say(f"{file}: {len(data):,} bytes", err=True)
    return 0


_ARTIFACTS = {
    "name": lambda a: clean(a["name"]),
    "type": lambda a: clean(a["content_type"]),
    "bytes": lambda a: f"{a['size_bytes']:,}",
    "node": lambda a: a["node_id"],
}


def _fits(frame: Frame, node: str | None, level: str | None) -> bool:
    if node and frame.get("node_id") != node:
        return False
    known = str(frame.get("level")).lower()
    if level and known in _LEVELS:
        return _LEVELS.index(known) >= _LEVELS.index(level)
    return True


def _log_text(line: Frame) -> str:
    clock = str(line.get("at", ""))[11:23]
    where = click.style(str(line.get("node_id") or "-"), fg="cyan")
    level = str(line.get("level", "info"))
    loud = click.style(f"{level} ", fg="yellow") if level not in {"info", "debug"} else ""
    return f"{clock}  {where}  {loud}{clean(line.get('message', ''))}"
