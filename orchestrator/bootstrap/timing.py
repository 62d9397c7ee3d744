"""How long the record takes, by operation: its ports are wrapped once, whatever answers them."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any, cast

from prometheus_client import Histogram

from orchestrator.ports.fleet import Fleet
from orchestrator.ports.moves import Moves
from orchestrator.ports.reads import Reads
from orchestrator.ports.store import Record

_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5)


def store_seconds() -> Histogram:
    """Return a histogram that is in no registry yet: whoever exports it puts it into one."""
    return Histogram(
        "zq_store_seconds",
        "How long an operation of the record took, failed ones included",
        ["operation"],
        buckets=_BUCKETS_S,
        registry=None,
    )


def timed(store: Record, seconds: Histogram) -> Record:
    """Return the store with every operation of its moves, reads and fleet measured."""
    return cast("Record", _Timed(store, {
        "moves": _port(Moves, store.moves, seconds),
        "reads": _port(Reads, store.reads, seconds),
        "fleet": _port(Fleet, store.fleet, seconds),
    }))  # fmt: skip


class _Timed:
    """Stands in front of something; what is not among its own attributes is the other's."""

    def __init__(self, inner: object, own: dict[str, Any]) -> None:
        self._inner = inner
        self.__dict__.update(own)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def _port(port: type, part: object, seconds: Histogram) -> _Timed:
    names = [name for name, what in vars(port).items() if name[0] != "_" and callable(what)]
    operations = {name: f"{port.__name__.lower()}.{name}" for name in names}
    return _Timed(part, {n: _measured(getattr(part, n), seconds, o) for n, o in operations.items()})


def _measured(work: Callable[..., Any], seconds: Histogram, operation: str) -> Callable[..., Any]:
    # Made with the first call: an operation that this process never does is not exported.
    one: Histogram | None = None

    def call(*arguments: Any, **named: Any) -> Any:
        nonlocal one
        began = perf_counter()
        try:
            return work(*arguments, **named)
        finally:
            one = one or seconds.labels(operation)
            one.observe(perf_counter() - began)

    return call
