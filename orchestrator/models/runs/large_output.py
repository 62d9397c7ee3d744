"""How an output that is too large for the record is named in its place: by a run and its file.

Only the engine makes such names. What a handler returns in this form is itself kept in a file, so
that no value from outside can ever name one.
"""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

_MARKER = "$artifact"
_NAME = re.compile(r"output-[0-9]+-[0-9]+\.json")


def name_of(task_no: int, attempt: int) -> str:
    """Return the name of the file that an attempt's output is kept in."""
    return f"output-{task_no}-{attempt}.json"


def renumbered(name: str, task_no: int) -> str:
    """Return what a task of another number names this file, in a run that takes it over."""
    return name_of(task_no, int(name.removesuffix(".json").rpartition("-")[2]))


def is_ours(name: str) -> bool:
    """Tell whether a file's name is one of an output's, which no handler may write."""
    return bool(_NAME.fullmatch(name))


def marker(run_id: UUID, name: str) -> dict[str, str]:
    """Return what stands in an output's place."""
    return {_MARKER: f"{run_id}/{name}"}


def is_marker(output: Any) -> bool:
    """Tell whether an output has the form of a name, whoever made it."""
    return isinstance(output, dict) and output.keys() == {_MARKER}


def file_of(run_id: UUID, output: Any) -> str | None:
    """Return the run's file that an output is kept in; None for a value, and for others' files."""
    if not is_marker(output):
        return None
    owner, _, name = str(output[_MARKER]).partition("/")
    return name if owner == str(run_id) and _NAME.fullmatch(name) else None
