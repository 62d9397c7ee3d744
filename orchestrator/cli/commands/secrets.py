"""`zq secrets`: set values that only workers read, list their names, forget them, rotate the keys.

A value is never an argument: those are seen by everybody on the machine and kept in histories.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from orchestrator.cli.terminal.options import confirm, format_option, server_option, yes_option
from orchestrator.cli.terminal.output import ago, clean, say, show, show_one
from orchestrator.client.listing import every
from orchestrator.errors import ZQError


@click.group("secrets")
def secrets_command() -> None:
    """Set secrets, list their names, forget them, rotate the keys they are sealed with."""


@secrets_command.command("list")
@server_option
@format_option
def list_secrets(server: str | None, shape: str) -> int:
    """Print the names of secrets; nobody can read a value back."""
    from orchestrator.client.discovery import connect

    columns = {
        "name": lambda s: s["name"],
        "version": lambda s: s.get("version"),
        "changed": lambda s: ago(s.get("updated_at")),
        "description": lambda s: clean(s.get("description") or ""),
    }
    with connect(server) as client:
        found = every(client, "secrets")
    show(shape, found, columns, empty="no secrets yet: `zq secrets set NAME` sets one")
    return 0


@secrets_command.command("set")
@click.argument("name")
@click.option(
    "--file", type=click.Path(exists=True, dir_okay=False), help="The file with the value."
)
@click.option("--description", help="What it is for; else as it was.")
@server_option
@format_option
def set_secret(
    name: str, file: str | None, description: str | None, server: str | None, shape: str
) -> int:
    """Set a secret from a file, from standard input, or by asking for it.

    One line end at its end is not part of the value.
    """
    from orchestrator.client.discovery import connect

    body: dict[str, Any] = {"value": _value(name, file)}
    if description is not None:
        body["description"] = description
    with connect(server) as client:
        saved = client.request("PUT", f"secrets/{_part(name)}", json=body).json()
    line = f"secret {clean(saved['name'])} has its value no. {saved['version']}"
    show_one(shape, saved, line)
    return 0


@secrets_command.command("delete")
@click.argument("name")
@yes_option
@server_option
@format_option
def delete_secret(name: str, yes: bool, server: str | None, shape: str) -> int:
    """Forget a secret; nodes that read it will fail."""
    from orchestrator.client.discovery import connect

    confirm(f"Forget the secret {clean(name)}?", yes=yes)
    with connect(server) as client:
        client.request("DELETE", f"secrets/{_part(name)}")
    show_one(shape, {"name": name, "did": "deleted"}, f"forgot the secret {clean(name)}")
    return 0


@secrets_command.command("rotate")
@format_option
def rotate_secrets(shape: str) -> int:
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
    show_one(shape, told, f"sealed {done.rewrapped} under the newest key")
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


def _part(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="")
