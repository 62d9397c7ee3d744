"""The moves tables are the one truth: of the models, of Postgres' constraints and of the docs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

import pytest
from sqlalchemy import CheckConstraint, Table

from orchestrator.adapters.postgres import tables
from orchestrator.errors import IllegalMove
from orchestrator.models.runs import run, task
from tests.house.state_machine import PAGE, page

MACHINES = [
    pytest.param(run.RunState, run.MOVES, run.ENDS, run.RunState.QUEUED, id="run"),
    pytest.param(task.TaskState, task.MOVES, task.ENDS, task.TaskState.PENDING, id="task"),
]
Moves = Mapping[StrEnum, frozenset[StrEnum]]


def checked(table: Table, name: str) -> str:
    """Return the text of a CHECK constraint of the metadata."""
    (found,) = [
        str(c.sqltext)
        for c in table.constraints
        if isinstance(c, CheckConstraint) and str(c.name).endswith(f"_{name}")
    ]
    return found


def words(text: str) -> set[str]:
    """Return what is quoted in a piece of SQL."""
    return set(re.findall(r"'(\w+)'", text))


def test_page_is_what_the_tables_say() -> None:
    assert PAGE.read_text() == page(), "run `python -m tests.house.state_machine`"


@pytest.mark.parametrize(("states", "moves", "ends", "first"), MACHINES)
def test_every_state_has_a_row_and_can_be_reached(
    states: type[StrEnum], moves: Moves, ends: frozenset[StrEnum], first: StrEnum
) -> None:
    assert set(moves) == set(states)
    assert {s for s in states if not moves[s]} == ends
    reached, open_ = {first}, [first]
    while open_:
        new = moves[open_.pop()] - reached
        reached |= new
        open_ += new
    assert reached == set(states)


@pytest.mark.parametrize(("states", "moves", "ends", "first"), MACHINES)
def test_every_state_leads_to_an_end(
    states: type[StrEnum], moves: Moves, ends: frozenset[StrEnum], first: StrEnum
) -> None:
    leads = set(ends)
    while more := {s for s in states if s not in leads and moves[s] & leads}:
        leads |= more
    assert leads == set(states)
    assert all(s.ended == (s in ends) for s in states)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("table", "states", "ends"),
    [(tables.runs, run.RunState, run.ENDS), (tables.tasks, task.TaskState, task.ENDS)],
    ids=["runs", "tasks"],
)
def test_constraints_know_the_same_states(
    table: Table, states: type[StrEnum], ends: frozenset[StrEnum]
) -> None:
    assert words(checked(table, "state")) == {str(s) for s in states}
    assert words(checked(table, "finished")) == {str(s) for s in ends}


@pytest.mark.parametrize("machine", [run, task], ids=["run", "task"])
def test_check_move_follows_the_table(machine: object) -> None:
    moves: Moves = machine.MOVES  # type: ignore[attr-defined]
    for was in moves:
        for to in moves:
            if to in moves[was]:
                machine.check_move(was, to)  # type: ignore[attr-defined]
            else:
                with pytest.raises(IllegalMove):
                    machine.check_move(was, to)  # type: ignore[attr-defined]
