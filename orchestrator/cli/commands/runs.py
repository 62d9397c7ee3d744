"""`zq runs`: list, look at, watch and read the logs of runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.commands.start import follow_run
from orchestrator.cli.commands.steer import add_steering, wanted
from orchestrator.cli.terminal.columns import RUN_COLUMNS, TASK_COLUMNS
from orchestrator.cli.terminal.completions import run_ids
from orchestrator.cli.terminal.ids import run_of
from orchestrator.cli.terminal.lines import log_text
from orchestrator.cli.terminal.lists import show_list
from orchestrator.cli.terminal.options import LOG_LEVELS, level_option, run_filters, watch_option
from orchestrator.cli.terminal.output import as_json, clean, say, show, show_line
from orchestrator.cli.terminal.verbs import Call, verb

if TYPE_CHECKING:
    from orchestrator.client.documents import Frame


@click.group("runs")
def runs_command() -> None:
    """Look at runs; cancel, pause, resume or retry them, or mark a task of one.

    A run goes by its id, by how its id begins, or as `last`: the newest one.
    """


add_steering(runs_command)
_run_argument = click.argument("run_id", shell_complete=run_ids)


@verb("why", of=runs_command)
@_run_argument
def why_run(call: Call, run_id: str) -> None:
    """Say why a run has not ended: what runs, what waits for what, and what to do about it."""
    answer = call.client.why(run_of(call.client, run_id))
    if not call.for_people:
        call.show(answer, {})
        return
    for reason in answer["reasons"]:
        say(f"{reason['node_id'] or 'run':<20}  {clean(reason['message'])}")
    if answer["more"]:
        say("[...] there is more: `-o json` has the first 200")


@verb("list", of=runs_command)
@run_filters
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="At most.")
@watch_option
def list_runs(call: Call, limit: int, watch_s: float | None, **filters: Any) -> int:
    """Print runs, newest first."""
    chosen = wanted(call.client, filters)
    return show_list(
        lambda: call.client.runs(limit=limit, **chosen),
        call.shape,
        RUN_COLUMNS,
        empty="no runs: `zq run WORKFLOW` starts one",
        watch_s=watch_s,
    )


@verb("get", of=runs_command)
@_run_argument
def get_run(call: Call, run_id: str) -> None:
    """Print a run and its tasks."""
    run_id = run_of(call.client, run_id)
    run, tasks = call.client.run(run_id), call.client.tasks(run_id)
    if not call.for_people:
        call.show({**run, "tasks": tasks}, {})
        return
    show("table", [run], RUN_COLUMNS)
    say()
    show("table", tasks, TASK_COLUMNS)
    for name in ("error", "output"):
        value: Any = run.get(name)
        if value is not None:
            say(f"\n{name}: {as_json(value, indent=2)}")


@verb("watch", of=runs_command, patient=True)
@_run_argument
def watch_run(call: Call, run_id: str) -> int:
    """Show a run live until it has ended; exit 1 unless it succeeds."""
    return follow_run(call, call.client.run(run_of(call.client, run_id)))


@verb("logs", of=runs_command)
@_run_argument
@click.option("-f", "--follow", is_flag=True, help="Go on until the run has ended.")
@click.option("--node", help="Only lines of this node.")
@level_option
def print_logs(call: Call, run_id: str, follow: bool, node: str | None, level: str | None) -> None:
    """Print what the nodes of a run have logged; with `-o json` one object a line."""
    filters = {k: v for k, v in (("node", node), ("level", level)) if v}
    run_id, last = run_of(call.client, run_id), 0
    for line in call.client.logs.of(run_id, **filters):
        show_line(call.shape, line, log_text(line))
        last = int(line["seq"])
    if follow:
        for frame in call.client.watch(run_id, last):
            if frame["kind"] == "log" and _fits(frame, node, level):
                show_line(call.shape, frame, log_text(frame))


@verb("artifacts", of=runs_command)
@_run_argument
@click.argument("name", required=False)
@click.option(
    "--to", "file", type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write the file here; else it is printed as it is.",
)  # fmt: skip
def artifacts_of_run(call: Call, run_id: str, name: str | None, file: Path | None) -> None:
    """List the files that a run left behind, or fetch the one of this name."""
    if name is None and file is not None:
        raise click.UsageError("name the artifact that --to is for")
    run_id = run_of(call.client, run_id)
    if name is None:
        found = call.client.artifacts(run_id)
        call.show(found, _ARTIFACTS, empty="the run left no files behind")
        return
    data = call.client.artifact(run_id, name)
    if file is None:
        click.echo(data, nl=False)
        return
    try:
        file.write_bytes(data)
    except OSError as error:
        raise click.FileError(str(file), error.strerror) from None
    say(f"{file}: {len(data):,} bytes", err=True)


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
    if level and known in LOG_LEVELS:
        return LOG_LEVELS.index(known) >= LOG_LEVELS.index(level)
    return True
