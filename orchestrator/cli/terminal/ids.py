"""Runs, workflows, keys as people name them: by an id, by how it begins, or by `last`."""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator.cli.terminal.output import clean
from orchestrator.client.noun import is_id
from orchestrator.errors import Conflict, NotFound

if TYPE_CHECKING:
    from orchestrator.client.documents import RunDoc
    from orchestrator.client.http import Client

T = TypeVar("T", bound=Mapping[str, Any])
LAST = "last"
WORKFLOW_STATES = ("draft", "published", "archived")
#: Fewer characters are a slip, not an id.
_LEAST = 4
#: As many as are named where several fit.
_SHOWN = 5
#: Hex digits of an id that are the time it was made, in milliseconds.
_DIGITS = 12
#: Times are cut to milliseconds on their way.
_SLACK = timedelta(seconds=1)
#: The last time that the API takes, in milliseconds.
_LATEST_MS = 253_000_000_000_000


def run_of(client: Client, text: str) -> str:
    """Return the id of the run that is meant; NotFound, or Conflict which names those that fit.

    `last` is the newest run that one may see.
    """
    if is_id(text):
        return text
    if text == LAST:
        found = client.runs(limit=1)
        if not found:
            raise NotFound("there is no run yet: `zq run WORKFLOW` starts one")
        return found[0]["id"]
    within = _when_made(text)
    runs: Iterable[RunDoc] = client.every("runs", None, **within) if within else ()
    found_run = one_of(runs, text, "run", "zq runs list", lambda r: r.get("workflow_name", ""))
    return found_run["id"]


def workflow_of(client: Client, text: str) -> str:
    """Return the id of a workflow, by name or id; also of an archived one by how its id begins."""
    if is_id(text):
        return text
    found = client.workflows.find(text)
    if found is not None:
        return found["id"]
    every = client.workflows.list(status=WORKFLOW_STATES) if _may_begin_an_id(text) else ()
    return one_of(every, text, "workflow", "zq workflow list", lambda w: w["name"])["id"]


def one_of(items: Iterable[T], text: str, kind: str, listed: str, name: Any = lambda _: "") -> T:
    """Return the one whose id begins so; NotFound, or Conflict which names those that fit."""
    begin = _bare(text)
    fits = (i for i in items if len(begin) >= _LEAST and _bare(i["id"]).startswith(begin))
    fitting = list(islice(fits, _SHOWN + 1))
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise NotFound(f"there is no {kind} {clean(text)!r}; `{listed}` shows all")
    shown = ", ".join(f"{i['id']} {clean(name(i))}".strip() for i in fitting[:_SHOWN])
    more = ", and more" if len(fitting) > _SHOWN else ""
    raise Conflict(f"several ids begin with {clean(text)}: {shown}{more}")


def _when_made(text: str) -> dict[str, str]:
    """Return between which times a run was made whose id begins so; nothing for what is no id.

    The first half of an id is the time at which it was made.
    """
    from orchestrator.models.runs.event import rfc3339

    if not _may_begin_an_id(text):
        return {}
    digits = _bare(text)[:_DIGITS]
    low, high = (int(digits.ljust(_DIGITS, fill), 16) for fill in "0f")
    if low > _LATEST_MS:
        return {}
    since = datetime.fromtimestamp(low / 1000, UTC)
    until = datetime.fromtimestamp(min(high, _LATEST_MS) / 1000, UTC) + _SLACK
    return {"since": rfc3339(since), "until": rfc3339(until)}


def _may_begin_an_id(text: str) -> bool:
    digits = _bare(text)
    return len(digits) >= _LEAST and not set(digits) - set(string.hexdigits)


def _bare(text: str) -> str:
    return text.replace("-", "").lower()
