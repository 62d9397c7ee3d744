"""Rows X1 to X3 and X6: expressions and templates that reach for more than their run's data."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.attack.stack import CANARY, Stack, refused

#: A hostile expression may take this long, seconds, all in all: its run, on a machine with company.
QUICK_S = 8.0

TEMPLATES = {
    "arithmetic": ("{{7*7}}", 49),
    "in a text": ("<{{ 7*7 }}>", "<49>"),
    "another language": ("${7*7} #{7*7} <%= 7*7 %> [[7*7]]", "${7*7} #{7*7} <%= 7*7 %> [[7*7]]"),
    "a statement": ("{% include '/etc/passwd' %}", "{% include '/etc/passwd' %}"),
}
REACHING = (
    "''.__class__.__mro__", "''.__class__", "lipsum.__globals__", "cycler.__init__.__globals__",
    "self", "config", "request", "()|attr('__class__')", "'{0.__class__}'.format('')",
    "'%s'.format_map(inputs)", "__import__('os').environ", "os.environ", "environ", "env.HOME",
    "inputs.__class__", "inputs['__class__']", "run.__init__", "nodes.__dict__", "now.__class__",
    "type(inputs).mro()", "getattr(inputs, 'x')", "open('/etc/passwd')", "eval('1')", "exec('1')",
    "globals()", "locals()", "vars()", "dir()", "lambda: 1", "(x := 1)", "[x for x in [1]]",
    "f'{inputs.__class__}'", "(i for i in [1]).gi_frame.f_back", "`id`", "$(id)", "import os",
    "().__class__.__bases__[0].__subclasses__()", "print(inputs)", "java.lang.Runtime",
    "constructor.constructor('return process')()", "process.env", "this.constructor",
)  # fmt: skip
BOMBS = {
    "a power of powers": "2 ** 2 ** 100",
    "a long text": "'a' * 1000000000",
    "a range": "range(1000000000)",
    "parentheses": "(" * 20_000 + "1" + ")" * 20_000,
    "minus signs": "-" * 50_000 + "1",
    "not signs": "!" * 50_000 + "true",
    "lists in lists": "[" * 20_000 + "]" * 20_000,
    "choices": "true ? " * 5_000 + "1" + " : 2" * 5_000,
    "a megabyte": "1" + " + 1" * 250_000,
    "a long name": "inputs." + "a" * 1_000_000,
    "dots": "inputs" + ".a" * 20_000,
    "commas": "[" + "1," * 300_000 + "1]",
}
#: A list of ten that is folded into itself: each level multiplies the work by ten.
DIGITS = "[0,1,2,3,4,5,6,7,8,9]"
NESTED = {
    "maps in maps": "X.map(a, X.map(b, X.map(c, X.map(d, X.map(e, X.map(f, X.map(g, a + g)))))))",
    "all in all": "X.all(a, X.all(b, X.all(c, X.all(d, X.all(e, X.all(f, X.all(g, a < 99)))))))",
    "exists": "X.exists(a, X.exists(b, X.exists(c, X.exists(d, X.exists(e, X.exists(f, a > 9))))))",
    "texts in texts": "X.map(a, X.map(b, X.map(c, X.map(d, X.map(e, X.map(f, 'aaaaaaaaaa'))))))",
    "sums of maps": "sum(X.map(a, sum(X.map(b, sum(X.map(c, sum(X.map(d, sum(X.map(e, sum(X.map(f,"
    " sum(X.map(g, g))))))))))))))",
}
REGEXES = (
    "'{a}!'.matches('(a+)+$')", "'{a}!'.matches('(a|aa)+$')", "'{a}!'.matches('(.*a){{12}}$')",
    "'{a}'.matches('(a?){{40}}a{{40}}')", "'{a}!'.matches('^(([a-z])+.)+[A-Z]([a-z])+$')",
    "'{a}'.matches('(((((a{{1000}}){{1000}}){{1000}}){{1000}}){{1000}})')",
    "'{a}'.matches('[')", "'{a}'.matches('(?P<x>a)(?P=x)')",
)  # fmt: skip


def transform(stack: Stack, text: str) -> tuple[int, Any, float]:
    """Return how a run of one expression ended: status, the run or the problem, and seconds."""
    definition = {
        "name": f"x {time.monotonic_ns()}",
        "nodes": [
            {"id": "a", "type": "transform", "data": {
                "config": {"expression": text}, "timeout_s": 4, "retry": {"max_attempts": 1}}},
        ],
    }  # fmt: skip
    began = time.monotonic()
    answer = stack.http.post("/workflows/execute?wait=20", json={"definition": definition})
    took_s = time.monotonic() - began
    assert CANARY not in answer.text
    if answer.status_code != 202:
        return answer.status_code, refused(answer, 400, 413, 422), took_s
    return 202, answer.json(), took_s


@pytest.mark.parametrize("name", TEMPLATES)
def test_x1_a_template_is_cel_between_braces_and_nothing_else(name: str, stack: Stack) -> None:
    text, value = TEMPLATES[name]
    answer = stack.http.post("/expressions/preview", json={"template": text, "scope": {}})
    if value is None:
        refused(answer, 422)
    else:
        assert answer.status_code == 200, answer.text
        assert answer.json()["value"] == value


@pytest.mark.parametrize("text", REACHING)
def test_x1_and_x3_nothing_but_the_runs_data_can_be_reached(text: str, stack: Stack) -> None:
    status, told, took_s = transform(stack, text)
    if status == 202:
        assert told["state"] == "failed", told
        assert stack.task(told, "a")["error"]["code"] == "expression_error"
    assert took_s < QUICK_S
    for word in ("<class", "object at 0x", "root:x:0", "PATH"):
        assert word not in str(told)


@pytest.mark.parametrize("name", BOMBS)
def test_x2_and_x3_an_expression_that_swells_is_refused(name: str, stack: Stack) -> None:
    status, told, took_s = transform(stack, BOMBS[name])
    assert took_s < QUICK_S
    if status == 202:
        assert told["state"] in {"failed", "timed_out"}, told


@pytest.mark.parametrize("name", NESTED)
def test_x2_an_expression_that_goes_on_is_ended(name: str, stack: Stack) -> None:
    status, told, took_s = transform(stack, NESTED[name].replace("X", DIGITS))
    assert took_s < QUICK_S
    if status == 202:
        assert told["state"] in {"failed", "timed_out"}, told


@pytest.mark.parametrize("text", REGEXES)
def test_x6_a_regular_expression_takes_no_longer_than_its_text(text: str, stack: Stack) -> None:
    status, told, took_s = transform(stack, text.format(a="a" * 5_000))
    assert took_s < QUICK_S
    if status == 202:
        assert told["state"] in {"succeeded", "failed"}, told
