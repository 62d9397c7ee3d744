"""`zq tenant`: the tenants of an installation, for those who run it."""

from __future__ import annotations

import click

from orchestrator.cli.terminal.options import format_option, server_option
from orchestrator.cli.terminal.output import ago, clean, say, show, show_one
from orchestrator.client.listing import every


@click.group("tenant")
def tenant_command() -> None:
    """Make tenants and list them."""


@tenant_command.command("create")
@click.argument("name")
@click.option("--owner", metavar="EMAIL", help="Invite this owner, and print the token.")
@server_option
@format_option
def create_tenant(name: str, owner: str | None, server: str | None, shape: str) -> int:
    """Make a tenant and, with --owner, who then invites everybody else there."""
    from orchestrator.client.discovery import connect

    with connect(server) as client:
        made = client.request("POST", "tenants", json={"name": name}).json()
        if owner is None:
            show_one(shape, made, f"made the tenant {clean(made['name'])}, {made['id']}")
            return 0
        path = f"tenants/{made['id']}/invite"
        invited = client.request("POST", path, json={"email": owner}).json()
    show_one(shape, {**made, "invitation": invited}, invited["token"])
    if shape == "table":
        say(
            f"made the tenant {clean(made['name'])}, {made['id']};"
            f" the token is for {clean(owner)}, once, until {invited['expires_at']}:"
            " `zq user accept`",
            err=True,
        )
    return 0


@tenant_command.command("list")
@server_option
@format_option
def list_tenants(server: str | None, shape: str) -> int:
    """Print the tenants, oldest first."""
    from orchestrator.client.discovery import connect

    columns = {
        "name": lambda t: clean(t["name"]),
        "id": lambda t: t["id"],
        "made": lambda t: ago(t["created_at"]),
    }
    with connect(server) as client:
        show(shape, every(client, "tenants"), columns)
    return 0
