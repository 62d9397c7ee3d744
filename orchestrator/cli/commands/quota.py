"""`zq quota`: what a tenant may use, and what it does use."""

from __future__ import annotations

from typing import Any

import click

from orchestrator.cli.terminal.options import format_option, server_option
from orchestrator.cli.terminal.output import show
from orchestrator.models.quota import LARGEST, Quota

_NAMES = [str(name) for name in Quota]
_DEFAULT = "default"


@click.group("quota")
def quota_command() -> None:
    """Look at a tenant's quotas, and set them."""


@quota_command.command("list")
@click.option("--tenant", metavar="ID", help="Of this tenant; else of your own.")
@server_option
@format_option
def list_quotas(tenant: str | None, server: str | None, shape: str) -> int:
    """Print every quota with its present use."""
    from orchestrator.client.discovery import connect

    with connect(server) as client:
        _print(shape, client.quotas(tenant))
    return 0


@quota_command.command("set")
@click.argument("tenant", metavar="TENANT_ID")
@click.argument("values", metavar="NAME=VALUE...", nargs=-1, required=True)
@server_option
@format_option
def set_quotas(tenant: str, values: tuple[str, ...], server: str | None, shape: str) -> int:
    """Set quotas of a tenant: NAME=3, NAME=0 for no limit, NAME=default.

    In force within 15 s. What is used already stays, also where it is more.
    """
    from orchestrator.client.discovery import connect

    wanted = dict(_pair(text) for text in values)
    with connect(server) as client:
        _print(shape, client.set_quotas(tenant, wanted))
    return 0


def _pair(text: str) -> tuple[str, int | None]:
    name, _, value = text.partition("=")
    if name not in _NAMES:
        raise click.BadParameter(f"there is no quota {name!r}; known are {', '.join(_NAMES)}")
    if value == _DEFAULT:
        return name, None
    if not (value.isascii() and value.isdigit()) or int(value) > LARGEST:
        raise click.BadParameter(f"{text!r}: write {name}=3, {name}=0 for no limit, or =default")
    return name, int(value)


def _print(shape: str, items: list[dict[str, Any]]) -> None:
    show(shape, items, _COLUMNS)


_COLUMNS = {
    "name": lambda q: q["name"],
    "limit": lambda q: q["limit"] or "-",
    "used": lambda q: q["used"],
    "from": lambda q: "default" if q["default"] else "tenant",
}
