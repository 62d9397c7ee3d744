"""`zq user`: the people of a tenant, made, invited, changed and removed; the first of them as well.

The first one may be made beside the database, while no API runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.terminal.options import confirm, format_option, server_option, yes_option
from orchestrator.cli.terminal.output import ago, clean, say, show, show_one
from orchestrator.cli.terminal.passwords import asked, password_option
from orchestrator.client.listing import every
from orchestrator.errors import NotFound

if TYPE_CHECKING:
    from orchestrator.client.http import Client

#: May do everything, as the admin key may.
_OWNER = "owner"


@click.group("user")
def user_command() -> None:
    """Make, invite, list, change and remove the people of your tenant."""


@user_command.command("create")
@click.argument("email")
@click.option("--admin", is_flag=True, help="May do all that the admin key may: the role owner.")
@click.option("--role", "roles", multiple=True, metavar="ROLE", help="What the user may do.")
@click.option("--name", default="", help="How the user is called.")
@click.option("--invite", is_flag=True, help="Print a token with which the user sets a password.")
@password_option
@server_option
@format_option
def create_user(
    email: str,
    admin: bool,
    roles: tuple[str, ...],
    name: str,
    invite: bool,
    password_stdin: bool,
    server: str | None,
    shape: str,
) -> int:
    """Make a user, whose password is asked for twice, or read with --password-stdin.

    With --admin it works beside the database too, while no API runs: with the same ZQ_ settings as
    the servers have.
    """
    if invite and password_stdin:
        raise click.UsageError("who is invited sets a password: leave out --password-stdin")
    wanted = [_OWNER] if admin else []
    body: dict[str, Any] = {"email": email, "name": name, "roles": [*wanted, *roles]}
    if not invite:
        body["password"] = asked("password", stdin=password_stdin, twice=True)
    made = _made(body, invite=invite, beside=admin, server=server)
    if invite:
        _tell_token(shape, made)
        return 0
    show_one(shape, made, f"made {clean(made['email'])}: {_roles(made)}")
    if not made["roles"]:
        say("without a role; `zq user change` gives one", err=True)
    return 0


def _made(
    body: dict[str, Any], *, invite: bool, beside: bool, server: str | None
) -> dict[str, Any]:
    from orchestrator.client.discovery import connect
    from orchestrator.client.http import ServerUnreachable

    try:
        with connect(server) as client:
            path = "users/invite" if invite else "users"
            made: dict[str, Any] = client.request("POST", path, json=body).json()
            return made
    except ServerUnreachable:
        if not beside or invite or server is not None:
            raise
    from orchestrator.cli.up.first_user import make_beside

    made = make_beside(body)
    say("no API answers: made beside the database", err=True)
    return made


@user_command.command("list")
@server_option
@format_option
def list_users(server: str | None, shape: str) -> int:
    """Print the users of your tenant, oldest first."""
    from orchestrator.client.discovery import connect

    with connect(server) as client:
        found = every(client, "users")
    show(shape, found, _COLUMNS, empty="no users yet: `zq user create EMAIL --admin` makes one")
    return 0


@user_command.command("change")
@click.argument("who", metavar="EMAIL")
@click.option("--name", help="The new name.")
@click.option("--role", "roles", multiple=True, metavar="ROLE", help="All roles it is to have.")
@click.option("--no-role", is_flag=True, help="It is to have no role.")
@click.option("--enable/--disable", "enabled", default=None, help="Whether it may sign in.")
@server_option
@format_option
def change_user(
    who: str,
    name: str | None,
    roles: tuple[str, ...],
    no_role: bool,
    enabled: bool | None,
    server: str | None,
    shape: str,
) -> int:
    """Change a user. One that loses a role or is disabled is signed out everywhere."""
    from orchestrator.client.discovery import connect

    if roles and no_role:
        raise click.UsageError("either --role or --no-role")
    if (name, enabled) == (None, None) and not roles and not no_role:
        raise click.UsageError("say what to change: --name, --role, --no-role, --disable, --enable")
    with connect(server) as client:
        path = f"users/{user_of(client, who)['id']}"
        answer = client.request("GET", path)
        there = answer.json()
        state = there["state"] if enabled is None else ("active" if enabled else "disabled")
        body = {
            "name": there["name"] if name is None else name,
            "roles": list(roles) if roles or no_role else there["roles"],
            "state": state,
        }
        seen = {"If-Match": answer.headers["ETag"]}
        changed = client.request("PUT", path, json=body, headers=seen).json()
    line = f"{clean(changed['email'])} is {changed['state']}: {_roles(changed)}"
    show_one(shape, changed, line)
    return 0


@user_command.command("reset")
@click.argument("who", metavar="EMAIL")
@server_option
@format_option
def reset_user(who: str, server: str | None, shape: str) -> int:
    """Print a token with which the user sets another password. The present one stays good."""
    from orchestrator.client.discovery import connect

    with connect(server) as client:
        path = f"users/{user_of(client, who)['id']}/reset"
        _tell_token(shape, client.request("POST", path).json())
    return 0


@user_command.command("accept")
@click.option("--stdin", is_flag=True, help="Read the token and the password, a line each.")
@server_option
@format_option
def accept(stdin: bool, server: str | None, shape: str) -> int:
    """Set your password with the token of an invitation or a reset, then `zq login`."""
    from orchestrator.client.discovery import connect

    token = asked("token", stdin=stdin, flag="--stdin").strip()
    password = asked("password", stdin=stdin, twice=True, flag="--stdin")
    with connect(server, key="") as client:
        body = {"token": token, "password": password}
        user = client.request("POST", "auth/accept", json=body).json()
    show_one(shape, user, f"{clean(user['email'])} has a password now: `zq login`")
    return 0


@user_command.command("delete")
@click.argument("who", metavar="EMAIL")
@yes_option
@server_option
@format_option
def delete_user(who: str, yes: bool, server: str | None, shape: str) -> int:
    """Remove a user with its sessions and grants. Keys that it made stay."""
    from orchestrator.client.discovery import connect

    with connect(server) as client:
        user = user_of(client, who)
        confirm(f"Remove the user {clean(user['email'])}?", yes=yes)
        client.request("DELETE", f"users/{user['id']}")
    told = {"id": user["id"], "email": user["email"], "did": "deleted"}
    show_one(shape, told, f"removed {clean(user['email'])}")
    return 0


def user_of(client: Client, who: str) -> dict[str, Any]:
    """Return a user by address or id; NotFound says where all are listed."""
    for user in every(client, "users"):
        if who.strip().lower() in (user["email"], user["id"]):
            return user
    raise NotFound(f"there is no user {who!r}; `zq user list` shows all")


def _tell_token(shape: str, invitation: dict[str, Any]) -> None:
    show_one(shape, invitation, invitation["token"])
    if shape == "table":
        email = clean(invitation["user"]["email"])
        say(f"for {email}, once, until {invitation['expires_at']}: `zq user accept`", err=True)


def _roles(user: dict[str, Any]) -> str:
    return clean(", ".join(user["roles"])) or "no role"


_COLUMNS = {
    "email": lambda u: clean(u["email"]),
    "name": lambda u: clean(u["name"]),
    "roles": _roles,
    "state": lambda u: u["state"] if u["has_password"] else f"{u['state']}, no password",
    "signed in": lambda u: ago(u["signed_in_at"]),
}
