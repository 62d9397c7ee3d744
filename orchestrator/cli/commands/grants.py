"""`zq workflow grants`: who may do more with one workflow than their roles say."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from orchestrator.cli.terminal.completions import workflow_names
from orchestrator.cli.terminal.options import format_option, server_option
from orchestrator.cli.terminal.output import ago, clean, show
from orchestrator.client.listing import every
from orchestrator.errors import NotFound

if TYPE_CHECKING:
    from orchestrator.client.http import Client

_FORBIDDEN = 403


@click.command("grants")
@click.argument("workflow", shell_complete=workflow_names)
@click.option("--give", multiple=True, metavar="WHO=ROLE", help="Give a user or key a role on it.")
@click.option("--take", multiple=True, metavar="WHO", help="Take what a user or key has.")
@server_option
@format_option
def grants_command(
    workflow: str,
    give: tuple[str, ...],
    take: tuple[str, ...],
    server: str | None,
    shape: str,
) -> int:
    """Print who has which role on a workflow, after giving and taking some.

    WHO is a user's e-mail, the prefix of a key, or the id of either.
    """
    from orchestrator.client.discovery import connect

    wanted = [_pair(text) for text in give]
    with connect(server) as client:
        path = f"workflows/{client.workflow(workflow)['id']}/grants"
        answer = client.request("GET", path)
        names = _names(client)
        roles = {item["principal_id"]: item["role"] for item in answer.json()["items"]}
        roles |= {_id_of(names, who): role for who, role in wanted}
        for who in take:
            roles.pop(_id_of(names, who), None)
        if wanted or take:
            items = [{"principal_id": one, "role": role} for one, role in roles.items()]
            seen = {"If-Match": answer.headers["ETag"]}
            answer = client.request("PUT", path, json={"items": items}, headers=seen)
    found = answer.json()["items"]
    _print(shape, found, names)
    return 0


def _pair(text: str) -> tuple[str, str]:
    who, _, role = text.rpartition("=")
    if not who or not role:
        raise click.BadParameter(f"{text!r}: write ada@example.org=editor")
    return who, role


def _names(client: Client) -> dict[str, str]:
    """Return the users and keys that one may see by id: address, or prefix."""
    from orchestrator.client.http import ApiError

    names: dict[str, str] = {}
    for path, name in (("users", "email"), ("api-keys", "prefix")):
        try:
            names |= {item["id"]: item[name] for item in every(client, path)}
        except ApiError as error:
            # Whoever may give a workflow away need not know everybody: ids will do.
            if error.status != _FORBIDDEN:
                raise
    return names


def _id_of(names: dict[str, str], who: str) -> str:
    for principal_id, name in names.items():
        if who.lower() in (name.lower(), principal_id):
            return principal_id
    with contextlib.suppress(ValueError):
        return str(UUID(who))
    raise NotFound(f"there is no user or key {who!r}: see `zq user list` and `zq key list`")


def _print(shape: str, found: list[dict[str, Any]], names: dict[str, str]) -> None:
    columns = {
        "who": lambda g: clean(names.get(g["principal_id"], g["principal_id"])),
        "role": lambda g: clean(g["role"]),
        "since": lambda g: ago(g["created_at"]),
    }
    show(shape, found, columns, empty="no grants: only roles count here")
