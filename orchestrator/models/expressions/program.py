"""Turns a parsed expression into closures and runs them under an allowance.

Every pass of a macro and every item made is charged, so no expression runs for long.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from orchestrator.errors import ExpressionError
from orchestrator.models.expressions import values as v
from orchestrator.models.expressions.functions import FUNCTIONS
from orchestrator.models.expressions.values import kind

#: Items made or looked at by one evaluation.
MAX_STEPS = 2_000_000


class AllowanceSpent(ExpressionError):
    """The expression does too much work; do it in a `python` node, or over less data."""


class Frame:
    """One evaluation: the scope it reads, macro variables, the allowance left."""

    __slots__ = ("left", "local", "scope")

    def __init__(self, scope: Mapping[str, Any], steps: int | None = None) -> None:
        self.scope = scope
        self.local: dict[str, Any] = {}
        self.left = MAX_STEPS if steps is None else steps

    def charge(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            raise AllowanceSpent


Run = Callable[[Frame], Any]
Tree = tuple[Any, ...]


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


def _pick(base: Any, key: Any) -> Any:
    if isinstance(base, Mapping):
        if key in base:
            return base[key]
        has = ", ".join(map(str, list(base)[:12])) or "nothing"
        raise ExpressionError(f"there is no {str(key)[:80]!r}; it has {has}")
    if isinstance(base, list) and v.number(key):
        if key == int(key) and 0 <= key < len(base):
            return base[int(key)]
        raise ExpressionError(f"index {key} is outside a list of {len(base)}")
    raise ExpressionError(f"cannot read {str(key)[:80]!r} of a {kind(base)}")


def _field(base: Tree, name: str) -> Run:
    inner = compile_tree(base)
    return lambda frame: _pick(inner(frame), name)


def _index(base: Tree, key: Tree) -> Run:
    inner, at = compile_tree(base), compile_tree(key)

    def run(frame: Frame) -> Any:
        name = at(frame)
        if isinstance(name, list | dict):
            raise ExpressionError(f"a {kind(name)} cannot be a key")
        return _pick(inner(frame), name)

    return run


def _has(base: Tree, key: Tree) -> Run:
    inner, at = compile_tree(base), compile_tree(key)

    def run(frame: Frame) -> bool:
        holder, name = inner(frame), at(frame)
        if isinstance(holder, list):
            return v.number(name) and 0 <= name < len(holder)
        return isinstance(holder, Mapping) and not isinstance(name, list | dict) and name in holder

    return run


def _list(items: list[Tree]) -> Run:
    parts = [compile_tree(item) for item in items]

    def run(frame: Frame) -> list[Any]:
        frame.charge(len(parts))
        return [part(frame) for part in parts]

    return run


def _map(entries: list[tuple[Tree, Tree]]) -> Run:
    parts = [(compile_tree(key), compile_tree(value)) for key, value in entries]

    def run(frame: Frame) -> dict[Any, Any]:
        frame.charge(len(parts))
        made: dict[Any, Any] = {}
        for key, value in parts:
            name = key(frame)
            if not isinstance(name, str | int):
                raise ExpressionError(f"a {kind(name)} cannot be a key")
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
            total = (
                v.add(frame.charge, total, value) if sign == "+" else plainly[sign](total, value)
            )
        return total

    return run


def _related(frame: Frame, sign: str, a: Any, b: Any) -> bool:
    match sign:
        case "==":
            return v.equal(frame.charge, a, b)
        case "!=":
            return not v.equal(frame.charge, a, b)
        case "<":
            return v.before(a, b)
        case ">":
            return v.before(b, a)
        case "<=":
            return v.before(a, b) or v.equal(frame.charge, a, b)
        case ">=":
            return v.before(b, a) or v.equal(frame.charge, a, b)
    if isinstance(b, Mapping):
        return not isinstance(a, list | dict) and a in b
    if isinstance(b, list):
        frame.charge(len(b))
        return any(v.equal(frame.charge, a, item) for item in b)
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
    parts = [compile_tree(arg) for arg in args]
    function, charged = FUNCTIONS[name].run, FUNCTIONS[name].charged

    def run(frame: Frame) -> Any:
        if name == "now":
            return function(_moment(frame.scope))
        values = [part(frame) for part in parts]
        return function(frame.charge, *values) if charged else function(*values)

    return run


def _moment(scope: Mapping[str, Any]) -> datetime | None:
    moment = scope.get("now")
    return v.timestamp(moment) if isinstance(moment, str | datetime) else None


def _macro(name: str, base: Tree, variable: str, bodies: list[Tree]) -> Run:
    over = compile_tree(base)
    parts = [compile_tree(body) for body in bodies]
    loop = _LOOPS[name]

    def run(frame: Frame) -> Any:
        items = over(frame)
        if not isinstance(items, list | Mapping):
            raise ExpressionError(f"{name}() goes over a list or a map, not {kind(items)}")
        held, had = frame.local.get(variable), variable in frame.local

        def bound(item: Any) -> Frame:
            frame.charge(1)
            frame.local[variable] = item
            return frame

        try:
            return loop(list(items), bound, parts)
        finally:
            if had:
                frame.local[variable] = held
            else:
                frame.local.pop(variable, None)

    return run


Bound = Callable[[Any], Frame]


def _mapped(items: list[Any], bound: Bound, parts: list[Run]) -> list[Any]:
    if len(parts) == 1:
        return [parts[0](bound(item)) for item in items]
    keep, make = parts
    return [make(bound(item)) for item in items if _truth(keep(bound(item)), "map()")]


def _filtered(items: list[Any], bound: Bound, parts: list[Run]) -> list[Any]:
    return [item for item in items if _truth(parts[0](bound(item)), "filter()")]


def _any(items: list[Any], bound: Bound, parts: list[Run], by: bool = True) -> bool:
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


def _all(items: list[Any], bound: Bound, parts: list[Run]) -> bool:
    return _any(items, bound, parts, by=False)


def _one(items: list[Any], bound: Bound, parts: list[Run]) -> bool:
    return len(_filtered(items, bound, parts)) == 1


_LOOPS: dict[str, Callable[[list[Any], Bound, list[Run]], Any]] = {
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
