"""`zq key`: keys for machines. A key is printed once, where it is made, and can never be read."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.terminal.options import confirm, format_option, server_option, yes_option
from orchestrator.cli.terminal.output import ago, clean, say, show, show_one
from orchestrator.client.listing import every
from orchestrator.errors import Conflict, NotFound
from orchestrator.models.access.permissions import Permission

if TYPE_CHECKING:
    from orchestrator.client.http import Client

_SPAN = re.compile(r"(\d{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_PERMISSIONS = [str(p) for p in Permission]


@click.group("key")
def key_command() -> None:
    """Make, list, rotate and revoke the keys of your tenant."""


@key_command.command("create")
@click.argument("name")
@click.option("--role", "roles", multiple=True, metavar="ROLE", help="What the key may do.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    metavar="PERMISSION",
    help="Only this permission of its roles, such as runs:start.",
)
@click.option("--expires", metavar="WHEN", help="A time, or how long: 90d, 12h. Else never.")
@server_option
@format_option
def create_key(
    name: str,
    roles: tuple[str, ...],
    scopes: tuple[str, ...],
    expires: str | None,
    server: str | None,
    shape: str,
) -> int:
    """Make a key and print it: once, and nowhere else.

    It may do no more than you may. `KEY=$(zq key create ci --role operator)` keeps it.
    """
    from orchestrator.client.discovery import connect

    unknown = [scope for scope in scopes if scope not in _PERMISSIONS]
    if unknown:
        known = ", ".join(_PERMISSIONS)
        raise click.BadParameter(f"there is no permission {unknown[0]!r}; known are {known}")
    body: dict[str, Any] = {"name": name, "roles": list(roles)}
    body |= {"scopes": list(scopes) or None, "expires_at": expires and _moment(expires)}
    with connect(server) as client:
        made = client.request("POST", "api-keys", json=body).json()
    _tell(shape, made)
    if not roles:
        say("it has no role: it may do what grants on workflows give, and nothing else", err=True)
    return 0


@key_command.command("list")
@server_option
@format_option
def list_keys(server: str | None, shape: str) -> int:
    """Print the keys of your tenant, oldest first, revoked ones too."""
    from orchestrator.client.discovery import connect

    with connect(server) as client:
        found = every(client, "api-keys")
    show(shape, found, _COLUMNS, empty="no keys yet: `zq key create NAME --role ROLE` makes one")
    return 0


@key_command.command("rotate")
@click.argument("which", metavar="NAME")
@click.option(
    "--overlap", default="1d", show_default=True, metavar="SPAN", help="How long both are good."
)
@server_option
@format_option
def rotate_key(which: str, overlap: str, server: str | None, shape: str) -> int:
    """Make the next key with the same rights and print it; the old one works a while longer."""
    from orchestrator.client.discovery import connect

    overlap_s = _span(overlap)
    if overlap_s is None:
        raise click.BadParameter(f"{overlap!r}: write 90s, 12h or 2d")
    with connect(server) as client:
        path = f"api-keys/{key_of(client, which)['id']}/rotate"
        body = {"overlap_s": int(overlap_s.total_seconds())}
        _tell(shape, client.request("POST", path, json=body).json())
    return 0


@key_command.command("revoke")
@click.argument("which", metavar="NAME")
@yes_option
@server_option
@format_option
def revoke_key(which: str, yes: bool, server: str | None, shape: str) -> int:
    """Make a key void. Whoever uses it is refused within seconds, open sockets too."""
    from orchestrator.client.discovery import connect

    with connect(server) as client:
        key = key_of(client, which)
        told = f"{clean(key['name'])} ({key['prefix']})"
        confirm(f"Revoke the key {told}?", yes=yes)
        client.request("DELETE", f"api-keys/{key['id']}")
    done = {"id": key["id"], "name": key["name"], "did": "revoked"}
    show_one(shape, done, f"revoked {told}")
    return 0


def key_of(client: Client, which: str) -> dict[str, Any]:
    """Return a key by id, prefix, or the name that one key in use has; NotFound, Conflict."""
    keys = every(client, "api-keys")
    for key in keys:
        if which in (key["id"], key["prefix"]):
            return key
    named = [k for k in keys if k["name"] == which and _state(k) == "good"]
    if len(named) > 1:
        prefixes = ", ".join(key["prefix"] for key in named)
        raise Conflict(f"several keys are named {which!r}: name one by its prefix, {prefixes}")
    if not named:
        raise NotFound(f"there is no good key {which!r}; `zq key list` shows all")
    return named[0]


def _tell(shape: str, made: dict[str, Any]) -> None:
    show_one(shape, made, made["key"])
    if shape == "table":
        say(f"the key {clean(made['name'])} is shown this once: keep it now", err=True)


def _moment(text: str) -> str:
    from orchestrator.models.runs.event import rfc3339

    span = _span(text)
    try:
        at = datetime.fromisoformat(text) if span is None else datetime.now(UTC) + span
    except (ValueError, OverflowError):
        raise click.BadParameter(f"{text!r}: write a time, or how long: 90d, 12h") from None
    return rfc3339(at.astimezone(UTC))


def _span(text: str) -> timedelta | None:
    found = _SPAN.fullmatch(text)
    return timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else None


def _state(key: dict[str, Any]) -> str:
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
    "expires": lambda k: k["expires_at"] or "never",
    "used": lambda k: ago(k["used_at"]),
}
