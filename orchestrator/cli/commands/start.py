"""`zq run`: start a run and follow it, or play a file through in memory (`--dry`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from orchestrator.cli.terminal.columns import RUN_COLUMNS, exit_code, print_ended
from orchestrator.cli.terminal.completions import workflows_or_files
from orchestrator.cli.terminal.ids import workflow_of
from orchestrator.cli.terminal.inputs import given_input
from orchestrator.cli.terminal.output import say
from orchestrator.cli.terminal.verbs import Call, verb

if TYPE_CHECKING:
    from orchestrator.client.documents import RunDoc


@verb("run")
@click.argument("workflow", shell_complete=workflows_or_files)
@click.option("-i", "--input", "pairs", multiple=True, metavar="KEY=VALUE", help="One input value.")
@click.option(
    "--input-file", type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="The input as a YAML or JSON file; `-` reads standard input.",
)  # fmt: skip
@click.option("--tag", "tags", multiple=True, help="A tag of the run; may be repeated.")
@click.option("--follow", is_flag=True, help="Show it live; exit 1 unless it succeeds.")
@click.option(
    "-q", "--quiet", is_flag=True,
    help="Print the run's id and nothing else; with --follow the exit code tells the rest.",
)  # fmt: skip
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
def run_command(
    call: Call,
    workflow: str,
    pairs: Sequence[str],
    input_file: str | None,
    tags: Sequence[str],
    follow: bool,
    quiet: bool,
    dry: bool,
    pins: Sequence[str],
    secrets_file: str | None,
    vars_file: str | None,
) -> int:
    """Start a run of a workflow, by name or id.

    An input that the workflow declares is read as what it declares: text stays as it is typed. Of
    others, a value that reads as JSON is sent as that JSON.

    With --dry WORKFLOW is a file: its real handlers run in this process's place, but for pinned
    nodes. Exit 1 unless it succeeds.
    """
    if quiet and (dry or not call.for_people):
        raise click.UsageError("--quiet prints the id of a run: it goes with neither --dry nor -o")
    read = given_input(input_file, pairs)
    if dry:
        from orchestrator.cli.commands.dry import run_dry

        return run_dry(workflow, read, pins, call.shape, secrets=secrets_file, variables=vars_file)
    if pins or secrets_file or vars_file:
        raise click.UsageError(
            "--pin, --secrets-file and --vars-file work with --dry only: a server has its own"
        )
    found = call.client.workflows.get(workflow_of(call.client, workflow))
    run = call.client.start(found["id"], read(found.get("inputs")), tags=tags, trigger="manual")
    if quiet:
        say(run["id"])
    if follow:
        return follow_run(call, run, quiet=quiet)
    if not quiet:
        call.show(run, RUN_COLUMNS)
    return 0


def follow_run(call: Call, run: RunDoc, *, quiet: bool = False) -> int:
    """Show a run until its end; print its output; 0 when it succeeded, else 1."""
    try:
        if call.for_people and not quiet:
            from orchestrator.cli.terminal.live import follow

            follow(call.client, run["id"])
        else:
            for _ in call.client.watch(run["id"]):
                pass
    except KeyboardInterrupt:
        say(f"\nthe run goes on; `zq runs cancel {run['id']}` stops it", err=True)
        raise
    ended = call.client.run(run["id"])
    return exit_code(ended) if quiet else print_ended(ended, call.shape)
