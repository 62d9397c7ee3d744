"""No function, operator or macro is without a price: steps say how long an evaluation takes."""

from __future__ import annotations

import time

import pytest

from orchestrator.errors import ExpressionError
from orchestrator.models.expressions.expression import evaluate
from orchestrator.models.expressions.functions import FUNCTIONS
from orchestrator.models.expressions.meter import MAX_STEPS, AllowanceSpent, Meter
from orchestrator.models.expressions.program import Frame, compile_tree
from orchestrator.models.expressions.syntax import parse

#: Most take below 1; the machine may be busy.
MOST_US = 6.0
TEXT = "ab, " * 250_000
LISTED = [[no, str(no)] for no in range(50_000)]
SCOPE = {
    "inputs": {
        "t": TEXT,
        "same": "ab, " * 250_000,
        "n": list(range(100_000)),
        "texts": ["x" * 100 + str(no) for no in range(20_000)],
        "rows": [{"k": f"k{no % 100}", "v": no} for no in range(50_000)],
        "l": LISTED,
        "m": {f"key{no}": no for no in range(50_000)},
        "json": "[" + ",".join(f'{{"a": {no}}}' for no in range(20_000)) + "]",
        "mixed": [True, False] * 20_000,
        "deep": [[[[no]]] for no in range(20_000)],
    }
}
#: Called in a loop, each with values as large as it takes.
CALLS = {
    "size": ["inputs.t"], "sum": ["inputs.n"], "avg": ["inputs.n"],
    "min": ["inputs.texts"], "max": ["inputs.n"], "round": ["2.5"], "floor": ["2.5"],
    "ceil": ["2.5"], "abs": ["-1"], "keys": ["inputs.m"], "values": ["inputs.m"],
    "items": ["inputs.m"], "merge": ["inputs.m, inputs.m"],
    "sort": ["inputs.n", "inputs.texts", "inputs.mixed", "inputs.rows, 'k'"],
    "reverse": ["inputs.n"], "distinct": ["inputs.rows", "inputs.deep"],
    "flatten": ["inputs.l"], "group_by": ["inputs.rows, 'k'"], "range": ["100000"],
    "slice": ["inputs.n, 1", "inputs.t, 1"], "substring": ["inputs.t, 1"],
    "get": ["inputs.m, 'key1'", "inputs.n, 5"], "coalesce": ["inputs.m, 1"],
    "int": ["'123456'"], "double": ["'1.5'"], "bool": ["'true'"], "type": ["inputs.m"],
    "dyn": ["inputs.m"], "join": ["inputs.texts, '-'", "inputs.n, ''"],
    "lower": ["inputs.t"], "upper": ["inputs.t"], "lowerAscii": ["inputs.t"],
    "upperAscii": ["inputs.t"], "trim": ["inputs.t"],
    "split": ["inputs.t, ','", "inputs.t, ''"], "replace": ["inputs.t, 'a', 'b'"],
    "contains": ["inputs.t, 'zz'", "inputs.texts, 'zz'", "inputs.l, [1]"],
    "startsWith": ["inputs.t, inputs.same"], "endsWith": ["inputs.t, inputs.same"],
    "matches": ["inputs.t, '(a|b|, )*z'", "'x', string(i) + '[a-z]{400}'"],
    "parse_json": ["inputs.json", "inputs.t"], "url_encode": ["inputs.t"],
    "url_query": ["inputs.m", "{'a': inputs.texts}"], "json": ["inputs.l"],
    "string": ["inputs.l"], "now": [""], "timestamp": ["'2026-01-31T08:00:00Z'"],
    "duration": ["'1h30m'"],
}  # fmt: skip
PARTS = ("FullYear Month Date DayOfMonth DayOfWeek DayOfYear Hours Minutes Seconds"
         " Milliseconds").split()  # fmt: skip
for part in PARTS:
    CALLS[f"get{part}"] = ["timestamp('2026-01-31T08:00:00Z'), 'Europe/Oslo'"]
OTHERS = [
    "inputs.t == inputs.same", "inputs.t <= inputs.same", "inputs.t in [inputs.same]",
    "inputs.l == inputs.l", "'zz' in inputs.texts", "inputs.n + inputs.n", "inputs.t + inputs.t",
    "inputs.m == inputs.m", "[inputs.n, inputs.n]", "{'a': inputs.n}",
    "inputs.n.filter(x, x > 5)", "inputs.n.exists(x, x == -1)", "inputs.m.map(k, k)",
    "inputs.nothing == 1", "inputs.m.nothing == 1", "bool(inputs.n)", "timestamp(inputs.m) == 1",
    "inputs.n.map(x, " + " + ".join(["x * 2"] * 400) + ")",
]  # fmt: skip


def microseconds_a_step(source: str, steps: int = 200_000) -> float:
    """Spend an allowance on a loop of a source; an error of a pass does not end the loop."""
    scope = {**SCOPE, "now": "2026-01-31T08:00:00Z"}
    loop = f"range(10000).exists(i, ({source}) == 'never')"
    meter = Meter(steps, time.monotonic() + 60)
    run = compile_tree(parse(loop).top)
    # A pass may cost more than what is left: then nothing of it was done.
    began = time.thread_time()
    try:
        run(Frame(scope, meter))
    except AllowanceSpent:
        pass
    except ExpressionError:
        assert meter.left >= 0
    return (time.thread_time() - began) * 1e6 / (steps - max(0, meter.left))


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_function_costs_what_it_takes(name: str) -> None:
    for values in CALLS[name]:
        found = min(microseconds_a_step(f"{name}({values})") for _ in range(2))
        assert found < MOST_US, (values, found)


@pytest.mark.parametrize("source", OTHERS)
def test_operators_and_macros_cost_what_they_take(source: str) -> None:
    assert min(microseconds_a_step(source) for _ in range(2)) < MOST_US


def test_the_clock_ends_what_the_steps_would_not() -> None:
    began = time.monotonic()
    with pytest.raises(ExpressionError, match="takes too long"):
        evaluate("range(1000).map(a, range(1900).size())", {}, until=time.monotonic() + 0.02)
    assert time.monotonic() - began < 1


def test_what_is_made_is_bounded_in_bytes() -> None:
    scope = {"inputs": {"t": "x" * 1_000_000}}
    with pytest.raises(ExpressionError, match="more than 64 MB"):
        evaluate("range(100).map(i, inputs.t + string(i)).size()", scope)
    assert evaluate("range(20).map(i, inputs.t + string(i)).size()", scope) == 20
    assert len(evaluate(f"range({MAX_STEPS - 100})", {})) == MAX_STEPS - 100
