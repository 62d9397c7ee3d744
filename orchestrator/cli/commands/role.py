"""`zq role`: the built-in roles, and those a tenant makes of single permissions."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click

from orchestrator.cli.terminal.options import confirm, format_option, server_option, yes_option
from orchestrator.cli.terminal.output import clean, show, show_one
from orchestrator.models.access.permissions import Permission

_PERMISSIONS = [str(p) for p in Permission]
_permission = click.Choice(_PERMISSIONS)
#: As many permissions as fit into a cell.
_FEW = 3


@click.group("role")
def role_command() -> None:
    """Look at roles; make, change and remove your own."""


@role_command.command("list")
@server_option
@format_option
def list_roles(server: str | None, shape: str) -> int:
    """Print the built-in roles and your own; with -o json all their permissions."""
    from orchestrator.client.discovery import connect

    with connect(server) as client:
        found = client.request("GET", "roles").json()["items"]
    show(shape, found, _COLUMNS)
    return 0


@role_command.command("create")
@click.argument("name")
@click.option(
    "--permission", "permissions", multiple=True, required=True, type=_permission,
    metavar="PERMISSION", help="What it lets do, such as runs:start.",
)  # fmt: skip
@click.option("--description", default="", help="What it is for.")
@server_option
@format_option
def create_role(
    name: str, permissions: tuple[str, ...], description: str, server: str | None, shape: str
) -> int:
    """Make a role. It holds no more than you may do yourself."""
    from orchestrator.client.discovery import connect

    body = {"name": name, "description": description, "permissions": list(permissions)}
    with connect(server) as client:
        made = client.request("POST", "roles", json=body).json()
    show_one(shape, made, f"made the role {clean(made['name'])}: {_all(made)}")
    return 0


@role_command.command("change")
@click.argument("name")
@click.option(
    "--add", multiple=True, type=_permission, metavar="PERMISSION", help="Let it do this as well."
)
@click.option(
    "--remove", multiple=True, type=_permission, metavar="PERMISSION", help="Let it not do this."
)
@click.option("--description", help="What it is for; else as it was.")
@server_option
@format_option
def change_role(
    name: str,
    add: tuple[str, ...],
    remove: tuple[str, ...],
    description: str | None,
    server: str | None,
    shape: str,
) -> int:
    """Change a role of your own; it counts for everybody who has it within seconds."""
    from orchestrator.client.discovery import connect

    if not add and not remove and description is None:
        raise click.UsageError("say what to change: --add, --remove, --description")
    with connect(server) as client:
        path = f"roles/{quote(name, safe='')}"
        answer = client.request("GET", path)
        there = answer.json()
        body = {
            "description": there["description"] if description is None else description,
            "permissions": sorted({*there["permissions"], *add} - {*remove}),
        }
        seen = {"If-Match": answer.headers["ETag"]}
        changed = client.request("PUT", path, json=body, headers=seen).json()
    show_one(shape, changed, f"the role {clean(name)}: {_all(changed)}")
    return 0


@role_command.command("delete")
@click.argument("name")
@yes_option
@server_option
@format_option
def delete_role(name: str, yes: bool, server: str | None, shape: str) -> int:
    """Remove a role of your own; whoever has it loses what it gave."""
    from orchestrator.client.discovery import connect

    confirm(f"Remove the role {clean(name)}?", yes=yes)
    with connect(server) as client:
        client.request("DELETE", f"roles/{quote(name, safe='')}")
    show_one(shape, {"name": name, "did": "deleted"}, f"removed the role {clean(name)}")
    return 0


def _all(role: dict[str, Any]) -> str:
    return ", ".join(role["permissions"]) or "no permission"


def _some(role: dict[str, Any]) -> str:
    held = role["permissions"]
    return _all(role) if len(held) <= _FEW else f"{', '.join(held[:_FEW])}, {len(held) - _FEW} more"


_COLUMNS = {
    "name": lambda r: clean(r["name"]),
    "built in": lambda r: "yes" if r["built_in"] else "",
    "permissions": _some,
    "description": lambda r: clean(r["description"]),
}
