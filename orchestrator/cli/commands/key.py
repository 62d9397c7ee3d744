"""`zq key`: keys for machines. A key is printed once, where it is made, and can never be read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from orchestrator.cli.terminal.ids import one_of
from orchestrator.cli.terminal.options import confirm, yes_option
from orchestrator.cli.terminal.output import ago, clean, say
from orchestrator.cli.terminal.times import When, moment, span
from orchestrator.cli.terminal.verbs import Call, verb
from orchestrator.errors import Conflict
from orchestrator.models.access.permissions import Permission

if TYPE_CHECKING:
    from orchestrator.client.documents import KeyDoc, NewKeyDoc

_PERMISSIONS = [str(p) for p in Permission]


@click.group("key")
def key_command() -> None:
    """Make, list, rotate and revoke the keys of your tenant."""


@verb("create", of=key_command)
@click.argument("name")
@click.option("--role", "roles", multiple=True, metavar="ROLE", help="What the key may do.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    metavar="PERMISSION",
    help="Only this permission of its roles, such as runs:start.",
)
@click.option(
    "--expires", metavar="WHEN", type=When(ahead=True),
    help="A time, or how long: 90d, 12h. Else never.",
)  # fmt: skip
def create_key(
    call: Call, name: str, roles: tuple[str, ...], scopes: tuple[str, ...], expires: str | None
) -> None:
    """Make a key and print it: once, and nowhere else.

    It may do no more than you may. `KEY=$(zq key create ci --role operator)` keeps it.
    """
    unknown = [scope for scope in scopes if scope not in _PERMISSIONS]
    if unknown:
        known = ", ".join(_PERMISSIONS)
        raise click.BadParameter(f"there is no permission {unknown[0]!r}; known are {known}")
    made = call.client.keys.create(name, roles=roles, scopes=scopes or None, expires_at=expires)
    _tell(call, made)
    if not roles:
        say("it has no role: it may do what grants on workflows give, and nothing else", err=True)


@verb("list", of=key_command)
def list_keys(call: Call) -> None:
    """Print the keys of your tenant, oldest first, revoked ones too."""
    found = call.client.keys.list()
    call.show(found, _COLUMNS, empty="no keys yet: `zq key create NAME --role ROLE` makes one")


@verb("rotate", of=key_command)
@click.argument("which", metavar="NAME")
@click.option(
    "--overlap", default="1d", show_default=True, metavar="SPAN", help="How long both are good."
)
def rotate_key(call: Call, which: str, overlap: str) -> None:
    """Make the next key with the same rights and print it; the old one works a while longer."""
    both = span(overlap)
    if both is None:
        raise click.BadParameter(f"{overlap!r}: write 90s, 12h or 2d")
    key = key_of(call.client.keys.list(), which)
    _tell(call, call.client.keys.rotate(key["id"], overlap_s=int(both.total_seconds())))


@verb("revoke", of=key_command)
@click.argument("which", metavar="NAME")
@yes_option
def revoke_key(call: Call, which: str, yes: bool) -> None:
    """Make a key void. Whoever uses it is refused within seconds, open sockets too."""
    key = key_of(call.client.keys.list(), which)
    told = f"{clean(key['name'])} ({key['prefix']})"
    confirm(f"Revoke the key {told}?", yes=yes)
    call.client.keys.revoke(key["id"])
    call.tell({"id": key["id"], "name": key["name"], "did": "revoked"}, f"revoked {told}")


def key_of(keys: Sequence[KeyDoc], which: str) -> KeyDoc:
    """Return a key by the name that one key in use has, its prefix, or how its id begins.

    NotFound, Conflict.
    """
    named = [k for k in keys if k["name"] == which and _state(k) == "good"]
    if len(named) > 1:
        prefixes = ", ".join(key["prefix"] for key in named)
        raise Conflict(f"several keys are named {which!r}: name one by its prefix, {prefixes}")
    if named:
        return named[0]
    for key in keys:
        if which == key["prefix"]:
            return key
    return one_of(keys, which, "good key", "zq key list", lambda k: k["name"])


def _tell(call: Call, made: NewKeyDoc) -> None:
    call.tell(made, made["key"])
    if call.for_people:
        say(f"the key {clean(made['name'])} is shown this once: keep it now", err=True)


def _state(key: KeyDoc) -> str:
    if key["revoked_at"]:
        return "revoked"
    end = key["expires_at"]
    if end and datetime.fromisoformat(end) <= datetime.now(UTC):
        return "expired"
    return "rotated" if key["rotated_to"] else "good"


_COLUMNS = {
    "name": lambda k: clean(k["name"]),
    "prefix": lambda k: k["prefix"],
    "state": _state,
    "roles": lambda k: clean(", ".join(k["roles"])),
    "scopes": lambda k: "(all)" if k["scopes"] is None else ", ".join(k["scopes"]),
    "expires": lambda k: moment(k["expires_at"]) or "never",
    "used": lambda k: ago(k["used_at"]),
}
