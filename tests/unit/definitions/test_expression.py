"""CEL: what it means, what it reads, and that no source makes it crash or run for long."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime

import cel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import ExpressionError
from orchestrator.models.expressions import meter
from orchestrator.models.expressions.expression import (
    Reference,
    check,
    evaluate,
    expression_references,
    fill,
    references,
)

SCOPE = {
    "inputs": {"day": "2026-01-31", "n": 5, "none": None},
    "nodes": {
        "fetch": {"output": {"rows": [{"a": 1, "g": "x"}, {"a": 2.5, "g": "y"}], "on": True}},
        "my-node": {"output": 7},
    },
    "run": {"id": "r1"},
    "now": datetime(2026, 1, 31, 8, tzinfo=UTC),
}

#: CEL whose meaning is the specification's: the reference implementation must agree.
SAME_AS_CEL = (
    """
1 + 2 * 3 - 4
-inputs.n % 3
7 % -2
1.5 * 2.0 < 4.0
1 == 1.0
1 < 1.5
'a' + "b" + r'\\d' + '''q'''
"\\u00e9\\n\\x41"
'a' < 'b' && !(true || false)
inputs.n > 3 ? 'big' : 'small'
[1, 2, 3].map(x, x * 2)
[1, 2, 3].map(x, x > 1, x * 2)
[1, 2, 3].filter(x, x % 2 == 1)
[1, 2].exists(x, x == 2) && [1, 2].all(x, x > 0) && [1, 2, 2].exists_one(x, x == 1)
{'a': 1, 'b': [1, {'c': null}]}
{'a': 1}.map(k, k)
[[1], [2]].map(x, x.map(y, y + 1))
nodes["my-node"].output
nodes.fetch.output.rows[0].a
has(nodes.fetch.output.rows) && !has(nodes.fetch.output.zz)
2 in [1, 2] && 'a' in {'a': 1} && !('b' in {'a': 1})
size('he') + size([1, 2]) + size({'a': 1})
'abc'.contains('b') && 'abc'.startsWith('a') && 'abc'.endsWith('c')
'abc'.matches('^a.c$')
int('3') + int(2.9) + int(double('4.5'))
string(12) + string(2.5)
[1] + [2, 3]
[1, 2] == [1.0, 2.0] && {'a': 1} == {'a': 1.0}
true == false || null == null
false && nodes.missing
type(1) == int && type('') == string
0x1F + 1
- -1
// a comment
 1
inputs.none == null
timestamp('2026-01-31T08:00:00Z').getFullYear()
timestamp('2026-01-31T08:00:00Z') + duration('90m') > timestamp('2026-01-31T09:00:00Z')
duration('1h') == duration('60m')
""".replace("// a comment\n", "// a comment\x00")
    .strip()
    .split("\n")
)


@pytest.mark.parametrize("source", SAME_AS_CEL)
def test_means_what_the_reference_implementation_says(source: str) -> None:
    source = source.replace("\x00", "\n")
    scope = {key: value for key, value in SCOPE.items() if key != "now"}
    assert evaluate(source, SCOPE) == cel.evaluate(source, scope)


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("1 + 2.5", 3.5),
        ("inputs.n * 1.5", 7.5),
        ("6 / 2", 3),
        ("7 / 2", 3.5),
        ("int(7 / 2)", 3),
        ("sum(nodes.fetch.output.rows.map(r, r.a))", 3.5),
        ("avg([1, 2])", 1.5),
        ("min(3, 1.5) + max([1, 2])", 3.5),
        ("join(['a', 1, null], '-')", "a-1-null"),
        ("round(2.567, 2)", 2.57),
        ("round(2.4)", 2),
        ("floor(1.5) + ceil(1.5) + abs(-1)", 4),
        ("keys({'a': 1}) + values({'a': 'b'})", ["a", "b"]),
        ("sort([3, 1.5, 2])", [1.5, 2, 3]),
        ("sort(nodes.fetch.output.rows, 'g').map(r, r.g)", ["x", "y"]),
        ("distinct([1, 2, 1])", [1, 2]),
        ("group_by([{'k': 'a'}], 'k')", {"a": [{"k": "a"}]}),
        ("' A,b '.trim().lower().split(',')", ["a", "b"]),
        ("'aXa'.replace('X', '-').upper()", "A-A"),
        ("json({'a': [1]})", '{"a":[1]}'),
        ("parse_json('[1]')", [1]),
        ("get(inputs, 'zz', 3)", 3),
        ("coalesce(inputs.none, 4)", 4),
        ("flatten([[1], 2])", [1, 2]),
        ("merge({'a': 1}, {'a': 2})", {"a": 2}),
        ("range(3)", [0, 1, 2]),
        ("now() - duration('1h')", "2026-01-31T07:00:00Z"),
        ("duration('90s')", "90s"),
        ("true == 1", False),
        ("string(true)", "true"),
        ("size('h\u00e9')", 2),
        ("'{{'", "{{"),
    ],
)
def test_gives_json_values(source: str, value: object) -> None:
    found = evaluate(source, SCOPE)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("nodes.fetch.output.zz", "it has rows, on"),
        ("nodes.my-node.output", 'nodes["my-node"]'),
        ("inpts.day", "did you mean 'inputs'"),
        ("foo(1)", "no function `foo`"),
        ("size()", "takes 1 values"),
        ("'a' + 1", "use string(x)"),
        ("1 / 0", "division by zero"),
        ("double('nan')", "no JSON number"),
        ("9223372036854775807 + 1", "64-bit"),
        ("sum([1, null])", "null_type"),
        ("[1][5]", "outside a list of 1"),
        ("secrets.x", "not known here"),
        ("1 +", "ends too early"),
        ("1 2", "did not expect '2'"),
        ("", "empty"),
        ("2**2", "did not expect '*'"),
        ("nodes.__class__", "there is no '__class__'"),
        ("'a'.__class__", "of a string"),
        ("matches('a', '(')", "pattern"),
        ("timestamp('9999-12-31T23:59:59Z') + duration('1h')", "out of range"),
    ],
)
def test_an_error_names_the_expression_and_the_reason(source: str, reason: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        evaluate(source, SCOPE)
    assert reason in caught.value.detail
    assert caught.value.detail.startswith(f"`{source}`")


TEN = "[1,2,3,4,5,6,7,8,9,10]"


@pytest.mark.parametrize(
    "source",
    [
        "(" * 3000 + "1" + ")" * 3000,
        "[" * 8000,
        "-" * 8000 + "1",
        "!" * 8000 + "true",
        "inputs" + ".a" * 4000,
        "size(" * 1500 + "1" + ")" * 1500,
        "x" * 1_000_000,
        TEN + "".join(f".map(x{n},{TEN}" for n in range(7)) + ")" * 7,
        "[1]" + ".map(a,[a,a,a,a])" * 60,
        "['aaaaaaaaaaaaaaaaaaaaaaaaaaa']" + ".map(a,a+a)" * 60,
        "[range(100000)].map(a,a+a).map(a,a+a).map(a,a+a).map(a,a+a).map(a,a+a) == [1]",
        "range(1000000000)",
        f"{TEN}.exists(x, range(1000000).exists(y, false))",
        "replace(replace('aaaaaaaaaa', 'a', json(range(99999))), '1', json(range(99999)))",
    ],
)
def test_hostile_sources_are_refused_quickly(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "MAX_STEPS", 200_000)
    began = time.monotonic()
    with pytest.raises(ExpressionError):
        evaluate(source, SCOPE)
    assert time.monotonic() - began < 2


def test_the_allowance_itself_is_spent_within_seconds() -> None:
    began = time.monotonic()
    with pytest.raises(ExpressionError, match="too much work"):
        evaluate("range(1000).map(a, range(1000).map(b, range(1000)))", SCOPE)
    assert time.monotonic() - began < 5


def test_patterns_take_linear_time() -> None:
    assert evaluate(f"'{'a' * 5000}b'.matches('(a+)+$')", {}) is False


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="ab1.[](){}'\"\\+-*/%!?:,&|<=> \nxmapinputsnodes", max_size=40))
def test_any_text_is_checked_without_a_crash(source: str) -> None:
    if check(source) is None:
        with contextlib.suppress(ExpressionError):
            evaluate(source, SCOPE)


def refer(*pairs: tuple[str, str | None]) -> frozenset[Reference]:
    return frozenset(Reference(*pair) for pair in pairs)


def test_references_are_what_is_read_and_nothing_else() -> None:
    value = {
        "a": ["{{ nodes.fetch.output.rows.map(nodes, nodes.b) }} {{ 'inputs.no' }}"],
        "b": '{{ nodes["my-node"].output }}{{ run.id }}',
        "c": {"d": "{{ {'k': {'x': inputs.day}} }}"},
        "e": "nodes.not.filled",
        "f": "{{ broken",
    }
    assert references(value) == refer(
        ("nodes", "fetch"), ("nodes", "my-node"), ("run", "id"), ("inputs", "day")
    )
    assert expression_references("size(nodes) + nodes[inputs.n].output") == refer(
        ("nodes", None), ("inputs", "n")
    )


@pytest.mark.parametrize(
    ("value", "filled"),
    [
        ("{{ inputs.n }}", 5),
        (" {{ nodes.fetch.output.on }} ", True),
        ("day={{ inputs.day }}&n={{inputs.n}}", "day=2026-01-31&n=5"),
        ("{{ inputs.none }}!", "null!"),
        ("{{ [1, 'a'] }};", '[1,"a"];'),
        ("{{ '{{' }} x }}", "{{ x }}"),
        ("{{ {'a': {'b': 1}} }}", {"a": {"b": 1}}),
        ({"a": ["{{ inputs.n + 0.5 }}", 1, None]}, {"a": [5.5, 1, None]}),
        ("plain }}", "plain }}"),
    ],
)
def test_fill(value: object, filled: object) -> None:
    assert fill(value, SCOPE) == filled


@pytest.mark.parametrize("value", ["{{ inputs.n", "{{ }}", "a {{ nodes.zz.output }}"])
def test_fill_raises_for_what_it_cannot_fill(value: str) -> None:
    with pytest.raises(ExpressionError):
        fill(value, SCOPE)
