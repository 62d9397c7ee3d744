"""Registered functions, and the `python` handler that calls them."""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import HandlerError, SettingsError
from orchestrator.models.runs.task import Failure, Skip, Wait
from tests.unit.handler_calls import call, failure_of, value_of
from workers import functions
from workers.functions import Context, Fail, function


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A registry with nothing in it."""
    empty: dict[str, Any] = {}
    monkeypatch.setattr(functions, "_registered", empty)
    return empty


def python(name: str, /, **config: Any) -> Any:
    return call("python", {"function": name, **config})


def test_arguments_come_by_keyword_and_the_return_value_is_the_output() -> None:
    @function("add")
    def add(a: int, b: int = 10) -> dict[str, int]:
        return {"sum": a + b}

    assert value_of(python("add", args={"a": 1})) == {"sum": 11}
    assert add(1, 2) == {"sum": 3}


def test_the_default_name_is_module_and_function(registry: dict[str, Any]) -> None:
    @function
    def one() -> None: ...

    @function()
    def two() -> None: ...

    assert set(registry) == {f"{__name__}.one", f"{__name__}.two"}


def test_context_is_given_to_those_who_name_it() -> None:
    @function("who")
    def who(context: Context, suffix: str = "!") -> str:
        return context.node_id + suffix

    assert value_of(python("who")) == "n!"
    told = failure_of(python("who", args={"context": 1}), "bad_arguments", retryable=False)
    assert "`context` is given by the worker" in told


def test_arguments_that_do_not_fit_are_refused_before_the_call() -> None:
    @function("strict")
    def strict(rows: list[int], title: str = "x") -> None:
        raise AssertionError

    told = failure_of(python("strict", args={"row": 1}), "bad_arguments", retryable=False)
    assert "missing a required argument: 'rows'" in told
    assert "it takes (rows: 'list[int]', title: 'str' = 'x')" in told
    failure_of(python("strict", args=[1]), "bad_arguments", retryable=False)


def test_what_a_function_does_to_its_arguments_stays_there() -> None:
    @function("greedy")
    def greedy(rows: list[int]) -> int:
        return rows.pop()

    args = {"rows": [1, 2]}
    assert [value_of(python("greedy", args=args)) for _ in range(2)] == [2, 2]


def test_an_unknown_function_names_the_near_ones_and_how_to_register() -> None:
    function("reports.chart")(lambda: None)
    told = failure_of(python("reports.chrt"), "unknown_function", retryable=False)
    assert "did you mean reports.chart?" in told
    assert "ZQ_WORKER__MODULES" in told


@pytest.mark.parametrize("how", ["raise", "return"])
def test_skip_fail_and_wait(how: str) -> None:
    @function("tell")
    def tell(what: str) -> Any:
        told = {
            "skip": functions.Skip("nothing new"),
            "wait": functions.Wait(2, {"page": 3}),
            "fail": Fail("no_stock", "sold out", retryable=False, retry_after_s=4),
        }[what]
        if how == "raise":
            raise told
        return told

    assert python("tell", args={"what": "skip"}) == Skip(reason="nothing new")
    assert python("tell", args={"what": "wait"}) == Wait(seconds=2, memo={"page": 3})
    failed = python("tell", args={"what": "fail"})
    assert isinstance(failed, Failure)
    assert failure_of(failed, "no_stock", retryable=False) == "sold out"
    assert failed.retry_after_s == 4


def test_fail_and_wait_refuse_nonsense_where_it_is_written() -> None:
    with pytest.raises(ValueError, match="error code"):
        Fail("No Stock")
    with pytest.raises(ValueError, match="seconds"):
        functions.Wait(-1)
    with pytest.raises(ValueError, match="seconds"):
        functions.Wait(float("nan"))


def test_an_exception_is_a_failure_with_the_functions_frame() -> None:
    @function("broken")
    def broken() -> None:
        raise LookupError("no such row")

    outcome = python("broken")
    failure_of(outcome, "lookup_error", retryable=True)
    assert "in broken" in outcome.error.traceback
    assert 'File "workers/' not in outcome.error.traceback


def test_what_cannot_work_is_refused_at_once() -> None:
    async def coroutine() -> None: ...

    def generator() -> Iterator[int]:
        yield 1

    def positional(a: int, /) -> None: ...

    for call_, told in (
        (coroutine, "asyncio.run"),
        (generator, "return a list"),
        (positional, "positional-only"),
    ):
        with pytest.raises(TypeError, match=told):
            function("x")(call_)
    with pytest.raises(ValueError, match="cannot name"):
        function("no spaces")(print)


def test_a_hidden_coroutine_or_generator_is_a_bad_output() -> None:
    async def coroutine() -> None: ...

    function("hidden")(functools.partial(lambda start: start(), coroutine))
    function("lazy")(lambda: (n for n in (1, 2)))
    function("run")(lambda: asyncio.run(coroutine()))
    assert "asyncio.run" in failure_of(python("hidden"), "bad_output", retryable=False)
    assert "return a list" in failure_of(python("lazy"), "bad_output", retryable=False)
    assert value_of(python("run")) is None


def test_two_functions_cannot_share_a_name_but_one_may_come_twice() -> None:
    def one() -> None: ...

    def two() -> None: ...

    function("shared")(one)
    function("shared")(one)
    with pytest.raises(ValueError, match="already registered"):
        function("shared")(two)


def test_partials_and_callable_objects_can_be_registered() -> None:
    class Adder:
        def __call__(self, a: int) -> int:
            return a + 1

    function("partial")(functools.partial(round, ndigits=1))
    function("object")(Adder())
    assert value_of(python("partial", args={"number": 1.26})) == 1.3
    assert value_of(python("object", args={"a": 1})) == 2


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder as working folder, in which a test writes `zq_test_module.py`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path / "zq_test_module.py"
    sys.modules.pop("zq_test_module", None)


def test_modules_are_loaded_from_the_working_folder(module: Path) -> None:
    module.write_text(
        "from workers.functions import function\n@function\ndef double(n):\n    return 2 * n\n"
    )
    functions.load_functions(" zq_test_module, ,")
    functions.load_functions(["zq_test_module"])
    assert value_of(python("zq_test_module.double", args={"n": 4})) == 8


def test_entry_points_name_a_function_or_a_module(module: Path) -> None:
    module.write_text("def double(n):\n    return 2 * n\n")
    about = module.parent / "zq_test-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: zq-test\nVersion: 1\n")
    (about / "entry_points.txt").write_text(
        "[zqautonxg.functions]\nmaths.double = zq_test_module:double\nmaths = zq_test_module\n"
    )
    sys.path.append(str(module.parent))
    functions.load_functions("")
    assert value_of(python("maths.double", args={"n": 4})) == 8


@pytest.mark.parametrize("source", ["raise OSError('no disk')", "import zq_nothing", "def"])
def test_a_module_that_cannot_be_loaded_is_named(module: Path, source: str) -> None:
    module.write_text(source)
    with pytest.raises(SettingsError, match="ZQ_WORKER__MODULES: zq_test_module"):
        functions.load_functions("zq_test_module")


def test_find_raises_a_handler_error() -> None:
    with pytest.raises(HandlerError):
        functions.find("nothing")
