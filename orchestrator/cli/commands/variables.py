"""`zq variables`: plain values that expressions read as `vars.NAME`, for one environment or all."""

from __future__ import annotations

import click

from orchestrator.cli.terminal.inputs import read_value
from orchestrator.cli.terminal.options import confirm, yes_option
from orchestrator.cli.terminal.output import ago, as_json, clean
from orchestrator.cli.terminal.verbs import Call, verb

_environment_option = click.option(
    "--environment", default="", metavar="NAME", help="Of this environment alone; else of all."
)


@click.group("variables")
def variables_command() -> None:
    """Set, list and remove variables: plain values, not secrets."""


@verb("list", of=variables_command)
@click.option("--environment", metavar="NAME", help="Only those of this environment alone.")
def list_variables(call: Call, environment: str | None) -> None:
    """Print variables, by name and environment."""
    found = call.client.variables.list(environment=environment)
    call.show(found, _COLUMNS, empty="no variables yet: `zq variables set NAME VALUE` sets one")


@verb("set", of=variables_command)
@click.argument("name")
@click.argument("value")
@_environment_option
@click.option("--description", help="What it is for; else as it was.")
def set_variable(
    call: Call, name: str, value: str, environment: str, description: str | None
) -> None:
    """Set a variable. A value that reads as JSON is that JSON, else it is text."""
    saved = call.client.variables.set(
        name, read_value(value), environment=environment, description=description
    )
    call.tell(saved, f"{clean(saved['name'])} is {clean(as_json(saved['value']))}")


@verb("delete", of=variables_command)
@click.argument("name")
@_environment_option
@yes_option
def delete_variable(call: Call, name: str, environment: str, yes: bool) -> None:
    """Remove a variable; nodes that read it will fail."""
    confirm(f"Remove the variable {clean(name)}?", yes=yes)
    call.client.variables.delete(name, environment=environment)
    told = {"name": name, "environment": environment, "did": "deleted"}
    call.tell(told, f"removed the variable {clean(name)}")


_COLUMNS = {
    "name": lambda v: v["name"],
    "environment": lambda v: v["environment"] or "(all)",
    "value": lambda v: clean(as_json(v["value"]))[:80],
    "changed": lambda v: ago(v.get("updated_at")),
    "description": lambda v: clean(v.get("description") or ""),
}
