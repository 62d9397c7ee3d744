"""`zq variables`: plain values that expressions read as `vars.NAME`, for one environment or all."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import click

from orchestrator.cli.terminal.options import confirm, format_option, server_option, yes_option
from orchestrator.cli.terminal.output import ago, clean, show, show_one
from orchestrator.client.listing import every

_environment_option = click.option(
    "--environment", default="", metavar="NAME", help="Of this environment alone; else of all."
)


@click.group("variables")
def variables_command() -> None:
    """Set, list and remove variables: plain values, not secrets."""


@variables_command.command("list")
@click.option("--environment", metavar="NAME", help="Only those of this environment alone.")
@server_option
@format_option
def list_variables(environment: str | None, server: str | None, shape: str) -> int:
    """Print variables, by name and environment."""
    from orchestrator.client.discovery import connect

    query = {} if environment is None else {"environment": environment}
    columns = {
        "name": lambda v: v["name"],
        "environment": lambda v: v["environment"] or "(all)",
        "value": lambda v: clean(json.dumps(v["value"], ensure_ascii=False))[:80],
        "changed": lambda v: ago(v.get("updated_at")),
        "description": lambda v: clean(v.get("description") or ""),
    }
    with connect(server) as client:
        found = every(client, "variables", **query)
    show(shape, found, columns, empty="no variables yet: `zq variables set NAME VALUE` sets one")
    return 0


@variables_command.command("set")
@click.argument("name")
@click.argument("value")
@_environment_option
@click.option("--description", help="What it is for; else as it was.")
@server_option
@format_option
def set_variable(
    name: str,
    value: str,
    environment: str,
    description: str | None,
    server: str | None,
    shape: str,
) -> int:
    """Set a variable. A value that reads as JSON is that JSON, else it is text."""
    from orchestrator.cli.terminal.inputs import read_value
    from orchestrator.client.discovery import connect

    body: dict[str, Any] = {"value": read_value(value), "environment": environment}
    if description is not None:
        body["description"] = description
    with connect(server) as client:
        saved = client.request("PUT", f"variables/{quote(name, safe='')}", json=body).json()
    told = clean(json.dumps(saved["value"], ensure_ascii=False))
    show_one(shape, saved, f"{clean(saved['name'])} is {told}")
    return 0


@variables_command.command("delete")
@click.argument("name")
@_environment_option
@yes_option
@server_option
@format_option
def delete_variable(name: str, environment: str, yes: bool, server: str | None, shape: str) -> int:
    """Remove a variable; nodes that read it will fail."""
    from orchestrator.client.discovery import connect

    confirm(f"Remove the variable {clean(name)}?", yes=yes)
    params = {"environment": environment} if environment else {}
    with connect(server) as client:
        client.request("DELETE", f"variables/{quote(name, safe='')}", params=params)
    told = {"name": name, "environment": environment, "did": "deleted"}
    show_one(shape, told, f"removed the variable {clean(name)}")
    return 0
