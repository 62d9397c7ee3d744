"""Options that several verbs share. Importing this costs nothing but click."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from orchestrator.cli.terminal.completions import workflow_names
from orchestrator.cli.terminal.times import When
from orchestrator.errors import ZQError

F = TypeVar("F", bound=Callable[..., Any])

RUN_STATES = (
    "queued", "running", "paused", "cancelling", "succeeded", "failed", "cancelled", "timed_out",
)  # fmt: skip
LOG_LEVELS = ("debug", "info", "warning", "error", "critical")
#: How long a follower puts up with a server that is away.
PATIENCE_S = 30.0
#: Seconds between two looks of `--watch`.
WATCH_S = 2.0

server_option: Callable[[F], F] = click.option(
    "--server",
    metavar="URL",
    help="The server's address; else that of ZQ_WEB__HOST and ZQ_WEB__PORT.",
)
format_option: Callable[[F], F] = click.option(
    "-o",
    "--output",
    "shape",
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    show_default=True,
    help="How to print it.",
)
short_format_option: Callable[[F], F] = click.option(
    "-o", "shape", type=click.Choice(["table", "json", "yaml"]), default="table",
    show_default=True, help="How to print it, where --output is something else.",
)  # fmt: skip
level_option: Callable[[F], F] = click.option(
    "--level", type=click.Choice(LOG_LEVELS), help="Only lines this grave and graver."
)
watch_option: Callable[[F], F] = click.option(
    "--watch",
    "watch_s",
    is_flag=False,
    flag_value=WATCH_S,
    type=click.FloatRange(0.1),
    metavar="[SECONDS]",
    help="Print it again whenever it changes, until Ctrl-C.",
)
yes_option: Callable[[F], F] = click.option(
    "-y", "--yes", is_flag=True, help="Do not ask; needed where nobody can be asked."
)


def time_options(what: str) -> tuple[Callable[[F], F], Callable[[F], F]]:
    """Return `--since` and `--until`: a time, or how long ago."""
    return (
        click.option(
            "--since", metavar="TIME", type=When(),
            help=f"Only {what} at this time or later; 2h is two hours ago.",
        ),
        click.option("--until", metavar="TIME", type=When(), help=f"Only {what} before this time."),
    )  # fmt: skip


def run_filters(command: F) -> F:
    """Add the options that say which runs; the command takes them as `**filters`."""
    options = (
        click.option(
            "--workflow", shell_complete=workflow_names,
            help="Only runs of this workflow, by name or id.",
        ),
        click.option(
            "--state", multiple=True, type=click.Choice(RUN_STATES),
            help="Only runs in this state; may be repeated.",
        ),
        click.option("--trigger", help="Only runs that began for this reason."),
        click.option("--tag", "tags", multiple=True, help="Only runs with all of these tags."),
        *time_options("runs made"),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


class NotConfirmed(ZQError):
    """Nobody said yes; nothing was done."""

    code = "not_confirmed"


def confirm(question: str, *, yes: bool) -> None:
    """Ask on a terminal; NotConfirmed where the answer is no, or nobody can be asked."""
    import sys

    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise NotConfirmed(f"{question} Nobody can be asked here: add --yes to do it")
    if not click.confirm(question, err=True):
        raise NotConfirmed
