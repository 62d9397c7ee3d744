"""How functions of expressions are registered: by name, how many values they take, their price."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, NamedTuple

from orchestrator.models.expressions.meter import Meter, units

MANY = 64


class Price(Enum):
    """What a call costs. No function is without one: a loop calls it a million times."""

    #: As much whatever it is given.
    FIXED = "fixed"
    #: The size of all it is given, and of what it makes.
    READS = "reads"
    #: It gets the meter as its first argument and charges itself.
    OWN = "own"


class Function(NamedTuple):
    call: Callable[[Meter, Sequence[Any]], Any]
    least: int
    most: int


FUNCTIONS: dict[str, Function] = {}

Run = Callable[..., Any]


def function(name: str, price: Price, least: int, most: int | None = None) -> Callable[[Run], Run]:
    """Register a function that takes `least` to `most` values."""

    def register(run: Run) -> Run:
        FUNCTIONS[name] = Function(_priced(run, price), least, least if most is None else most)
        return run

    return register


def _priced(run: Run, price: Price) -> Callable[[Meter, Sequence[Any]], Any]:
    def fixed(meter: Meter, values: Sequence[Any]) -> Any:
        meter.charge(1)
        return run(*values)

    def reads(meter: Meter, values: Sequence[Any]) -> Any:
        meter.charge(1 + sum(map(units, values)))
        made = run(*values)
        meter.made(made)
        return made

    def own(meter: Meter, values: Sequence[Any]) -> Any:
        meter.charge(1)
        return run(meter, *values)

    return {Price.FIXED: fixed, Price.READS: reads, Price.OWN: own}[price]
