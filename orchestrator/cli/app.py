"""The root of `zq`: its verbs, and how every error becomes one clear line and an exit code."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from orchestrator import __version__
from orchestrator.cli.terminal.output import complain
from orchestrator.errors import ZQError
from orchestrator.process.memory_use import without_httpx_command
from orchestrator.process.own_packages import come_first

#: 128 and the number of SIGPIPE, as shells tell it.
PIPE_BROKE = 141
#: Each verb with its module and its line in the help. The module is imported when the verb is used,
#: so that `zq` answers at once. A file of `commands/` that is not named here is a verb by its own
#: name, behind these, when its first line says so: """`zq NAME`: its line in the help."""
VERBS = {
    "up": ("servers", "Start everything on this machine, until Ctrl-C."),
    "demo": ("demo", "Run a real workflow over real weather data, live."),
    "apply": ("apply", "Create or change workflows by name, from files."),
    "validate": ("apply", "Check definitions without a server."),
    "workflow": ("workflow", "Look at saved workflows and their versions, export, roll back."),
    "run": ("start", "Start a run of a workflow; --dry plays a file through in memory."),
    "runs": ("runs", "Look at runs; cancel, pause, resume or retry them."),
    "logs": ("logs", "Search the log lines of all runs."),
    "secrets": ("secrets", "Set values that only workers read; rotate their keys."),
    "variables": ("variables", "Set plain values that expressions read."),
    "login": ("login", "Sign in at a server, as the person you are."),
    "logout": ("login", "End the sign-in, and forget it here."),
    "user": ("user", "Make, invite, change and remove people."),
    "key": ("key", "Make, rotate and revoke keys for machines."),
    "role": ("role", "Look at roles, and make your own."),
    "tenant": ("tenant", "Make tenants and see them."),
    "quota": ("quota", "Look at what a tenant may use, and set it."),
    "audit": ("audit", "Look at who did what; check that nobody has touched the record of it."),
    "doctor": ("doctor", "Say what is wrong with this installation, and the remedy."),
    "config": ("config", "Look at the settings."),
    "completion": ("completion", "Print what makes a shell complete the words of `zq`."),
    "migrate": ("servers", "Bring the database to this release's schema."),
    "backup": ("backup", "Save all of this machine's installation in one file."),
    "restore": ("backup", "Restore such a file into a new home."),
    "web": ("servers", "Serve the API and the sockets."),
    "stream": ("servers", "Serve the sockets only."),
    "worker": ("servers", "Run a worker under its supervisor."),
    "scheduler": ("servers", "Run the scheduler."),
}
_COMMANDS = Path(__file__).with_name("commands")
_FIRST_LINE = re.compile(r'"""`zq ([a-z][a-z_]*)`: (.+?)(?:""")?\n')


@cache
def verbs() -> dict[str, tuple[str, str]]:
    """Return every verb with its module and its line in the help; no module is imported."""
    found = dict(VERBS)
    named = {module for module, _ in VERBS.values()}
    for path in sorted(_COMMANDS.glob("*.py")):
        if path.stem in named:
            continue
        with path.open(encoding="utf-8") as lines:
            first = _FIRST_LINE.match(lines.readline())
        if first and first[1] == path.stem:
            found[path.stem] = path.stem, first[2][0].upper() + first[2][1:]
    return found


class _PipeBroke(Exception):
    """Whoever read what is printed has gone away (`zq runs list | head`)."""


@contextlib.contextmanager
def _told_of_broken_pipes() -> Iterator[None]:
    # click would end the process itself, as if the verb had failed.
    try:
        yield
    except BrokenPipeError:
        raise _PipeBroke from None


class Verbs(click.Group):
    """A group that imports a verb's module when the verb is used."""

    def make_context(self, *args: Any, **more: Any) -> click.Context:
        with _told_of_broken_pipes():
            return super().make_context(*args, **more)

    def invoke(self, ctx: click.Context) -> Any:
        with _told_of_broken_pipes():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(verbs())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        known = VERBS.get(cmd_name) or verbs().get(cmd_name)
        if known is None:
            return None
        module = import_module(f"orchestrator.cli.commands.{known[0]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in verbs().items()])

    def shell_complete(
        self, ctx: click.Context, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        from click.shell_completion import CompletionItem

        known = [(name, line) for name, (_, line) in verbs().items()]
        own = [CompletionItem(n, help=line) for n, line in known if n.startswith(incomplete)]
        return own + click.Command.shell_complete(self, ctx, incomplete)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from difflib import get_close_matches

        word = args[0] if args else "-"
        if word not in VERBS and word not in verbs() and not word.startswith("-"):
            near = get_close_matches(word, verbs(), 1)
            hint = f" Did you mean `zq {near[0]}`?" if near else ""
            ctx.fail(f"There is no `zq {word}`.{hint}")
        return super().resolve_command(ctx, args)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="zq")
def cli() -> None:
    """Durable workflows on Celery. `zq up` starts everything on this machine.

    \b
    Exit codes:
      0    done; a run that was followed, watched or played dry succeeded
      1    it failed, or such a run did; standard error says why
      2    the command line was not understood
      130  Ctrl-C
      141  whoever read the output went away, as with `| head`
    """


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    without_httpx_command()
    come_first()
    try:
        return _code(cli.main(args=argv, prog_name="zq", standalone_mode=False))
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        with contextlib.suppress(BrokenPipeError):
            error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    except _PipeBroke:
        # Nothing is wrong and nothing is said, but what is left may not be flushed either.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere, stream.fileno())
        return PIPE_BROKE
    except ZQError as error:
        with contextlib.suppress(BrokenPipeError):
            complain(error)
        return 1


def _code(result: Any) -> int:
    return result if isinstance(result, int) else 0
