"""`zq secrets`: set values that only workers read, list their names, forget them, rotate the keys.

A value is never an argument: those are seen by everybody on the machine and kept in histories.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from orchestrator.cli.terminal.options import confirm, yes_option
from orchestrator.cli.terminal.output import ago, clean, say
from orchestrator.cli.terminal.verbs import Call, verb
from orchestrator.errors import ZQError


@click.group("secrets")
def secrets_command() -> None:
    """Set secrets, list their names, forget them, rotate the keys they are sealed with."""


@verb("list", of=secrets_command)
def list_secrets(call: Call) -> None:
    """Print the names of secrets; nobody can read a value back."""
    found = call.client.secrets.list()
    call.show(found, _COLUMNS, empty="no secrets yet: `zq secrets set NAME` sets one")


@verb("set", of=secrets_command)
@click.argument("name")
@click.option(
    "--file", type=click.Path(exists=True, dir_okay=False), help="The file with the value."
)
@click.option("--description", help="What it is for; else as it was.")
def set_secret(call: Call, name: str, file: str | None, description: str | None) -> None:
    """Set a secret from a file, from standard input, or by asking for it.

    One line end at its end is not part of the value.
    """
    saved = call.client.secrets.set(name, _value(name, file), description=description)
    call.tell(saved, f"secret {clean(saved['name'])} has its value no. {saved['version']}")


@verb("delete", of=secrets_command)
@click.argument("name")
@yes_option
def delete_secret(call: Call, name: str, yes: bool) -> None:
    """Forget a secret; nodes that read it will fail."""
    confirm(f"Forget the secret {clean(name)}?", yes=yes)
    call.client.secrets.delete(name)
    call.tell({"name": name, "did": "deleted"}, f"forgot the secret {clean(name)}")


@verb("rotate", of=secrets_command, server=False)
def rotate_secrets(call: Call) -> int:
    """Seal every secret of every tenant under the newest of the master keys.

    Works beside the database, with the same ZQ_ settings as the servers have. May be stopped and
    repeated at any time; exit 1 when one cannot be opened with any of the keys.
    """
    from orchestrator.bootstrap import core as bootstrap

    with bootstrap.secrets_beside(_settings()) as secrets:
        done = secrets.rotate()
    for tenant_id, name, why in done.failed:
        say(f"{tenant_id} {clean(name)}: {clean(why)}", err=True)
    told = {"sealed": done.rewrapped, "failed": [f"{t} {clean(n)}" for t, n, _ in done.failed]}
    call.tell(told, f"sealed {done.rewrapped} under the newest key")
    return 1 if done.failed else 0


class NoValue(ZQError):
    """There is no value on standard input."""

    code = "no_value"


def _settings() -> Any:
    from dataclasses import replace

    from orchestrator.process.home import secret_key
    from orchestrator.settings import load

    settings = load()
    if settings.embedded and not settings.auth.secret_key:
        auth = replace(settings.auth, secret_key=secret_key(settings.home))
        settings = replace(settings, auth=auth)
    return settings


def _value(name: str, file: str | None) -> str:
    if file is not None:
        text = Path(file).read_text(encoding="utf-8")
    elif sys.stdin.isatty():
        return str(click.prompt(f"Value of {name}", hide_input=True, confirmation_prompt=True))
    else:
        text = sys.stdin.read()
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise NoValue("there is no value: give it on standard input, or with --file")
    return text


_COLUMNS = {
    "name": lambda s: s["name"],
    "version": lambda s: s.get("version"),
    "changed": lambda s: ago(s.get("updated_at")),
    "description": lambda s: clean(s.get("description") or ""),
}
