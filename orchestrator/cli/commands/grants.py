"""`zq workflow grants`: who may do more with one workflow than their roles say."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import UUID

import click

from orchestrator.cli.terminal.completions import workflow_names
from orchestrator.cli.terminal.ids import one_of, workflow_of
from orchestrator.cli.terminal.output import ago, clean
from orchestrator.cli.terminal.verbs import Call, verb
from orchestrator.client.errors import ApiError
from orchestrator.client.noun import is_id

if TYPE_CHECKING:
    from orchestrator.client.http import Client

_FORBIDDEN = 403


@verb("grants")
@click.argument("workflow", shell_complete=workflow_names)
@click.option("--give", multiple=True, metavar="WHO=ROLE", help="Give a user or key a role on it.")
@click.option("--take", multiple=True, metavar="WHO", help="Take what a user or key has.")
def grants_command(call: Call, workflow: str, give: tuple[str, ...], take: tuple[str, ...]) -> None:
    """Print who has which role on a workflow, after giving and taking some.

    WHO is a user's e-mail, the prefix of a key, or the id of either.
    """
    wanted = [_pair(text) for text in give]
    grants, workflow_id = call.client.grants, workflow_of(call.client, workflow)
    names = _names(call.client)
    if wanted or take:
        given = {_id_of(names, who): role for who, role in wanted}
        found = grants.change(workflow_id, give=given, take=[_id_of(names, w) for w in take])
    else:
        found = grants.list(workflow_id)
    columns = {
        "who": lambda g: clean(names.get(g["principal_id"], g["principal_id"])),
        "role": lambda g: clean(g["role"]),
        "since": lambda g: ago(g["created_at"]),
    }
    call.show(found, columns, empty="no grants: only roles count here")


def _pair(text: str) -> tuple[str, str]:
    who, _, role = text.rpartition("=")
    if not who or not role:
        raise click.BadParameter(f"{text!r}: write ada@example.org=editor")
    return who, role


def _names(client: Client) -> dict[str, str]:
    """Return the users and keys that one may see by id: address, or prefix."""
    users = _allowed(lambda: {user["id"]: user["email"] for user in client.users.list()})
    return users | _allowed(lambda: {key["id"]: key["prefix"] for key in client.keys.list()})


def _allowed(read: Callable[[], dict[str, str]]) -> dict[str, str]:
    """Return what is read; nothing of what one may not: who gives a workflow away may use ids."""
    try:
        return read()
    except ApiError as error:
        if error.status != _FORBIDDEN:
            raise
        return {}


def _id_of(names: dict[str, str], who: str) -> str:
    for principal_id, name in names.items():
        if who.lower() in (name.lower(), principal_id):
            return principal_id
    if is_id(who):
        return str(UUID(who))
    known: list[dict[str, str]] = [{"id": id, "name": name} for id, name in names.items()]
    listed = "zq user list` and `zq key list"
    return one_of(known, who, "user or key", listed, lambda each: each["name"])["id"]
