"""Turns a parsed expression into closures and runs them under an allowance.

Every pass of a macro, every function and every item made is charged, so none runs for long.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from itertools import islice
from typing import Any

from orchestrator.errors import ExpressionError
from orchestrator.models.expressions import values as v
from orchestrator.models.expressions.functions import FUNCTIONS
from orchestrator.models.expressions.meter import AllowanceSpent, Meter
from orchestrator.models.expressions.times import shown, timestamp
from orchestrator.models.expressions.values import kind


class Frame:
    """One evaluation: the scope it reads, macro variables, the allowance left."""

    __slots__ = ("local", "meter", "scope")

    def __init__(self, scope: Mapping[str, Any], meter: Meter) -> None:
        self.scope = scope
        self.local: dict[str, Any] = {}
        self.meter = meter


Run = Callable[[Frame], Any]
Tree = tuple[Any, ...]
#: So many parts of a macro's body cost a step each time they are evaluated.
PASS_PARTS = 8


def compile_tree(top: Tree) -> Run:
    return _COMPILERS[top[0]](*top[1:])


def _literal(value: Any) -> Run:
    return lambda _frame: value


def _root(name: str) -> Run:
    def run(frame: Frame) -> Any:
        if name not in frame.scope:
            raise ExpressionError(f"`{name}` is not known here")
        return frame.scope[name]

    return run


def _local(name: str) -> Run:
    return lambda frame: frame.local[name]


def _pick(meter: Meter, base: Any, key: Any) -> Any:
    if isinstance(base, Mapping):
        if v.has_key(meter, base, key):
            return base[key]
        has = ", ".join(str(name)[:80] for name in islice(base, 12)) or "nothing"
        raise ExpressionError(f"there is no {str(key)[:80]!r}; it has {has}")
    if isinstance(base, list) and v.number(key):
        if key in range(len(base)):
            return base[int(key)]
        raise ExpressionError(f"index {shown(key)} is outside a list of {len(base)}")
    raise ExpressionError(f"cannot read {str(key)[:80]!r} of a {kind(base)}")


def _field(base: Tree, name: str) -> Run:
    inner = compile_tree(base)
    return lambda frame: _pick(frame.meter, inner(frame), name)


def _index(base: Tree, key: Tree) -> Run:
    inner, at = compile_tree(base), compile_tree(key)

    def run(frame: Frame) -> Any:
        name = at(frame)
        if isinstance(name, list | dict):
            raise ExpressionError(f"a {kind(name)} cannot be a key")
        return _pick(frame.meter, inner(frame), name)

    return run


def _has(base: Tree, key: Tree) -> Run:
    inner, at = compile_tree(base), compile_tree(key)

    def run(frame: Frame) -> bool:
        holder, name = inner(frame), at(frame)
        if isinstance(holder, list):
            return v.number(name) and name in range(len(holder))
        return isinstance(holder, Mapping) and v.has_key(frame.meter, holder, name)

    return run


def _list(items: list[Tree]) -> Run:
    parts = [compile_tree(item) for item in items]

    def run(frame: Frame) -> list[Any]:
        frame.meter.make_list(len(parts))
        return [part(frame) for part in parts]

    return run


def _map(entries: list[tuple[Tree, Tree]]) -> Run:
    parts = [(compile_tree(key), compile_tree(value)) for key, value in entries]

    def run(frame: Frame) -> dict[Any, Any]:
        frame.meter.make_map(len(parts))
        made: dict[Any, Any] = {}
        for key, value in parts:
            name = key(frame)
            if not isinstance(name, str | int):
                raise ExpressionError(f"a {kind(name)} cannot be a key")
            if name in made:
                raise ExpressionError(f"a map has the key {shown(name)} twice; keep one")
            made[name] = value(frame)
        return made

    return run


def _truth(value: Any, where: str) -> bool:
    if isinstance(value, bool):
        return value
    raise ExpressionError(f"{where} needs true or false, not {kind(value)}")


def _not(inner: Tree, count: int) -> Run:
    run = compile_tree(inner)
    odd = count % 2 == 1
    return lambda frame: _truth(run(frame), "`!`") != odd


def _neg(inner: Tree, count: int) -> Run:
    run = compile_tree(inner)
    sign = (-1) ** count
    return lambda frame: v.multiply(run(frame), sign)


def _cond(test: Tree, yes: Tree, no: Tree) -> Run:
    decide, then, other = compile_tree(test), compile_tree(yes), compile_tree(no)
    return lambda frame: (then if _truth(decide(frame), "`? :`") else other)(frame)


def _decided(parts: list[Run], frame: Frame, by: bool, sign: str) -> bool:
    """CEL's rule: an operand that decides wins over one that fails, in either order."""
    failed: ExpressionError | None = None
    for part in parts:
        try:
            if _truth(part(frame), sign) is by:
                return by
        except AllowanceSpent:
            raise
        except ExpressionError as error:
            failed = failed or error
    if failed:
        raise failed
    return not by


def _logic(by: bool, sign: str) -> Callable[..., Run]:
    def build(first: Tree, rest: list[tuple[str, Tree]]) -> Run:
        parts = [compile_tree(first), *(compile_tree(item) for _, item in rest)]
        return lambda frame: _decided(parts, frame, by, sign)

    return build


def _arith(first: Tree, rest: list[tuple[str, Tree]]) -> Run:
    start = compile_tree(first)
    parts = [(sign, compile_tree(item)) for sign, item in rest]
    plainly = {"-": v.subtract, "*": v.multiply, "/": v.divide, "%": v.remainder}

    def run(frame: Frame) -> Any:
        total = start(frame)
        for sign, part in parts:
            value = part(frame)
            total = v.add(frame.meter, total, value) if sign == "+" else plainly[sign](total, value)
        return total

    return run


def _related(frame: Frame, sign: str, a: Any, b: Any) -> bool:
    match sign:
        case "==":
            return v.equal(frame.meter, a, b)
        case "!=":
            return not v.equal(frame.meter, a, b)
        case "<":
            return v.before(frame.meter, a, b)
        case ">":
            return v.before(frame.meter, b, a)
        case "<=":
            return v.before(frame.meter, a, b) or v.equal(frame.meter, a, b)
        case ">=":
            return v.before(frame.meter, b, a) or v.equal(frame.meter, a, b)
    if isinstance(b, Mapping):
        return v.has_key(frame.meter, b, a)
    if isinstance(b, list):
        return v.among(frame.meter, a, b)
    raise ExpressionError(f"`in` needs a list or a map, not {kind(b)}")


def _compare(first: Tree, rest: list[tuple[str, Tree]]) -> Run:
    start = compile_tree(first)
    parts = [(sign, compile_tree(item)) for sign, item in rest]

    def run(frame: Frame) -> Any:
        value = start(frame)
        for sign, part in parts:
            value = _related(frame, sign, value, part(frame))
        return value

    return run


def _call(name: str, args: list[Tree]) -> Run:
    call = FUNCTIONS[name].call
    if name == "now":
        return lambda frame: call(frame.meter, [_moment(frame.scope)])
    parts = [compile_tree(arg) for arg in args]
    if len(parts) == 1:
        (only,) = parts
        return lambda frame: call(frame.meter, [only(frame)])
    return lambda frame: call(frame.meter, [part(frame) for part in parts])


def _moment(scope: Mapping[str, Any]) -> datetime | None:
    moment = scope.get("now")
    return timestamp(moment) if isinstance(moment, str | datetime) else None


def _macro(name: str, base: Tree, variable: str, bodies: list[Tree]) -> Run:
    over = compile_tree(base)
    parts = [compile_tree(body) for body in bodies]
    loop = _LOOPS[name]
    # What a pass costs: a long body is as much work as many short ones.
    steps = 1 + sum(map(_size, bodies)) // PASS_PARTS

    def run(frame: Frame) -> Any:
        items = over(frame)
        if not isinstance(items, list | Mapping):
            raise ExpressionError(f"{name}() goes over a list or a map, not {kind(items)}")
        charge = frame.meter.charge
        held, had = frame.local.get(variable), variable in frame.local

        def bound(item: Any) -> Frame:
            charge(steps)
            frame.local[variable] = item
            return frame

        try:
            return loop(items, bound, parts)
        finally:
            if had:
                frame.local[variable] = held
            else:
                frame.local.pop(variable, None)

    return run


def _size(tree: Any) -> int:
    """The parts of a tree, of which a pass evaluates each once at most."""
    if isinstance(tree, list | tuple):
        return sum(map(_size, tree)) + isinstance(tree, tuple)
    return 0


Bound = Callable[[Any], Frame]
Items = list[Any] | Mapping[Any, Any]


def _mapped(items: Items, bound: Bound, parts: list[Run]) -> list[Any]:
    if len(parts) == 1:
        return [parts[0](bound(item)) for item in items]
    keep, make = parts
    return [make(bound(item)) for item in items if _truth(keep(bound(item)), "map()")]


def _filtered(items: Items, bound: Bound, parts: list[Run]) -> list[Any]:
    return [item for item in items if _truth(parts[0](bound(item)), "filter()")]


def _any(items: Items, bound: Bound, parts: list[Run], by: bool = True) -> bool:
    failed: ExpressionError | None = None
    for item in items:
        try:
            if _truth(parts[0](bound(item)), "exists()" if by else "all()") is by:
                return by
        except AllowanceSpent:
            raise
        except ExpressionError as error:
            failed = failed or error
    if failed:
        raise failed
    return not by


def _all(items: Items, bound: Bound, parts: list[Run]) -> bool:
    return _any(items, bound, parts, by=False)


def _one(items: Items, bound: Bound, parts: list[Run]) -> bool:
    return len(_filtered(items, bound, parts)) == 1


_LOOPS: dict[str, Callable[[Items, Bound, list[Run]], Any]] = {
    "map": _mapped,
    "filter": _filtered,
    "exists": _any,
    "all": _all,
    "exists_one": _one,
}
_COMPILERS: dict[str, Callable[..., Run]] = {
    "lit": _literal,
    "root": _root,
    "local": _local,
    "field": _field,
    "index": _index,
    "has": _has,
    "list": _list,
    "map": _map,
    "not": _not,
    "neg": _neg,
    "cond": _cond,
    "and": _logic(False, "`&&`"),
    "or": _logic(True, "`||`"),
    "arith": _arith,
    "compare": _compare,
    "call": _call,
    "macro": _macro,
}
