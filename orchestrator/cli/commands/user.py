"""`zq user`: the people of a tenant, made, invited, changed and removed; the first of them as well.

The first one may be made beside the database, while no API runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli.terminal.ids import one_of
from orchestrator.cli.terminal.options import confirm, yes_option
from orchestrator.cli.terminal.output import ago, clean, say
from orchestrator.cli.terminal.passwords import asked, password_option
from orchestrator.cli.terminal.times import moment
from orchestrator.cli.terminal.verbs import Call, verb

if TYPE_CHECKING:
    from orchestrator.client.documents import InvitationDoc, UserDoc
    from orchestrator.client.http import Client

#: May do everything, as the admin key may.
_OWNER = "owner"


@click.group("user")
def user_command() -> None:
    """Make, invite, list, change and remove the people of your tenant."""


@verb("create", of=user_command)
@click.argument("email")
@click.option("--admin", is_flag=True, help="May do all that the admin key may: the role owner.")
@click.option("--role", "roles", multiple=True, metavar="ROLE", help="What the user may do.")
@click.option("--name", default="", help="How the user is called.")
@click.option("--invite", is_flag=True, help="Print a token with which the user sets a password.")
@password_option
def create_user(
    call: Call,
    email: str,
    admin: bool,
    roles: tuple[str, ...],
    name: str,
    invite: bool,
    password_stdin: bool,
) -> None:
    """Make a user, whose password is asked for twice, or read with --password-stdin.

    With --admin it works beside the database too, while no API runs: with the same ZQ_ settings as
    the servers have.
    """
    if invite and password_stdin:
        raise click.UsageError("who is invited sets a password: leave out --password-stdin")
    held = [*([_OWNER] if admin else []), *roles]
    if invite:
        _tell_token(call, call.client.users.invite(email, name=name, roles=held))
        return
    password = asked("password", stdin=password_stdin, twice=True)
    made = _made(call, email, name, held, password, beside=admin)
    call.tell(made, f"made {clean(made['email'])}: {_roles(made)}")
    if not made["roles"]:
        say("without a role; `zq user change` gives one", err=True)


def _made(
    call: Call, email: str, name: str, roles: list[str], password: str, *, beside: bool
) -> UserDoc:
    from orchestrator.client.errors import ServerUnreachable

    try:
        return call.client.users.create(email, name=name, roles=roles, password=password)
    except ServerUnreachable:
        if not beside or call.server is not None:
            raise
    from orchestrator.cli.up.first_user import make_beside

    made = make_beside({"email": email, "name": name, "roles": roles, "password": password})
    say("no API answers: made beside the database", err=True)
    return made


@verb("list", of=user_command)
def list_users(call: Call) -> None:
    """Print the users of your tenant, oldest first."""
    found = call.client.users.list()
    call.show(found, _COLUMNS, empty="no users yet: `zq user create EMAIL --admin` makes one")


@verb("change", of=user_command)
@click.argument("who", metavar="EMAIL")
@click.option("--name", help="The new name.")
@click.option("--role", "roles", multiple=True, metavar="ROLE", help="All roles it is to have.")
@click.option("--no-role", is_flag=True, help="It is to have no role.")
@click.option("--enable/--disable", "enabled", default=None, help="Whether it may sign in.")
def change_user(
    call: Call,
    who: str,
    name: str | None,
    roles: tuple[str, ...],
    no_role: bool,
    enabled: bool | None,
) -> None:
    """Change a user. One that loses a role or is disabled is signed out everywhere."""
    if roles and no_role:
        raise click.UsageError("either --role or --no-role")
    if (name, enabled) == (None, None) and not roles and not no_role:
        raise click.UsageError("say what to change: --name, --role, --no-role, --disable, --enable")
    changed = call.client.users.change(
        user_of(call.client, who)["id"],
        name=name,
        roles=roles if roles or no_role else None,
        state=None if enabled is None else "active" if enabled else "disabled",
    )
    line = f"{clean(changed['email'])} is {changed['state']}: {_roles(changed)}"
    call.tell(changed, line)


@verb("reset", of=user_command)
@click.argument("who", metavar="EMAIL")
def reset_user(call: Call, who: str) -> None:
    """Print a token with which the user sets another password. The present one stays good."""
    _tell_token(call, call.client.users.reset(user_of(call.client, who)["id"]))


@verb("accept", of=user_command)
@click.option("--stdin", is_flag=True, help="Read the token and the password, a line each.")
def accept(call: Call, stdin: bool) -> None:
    """Set your password with the token of an invitation or a reset, then `zq login`."""
    from orchestrator.client.discovery import connect

    token = asked("token", stdin=stdin, flag="--stdin").strip()
    password = asked("password", stdin=stdin, twice=True, flag="--stdin")
    with connect(call.server, key="") as client:
        user = client.account.accept(token, password)
    call.tell(user, f"{clean(user['email'])} has a password now: `zq login`")


@verb("delete", of=user_command)
@click.argument("who", metavar="EMAIL")
@yes_option
def delete_user(call: Call, who: str, yes: bool) -> None:
    """Remove a user with its sessions and grants. Keys that it made stay."""
    user = user_of(call.client, who)
    confirm(f"Remove the user {clean(user['email'])}?", yes=yes)
    call.client.users.delete(user["id"])
    told = {"id": user["id"], "email": user["email"], "did": "deleted"}
    call.tell(told, f"removed {clean(user['email'])}")


def user_of(client: Client, who: str) -> UserDoc:
    """Return a user by address, or by how its id begins; NotFound says where all are listed."""
    users = client.users.list()
    for user in users:
        if who.strip().lower() == user["email"]:
            return user
    return one_of(users, who.strip(), "user", "zq user list", lambda u: u["email"])


def _tell_token(call: Call, invitation: InvitationDoc) -> None:
    call.tell(invitation, invitation["token"])
    if call.for_people:
        email, until = clean(invitation["user"]["email"]), moment(invitation["expires_at"])
        say(f"for {email}, once, until {until}: `zq user accept`", err=True)


def _roles(user: UserDoc) -> str:
    return clean(", ".join(user["roles"])) or "no role"


_COLUMNS = {
    "email": lambda u: clean(u["email"]),
    "name": lambda u: clean(u["name"]),
    "roles": _roles,
    "state": lambda u: u["state"] if u["has_password"] else f"{u['state']}, no password",
    "signed in": lambda u: ago(u["signed_in_at"]),
}
