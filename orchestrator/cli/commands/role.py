"""`zq role`: the built-in roles, and those a tenant makes of single permissions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli.terminal.options import confirm, yes_option
from orchestrator.cli.terminal.output import clean
from orchestrator.cli.terminal.verbs import Call, verb
from orchestrator.models.access.permissions import Permission

if TYPE_CHECKING:
    from orchestrator.client.documents import RoleDoc

_PERMISSIONS = [str(p) for p in Permission]
_permission = click.Choice(_PERMISSIONS)
#: As many permissions as fit into a cell.
_FEW = 3


@click.group("role")
def role_command() -> None:
    """Look at roles; make, change and remove your own."""


@verb("list", of=role_command)
def list_roles(call: Call) -> None:
    """Print the built-in roles and your own; with -o json all their permissions."""
    call.show(call.client.roles.list(), _COLUMNS)


@verb("create", of=role_command)
@click.argument("name")
@click.option(
    "--permission", "permissions", multiple=True, required=True, type=_permission,
    metavar="PERMISSION", help="What it lets do, such as runs:start.",
)  # fmt: skip
@click.option("--description", default="", help="What it is for.")
def create_role(call: Call, name: str, permissions: tuple[str, ...], description: str) -> None:
    """Make a role. It holds no more than you may do yourself."""
    made = call.client.roles.create(name, permissions, description=description)
    call.tell(made, f"made the role {clean(made['name'])}: {_all(made)}")


@verb("change", of=role_command)
@click.argument("name")
@click.option(
    "--add", multiple=True, type=_permission, metavar="PERMISSION", help="Let it do this as well."
)
@click.option(
    "--remove", multiple=True, type=_permission, metavar="PERMISSION", help="Let it not do this."
)
@click.option("--description", help="What it is for; else as it was.")
def change_role(
    call: Call, name: str, add: tuple[str, ...], remove: tuple[str, ...], description: str | None
) -> None:
    """Change a role of your own; it counts for everybody who has it within seconds."""
    if not add and not remove and description is None:
        raise click.UsageError("say what to change: --add, --remove, --description")
    changed = call.client.roles.change(name, add=add, remove=remove, description=description)
    call.tell(changed, f"the role {clean(name)}: {_all(changed)}")


@verb("delete", of=role_command)
@click.argument("name")
@yes_option
def delete_role(call: Call, name: str, yes: bool) -> None:
    """Remove a role of your own; whoever has it loses what it gave."""
    confirm(f"Remove the role {clean(name)}?", yes=yes)
    call.client.roles.delete(name)
    call.tell({"name": name, "did": "deleted"}, f"removed the role {clean(name)}")


def _all(role: RoleDoc) -> str:
    return ", ".join(role["permissions"]) or "no permission"


def _some(role: RoleDoc) -> str:
    held = role["permissions"]
    return _all(role) if len(held) <= _FEW else f"{', '.join(held[:_FEW])}, {len(held) - _FEW} more"


_COLUMNS = {
    "name": lambda r: clean(r["name"]),
    "built in": lambda r: "yes" if r["built_in"] else "",
    "permissions": _some,
    "description": lambda r: clean(r["description"]),
}
