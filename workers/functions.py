"""Python functions that a deployment offers to `python` nodes, and what they may raise.

    from workers.functions import Context, Fail, Skip, Wait, function

    @function("reports.total")
    def total(rows: list[dict], context: Context) -> float: ...

Nothing is ever loaded from a definition: only modules and entry points the deployment names.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any, TypeVar, overload

from orchestrator.errors import HandlerError, SettingsError
from orchestrator.process.start_check import refuse_own_modules
from workers.handlers.context import Context

__all__ = ["Context", "Fail", "Registered", "Skip", "Wait", "find", "function", "load_functions"]

GROUP = "zqautonxg.functions"
MAX_WAIT_S = 31_536_000.0
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,199}\Z")
_CODE = re.compile(r"[a-z][a-z0-9_.]{0,63}\Z")
F = TypeVar("F", bound=Callable[..., Any])


class Fail(Exception):
    """Raise it to fail the attempt with a code of your own, which `retry.unless` can name."""

    def __init__(
        self,
        code: str,
        message: str = "",
        *,
        retryable: bool = True,
        retry_after_s: float | None = None,
    ) -> None:
        if not _CODE.match(code):
            raise ValueError(f"{code!r} is no error code: a-z, then a-z 0-9 _ . up to 64")
        super().__init__(message or code)
        self.code = code
        self.message = message or code
        self.retryable = retryable
        #: The next attempt comes no sooner than this.
        self.retry_after_s = retry_after_s


class Skip(Exception):
    """Raise it when there is nothing to do: the task ends as `skipped`."""

    def __init__(self, reason: str = "nothing to do") -> None:
        super().__init__(reason)
        self.reason = reason


class Wait(Exception):
    """Raise it to be called again in `seconds`, with `memo` as `context.resumed`.

    The attempt goes on, and no worker is held meanwhile. The memo is plain JSON.
    """

    def __init__(self, seconds: float, memo: Mapping[str, Any] | None = None) -> None:
        if not 0 <= seconds <= MAX_WAIT_S:
            raise ValueError(f"a Wait lasts 0 to {MAX_WAIT_S:.0f} seconds, not {seconds}")
        super().__init__(f"wait {seconds:g} s")
        self.seconds = float(seconds)
        self.memo = dict(memo or {})


@dataclass(frozen=True, slots=True)
class Registered:
    """A function by its name."""

    name: str
    call: Callable[..., Any]
    signature: inspect.Signature

    @property
    def wants_context(self) -> bool:
        """Whether a parameter is called `context`; it then gets the Context."""
        return "context" in self.signature.parameters


_registered: dict[str, Registered] = {}


@overload
def function(name: F) -> F: ...
@overload
def function(name: str | None = None) -> Callable[[F], F]: ...
def function(name: Any = None) -> Any:
    """Register a function for `python` nodes; without a name it is `module.function`.

    Its arguments come by keyword from the node's `args`, and it returns plain JSON. TypeError at
    once for what cannot work: coroutines, generators, positional-only parameters; ValueError
    when another function has the name.
    """
    if callable(name):
        return _register(name, None)
    return lambda call: _register(call, name)


def _register(call: F, name: str | None) -> F:
    inner = getattr(call, "__name__", type(call).__name__)
    name = name or f"{getattr(call, '__module__', '')}.{inner}"
    if not _NAME.match(name):
        raise ValueError(
            f"{name!r} cannot name a function: give @function a name of A-Z a-z 0-9 _ . : -"
        )
    if inspect.iscoroutinefunction(call) or inspect.isasyncgenfunction(call):
        raise TypeError(f"{name} is `async def`; register a plain function that calls asyncio.run")
    if inspect.isgeneratorfunction(call):
        raise TypeError(f"{name} is a generator; return a list instead of using `yield`")
    signature = inspect.signature(call)
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise TypeError(
                f"{name}: arguments come by keyword; {parameter.name} is positional-only"
            )
    earlier = _registered.get(name)
    if earlier is not None and _origin(earlier.call) != _origin(call):
        raise ValueError(f"{name} is already registered, by {'.'.join(_origin(earlier.call))}")
    _registered[name] = Registered(name, call, signature)
    # `orchestrator.node(function=...)` reads it; what takes no attributes is named by its text.
    with contextlib.suppress(AttributeError, TypeError):
        call.zq_name = name  # type: ignore[attr-defined]
    return call


def _origin(call: Callable[..., Any]) -> tuple[str, str]:
    inner = getattr(call, "__qualname__", None) or repr(call)
    return str(getattr(call, "__module__", "")), inner


def find(name: str) -> Registered:
    """Return a registered function; HandlerError `unknown_function` says what to do."""
    known = _registered.get(name)
    if known is not None:
        return known
    near = difflib.get_close_matches(name, _registered, 3, 0.6)
    meant = f" (did you mean {' or '.join(near)}?)" if near else ""
    raise HandlerError(
        "unknown_function",
        f"no function {name!r} is registered on this worker{meant}; register it with"
        f" @workers.functions.function in a module named in ZQ_WORKER__MODULES, or as an entry"
        f" point of group {GROUP}",
        retryable=False,
    )


def load_functions(modules: str | Iterable[str]) -> None:
    """Import what registers functions: installed entry points, then the named modules.

    `modules` is comma-separated or a list; the working folder is searched last. An entry point
    names a module, or a function that is then registered under the entry point's name.
    SettingsError names what could not be loaded and why; loading twice changes nothing.
    """
    for point in entry_points(group=GROUP):
        loaded = _import(f"entry point {point.name} = {point.value}", point.load)
        if not isinstance(loaded, ModuleType):
            _import(f"entry point {point.name}", _register, loaded, point.name)
    names = modules.split(",") if isinstance(modules, str) else list(modules)
    refuse_own_modules(",".join(names))
    here = os.getcwd()  # noqa: PTH109 (sys.path holds text)
    for name in filter(None, (each.strip() for each in names)):
        if here not in sys.path:
            sys.path.append(here)
        _import(f"ZQ_WORKER__MODULES: {name}", importlib.import_module, name)


def _import(what: str, load: Callable[..., Any], *args: Any) -> Any:
    try:
        return load(*args)
    except (Exception, SystemExit) as error:
        raise SettingsError(f"{what} cannot be loaded: {type(error).__name__}: {error}") from error
