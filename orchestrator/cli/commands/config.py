"""`zq config show`: every setting, its value, and where it came from. Secrets stay hidden."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import click

from orchestrator.cli.terminal.verbs import Call, verb
from orchestrator.settings import SECTIONS, Settings, load, names


@click.group("config")
def config_command() -> None:
    """Look at the settings."""


@verb("show", of=config_command, server=False)
@click.option("--origin", is_flag=True, help="Say where each value came from.")
def show_settings(call: Call, origin: bool) -> None:
    """Print every setting by its ZQ_ name."""
    rows = _rows(load(), with_origin=origin)
    columns = {
        "name": lambda row: row["name"],
        "value": lambda row: row["value"],
        **({"origin": lambda row: row["origin"]} if origin else {}),
        "meaning": lambda row: row["meaning"],
    }
    call.show(rows, columns)


def _rows(settings: Settings, *, with_origin: bool) -> list[dict[str, Any]]:
    values: dict[str, Any] = {"ZQ_HOME": str(settings.home), "ZQ_LOG_LEVEL": settings.log_level}
    values["ZQ_ENVIRONMENT"] = settings.environment
    for section in SECTIONS:
        part = getattr(settings, section)
        for f in fields(part):
            value = getattr(part, f.name)
            hidden = "(hidden)" if value and f.metadata["secret"] else value
            values[f"ZQ_{section}__{f.name}".upper()] = hidden
    rows = []
    for name, (meaning, _) in names().items():
        row = {"name": name, "value": values[name], "meaning": meaning}
        if with_origin:
            row["origin"] = settings.origins.get(name, "default")
        rows.append(row)
    return rows
