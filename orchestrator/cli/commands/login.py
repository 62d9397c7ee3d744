"""`zq login` and `zq logout`: act as a person, or with an API key, in the verbs that follow."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from orchestrator.cli.terminal.output import clean, warn
from orchestrator.cli.terminal.passwords import NoPassword, asked, password_option
from orchestrator.cli.terminal.verbs import Call, verb
from orchestrator.errors import ZQError

if TYPE_CHECKING:
    from orchestrator.client.sign_in import Login


@verb("login")
@click.option("--email", metavar="ADDRESS", help="Who signs in; else you are asked.")
@password_option
@click.option("--key-stdin", is_flag=True, help="Keep an API key from standard input instead.")
def login_command(call: Call, email: str | None, password_stdin: bool, key_stdin: bool) -> None:
    """Sign in with e-mail and password; later verbs then act as you, at this server.

    What is kept is in $ZQ_HOME/login.json, for your eyes only, and is sent to this server alone.
    ZQ_AUTH__ADMIN_KEY goes before it, where it is set; without either, the admin key in $ZQ_HOME
    counts.
    """
    from orchestrator.client import sign_in
    from orchestrator.settings import load

    if key_stdin and (email or password_stdin):
        raise click.UsageError("a key says by itself who comes: leave out --email and the password")
    settings = load()
    where = _server(call.server)
    login = _by_key(where) if key_stdin else _by_password(where, email, password_stdin)
    sign_in.keep(settings.home, login)
    if settings.auth.admin_key:
        warn("ZQ_AUTH__ADMIN_KEY is set, and goes before this sign-in")
    told = {"server": login.server, "principal": login.who}
    call.tell(told, f"signed in at {login.server} as {clean(login.who)}")


@verb("logout", server=False)
def logout_command(call: Call) -> None:
    """End the session at the server, and forget it here. A key that was kept stays good."""
    from orchestrator.client import sign_in
    from orchestrator.client.http import Client
    from orchestrator.settings import load

    home = load().home
    login = sign_in.load(home)
    if login is None:
        sign_in.forget(home)
        call.tell({"server": None, "did": "nothing"}, "nobody was signed in")
        return
    try:
        with Client(login.server, sign_in.Bearer(home, login)) as client:
            client.account.logout()
    except ZQError as error:
        warn(f"the server did not end the session: {clean(error.detail)}")
    sign_in.forget(home)
    told = {"server": login.server, "did": "signed out"}
    call.tell(told, f"signed out at {login.server}")


def _server(server: str | None) -> str:
    from orchestrator.client.discovery import connect

    with connect(server, key="") as client:
        client.ping()
        return client.server


def _by_password(server: str, email: str | None, stdin: bool) -> Login:
    from orchestrator.client.http import Client
    from orchestrator.client.sign_in import Login

    if email is None:
        if stdin or not sys.stdin.isatty():
            raise NoPassword("say who signs in, with --email")
        email = str(click.prompt("E-mail", err=True))
    password = asked("password", stdin=stdin)
    with Client(server) as client:
        signed = client.account.login(email, password)
    return Login(server=server, who=email, access_token="").renewed(signed)


def _by_key(server: str) -> Login:
    from orchestrator.client.http import Client
    from orchestrator.client.sign_in import Login

    key = asked("key", stdin=not sys.stdin.isatty(), flag="--key-stdin")
    if not (key.isascii() and key.isprintable()):
        raise NoPassword("that is no key: one has printable ASCII characters only")
    with Client(server, key) as client:
        me = client.account.me()
    return Login(server=server, who=str(me["principal"]["name"]), access_token=key)
