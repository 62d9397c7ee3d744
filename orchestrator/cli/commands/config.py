"""`zq config show`: every setting, its value, and where it came from. Secrets stay hidden."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import click

from orchestrator.cli.terminal.options import format_option
from orchestrator.cli.terminal.output import show
from orchestrator.settings import SECTIONS, Settings, load, names


@click.group("config")
def config_command() -> None:
    """Look at the settings."""


@config_command.command("show")
@click.option("--origin", is_flag=True, help="Say where each value came from.")
@format_option
def show_settings(origin: bool, shape: str) -> int:
    """Print every setting by its ZQ_ name."""
    rows = _rows(load(), with_origin=origin)
    columns = {
        "name": lambda row: row["name"],
        "value": lambda row: row["value"],
        **({"origin": lambda row: row["origin"]} if origin else {}),
        "meaning": lambda row: row["meaning"],
    }
    show(shape, rows, columns)
    return 0


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
