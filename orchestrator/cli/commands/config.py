"""`zq config show`: every setting, its value, and where it came from. Secrets stay hidden."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from itertools import groupby
from typing import Any

import click

from orchestrator.cli.terminal.verbs import Call, verb
from orchestrator.settings import NOT_YET, SECTIONS, Settings, load, names

#: What an installation of one's own sets before anything else.
FIRST = (
    "ZQ_DATABASE__URL", "ZQ_REDIS__URL", "ZQ_AUTH__ADMIN_KEY", "ZQ_AUTH__SECRET_KEY",
    "ZQ_WEB__PORT", "ZQ_WORKER__MODULES",
)  # fmt: skip
_FIRST_GROUP, _GENERAL = "first of all", "general"


@click.group("config")
def config_command() -> None:
    """Look at the settings."""


@verb("show", of=config_command, server=False)
@click.option("--origin", is_flag=True, help="Say where each value came from.")
def show_settings(call: Call, origin: bool) -> None:
    """Print every setting by its ZQ_ name, in groups; first those that matter first."""
    rows = _rows(load(), with_origin=origin)
    columns = {
        "name": lambda row: row["name"],
        "value": lambda row: row["value"],
        **({"origin": lambda row: row["origin"]} if origin else {}),
        "meaning": lambda row: row["meaning"],
    }
    call.show([*_headed(rows)] if call.for_people else rows, columns)


def _rows(settings: Settings, *, with_origin: bool) -> list[dict[str, Any]]:
    values: dict[str, Any] = {"ZQ_HOME": str(settings.home), "ZQ_LOG_LEVEL": settings.log_level}
    values["ZQ_ENVIRONMENT"] = settings.environment
    for section in SECTIONS:
        part = getattr(settings, section)
        for f in fields(part):
            value = getattr(part, f.name)
            hidden = "(hidden)" if value and f.metadata["secret"] else value
            values[f"ZQ_{section}__{f.name}".upper()] = hidden
    known = {name: meaning for name, (meaning, _) in names().items() if name not in NOT_YET}
    rows = []
    for name in dict.fromkeys((*FIRST, *known)):
        row = {"group": _group(name), "name": name, "value": values[name], "meaning": known[name]}
        if with_origin:
            row["origin"] = settings.origins.get(name, "default")
        rows.append(row)
    return rows


def _group(name: str) -> str:
    section, inner, _ = name.removeprefix("ZQ_").partition("__")
    return _FIRST_GROUP if name in FIRST else section.lower() if inner else _GENERAL


def _headed(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the rows with a line above each group, and an empty one between two."""
    for number, (group, inside) in enumerate(groupby(rows, key=lambda row: row["group"])):
        for text in [""] * bool(number) + [f"{group}:"]:
            yield {"name": text, "value": "", "origin": "", "meaning": ""}
        yield from inside
