"""The root of `zq`: its verbs, and how every error becomes one clear line and an exit code.

Exit codes: 0 done; 1 it failed, or a followed run did; 2 not understood; 130 Ctrl-C.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from orchestrator import __version__
from orchestrator.cli.output import complain
from orchestrator.errors import ZQError

#: Where each verb is defined. It is imported when it is used, so that `zq` answers at once.
VERBS = {
    "up": "servers",
    "web": "servers",
    "stream": "servers",
    "worker": "servers",
    "scheduler": "servers",
    "migrate": "servers",
    "demo": "demo",
    "apply": "workflows",
    "validate": "workflows",
    "workflow": "workflows",
    "run": "runs",
    "runs": "runs",
    "doctor": "doctor",
    "config": "config",
}


class Verbs(click.Group):
    """A group that imports a verb's module when the verb is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module = import_module(f"orchestrator.cli.{VERBS[cmd_name]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from difflib import get_close_matches

        if args and args[0] not in VERBS and not args[0].startswith("-"):
            near = get_close_matches(args[0], VERBS, 1)
            hint = f" Did you mean `zq {near[0]}`?" if near else ""
            ctx.fail(f"There is no `zq {args[0]}`.{hint}")
        return super().resolve_command(ctx, args)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="zq")
def cli() -> None:
    """Durable workflows on Celery. `zq up` starts everything on this machine."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    try:
        return _code(cli.main(args=argv, prog_name="zq", standalone_mode=False))
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        # The reader went away (`zq runs list | head`): not wrong, but nothing may be flushed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ZQError as error:
        complain(error)
        return 1


def _code(result: Any) -> int:
    return result if isinstance(result, int) else 0
