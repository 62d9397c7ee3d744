"""`zq quota`: what a tenant may use, and what it does use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from orchestrator.cli.terminal.ids import one_of
from orchestrator.cli.terminal.verbs import Call, verb
from orchestrator.client.noun import is_id
from orchestrator.models.quota import LARGEST, Quota

if TYPE_CHECKING:
    from orchestrator.client.documents import QuotaDoc

_NAMES = [str(name) for name in Quota]
_DEFAULT = "default"


@click.group("quota")
def quota_command() -> None:
    """Look at a tenant's quotas, and set them."""


@verb("list", of=quota_command)
@click.option("--tenant", metavar="ID", help="Of this tenant; else of your own.")
def list_quotas(call: Call, tenant: str | None) -> None:
    """Print every quota with its present use."""
    of = None if tenant is None else _tenant(call, tenant)
    _show(call, call.client.quotas.list(of))


@verb("set", of=quota_command)
@click.argument("tenant", metavar="TENANT_ID")
@click.argument("values", metavar="NAME=VALUE...", nargs=-1, required=True)
def set_quotas(call: Call, tenant: str, values: tuple[str, ...]) -> None:
    """Set quotas of a tenant: NAME=3, NAME=0 for no limit, NAME=default.

    In force within 15 s. What is used already stays, also where it is more.
    """
    wanted = dict(_pair(text) for text in values)
    _show(call, call.client.quotas.set(_tenant(call, tenant), wanted))


def _show(call: Call, found: Sequence[QuotaDoc]) -> None:
    # There are no schedules yet, of which there could be too many.
    shown = [q for q in found if not call.for_people or q["name"] != Quota.SCHEDULES]
    call.show(shown, _COLUMNS)


def _tenant(call: Call, text: str) -> str:
    if is_id(text):
        return text
    tenants = call.client.tenants.list()
    return one_of(tenants, text, "tenant", "zq tenant list", lambda t: t["name"])["id"]


def _pair(text: str) -> tuple[str, int | None]:
    name, _, value = text.partition("=")
    if name not in _NAMES:
        raise click.BadParameter(f"there is no quota {name!r}; known are {', '.join(_NAMES)}")
    if value == _DEFAULT:
        return name, None
    if not (value.isascii() and value.isdigit()) or int(value) > LARGEST:
        raise click.BadParameter(f"{text!r}: write {name}=3, {name}=0 for no limit, or =default")
    return name, int(value)


_COLUMNS = {
    "name": lambda q: q["name"],
    "limit": lambda q: q["limit"] or "-",
    "used": lambda q: q["used"],
    "from": lambda q: "default" if q["default"] else "tenant",
}
