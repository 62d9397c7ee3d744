"""`zq tenant`: the tenants of an installation, for those who run it."""

from __future__ import annotations

import click

from orchestrator.cli.terminal.output import ago, clean, say
from orchestrator.cli.terminal.times import moment
from orchestrator.cli.terminal.verbs import Call, verb


@click.group("tenant")
def tenant_command() -> None:
    """Make tenants and list them."""


@verb("create", of=tenant_command)
@click.argument("name")
@click.option("--owner", metavar="EMAIL", help="Invite this owner, and print the token.")
def create_tenant(call: Call, name: str, owner: str | None) -> None:
    """Make a tenant and, with --owner, who then invites everybody else there."""
    made = call.client.tenants.create(name)
    told = f"made the tenant {clean(made['name'])}, {made['id']}"
    if owner is None:
        call.tell(made, told)
        return
    invited = call.client.tenants.invite(made["id"], owner)
    call.tell({**made, "invitation": invited}, invited["token"])
    if call.for_people:
        until = moment(invited["expires_at"])
        said = f"the token is for {clean(owner)}, once, until {until}: `zq user accept`"
        say(f"{told}; {said}", err=True)


@verb("list", of=tenant_command)
def list_tenants(call: Call) -> None:
    """Print the tenants, oldest first."""
    call.show(call.client.tenants.list(), _COLUMNS)


_COLUMNS = {
    "name": lambda t: clean(t["name"]),
    "id": lambda t: t["id"],
    "made": lambda t: ago(t["created_at"]),
}
