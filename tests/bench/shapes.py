"""The workflows that are measured, as definitions of the API."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

Definition = dict[str, Any]


def definition(
    name: str,
    nodes: Iterable[str | Mapping[str, Any]],
    edges: Iterable[tuple[str, str]],
) -> Definition:
    """Return a definition; a node given by its name alone is a `noop`."""
    full = [{"id": n, "type": "noop"} if isinstance(n, str) else dict(n) for n in nodes]
    return {
        "name": name,
        "nodes": full,
        "edges": [{"id": f"e{i}", "source": a, "target": b} for i, (a, b) in enumerate(edges)],
    }


def calling(id: str, function: str, **args: Any) -> dict[str, Any]:
    """Return a `python` node that calls one of `tests.bench.functions`."""
    return {"id": id, "type": "python", "data": {"config": {"function": function, "args": args}}}


def chain(length: int, function: str = "", **args: Any) -> Definition:
    """Return n0 -> n1 -> ..., of noops or of calls of a function."""
    ids = [f"n{i}" for i in range(length)]
    nodes = [calling(i, function, **args) if function else i for i in ids]
    name = f"chain-{length}-{function or 'noop'}".replace(".", "-")
    return definition(name, nodes, pairwise(ids))


def fan(width: int, function: str = "", **args: Any) -> Definition:
    """Return first -> `width` nodes -> last."""
    middle = [f"m{i}" for i in range(width)]
    nodes = [calling(i, function, **args) if function else i for i in ("first", *middle, "last")]
    edges = [("first", m) for m in middle] + [(m, "last") for m in middle]
    name = f"fan-{width}-{function or 'noop'}".replace(".", "-")
    return definition(name, nodes, edges)


def diamond() -> Definition:
    """Return one node, three that need it, and one that needs these."""
    middle = ("b", "c", "d")
    edges = [("a", m) for m in middle] + [(m, "e") for m in middle]
    return definition("diamond", ("a", *middle, "e"), edges)


def layered(layers: int, width: int, upstreams: int = 2) -> Definition:
    """Return layers in which each node needs its neighbours in the layer before."""
    nodes = [f"l{layer}_{at}" for layer in range(layers) for at in range(width)]
    edges = [
        (f"l{layer - 1}_{(at + shift) % width}", f"l{layer}_{at}")
        for layer in range(1, layers)
        for at in range(width)
        for shift in range(upstreams)
    ]
    return definition(f"layered-{layers}-{width}", nodes, edges)
