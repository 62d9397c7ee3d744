"""The worst bodies that the limits of routes let in: as large as may be, of what costs most."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson

from orchestrator.models.strict_json import MAX_VALUES

Document = Mapping[str, Any]
#: What a route without a credential takes, what others do, and those that take definitions.
SIZES = (16 * 1024, 1024 * 1024, 8 * 1024 * 1024)


def repeated(head: bytes, one: bytes, tail: bytes, size: int, values: int = 1) -> bytes:
    """Return a text of some size that repeats a piece with so many values."""
    times = (size - len(head) - len(tail) - 8) // (len(one) + 1)
    times = max(1, min(times, (MAX_VALUES - 16) // (values + 1)))
    return head + b",".join([one] * times) + tail


def of_any_route(fields: list[str], size: int) -> Iterator[tuple[str, bytes]]:
    """Yield bodies that any route may be sent; `fields` are those that it declares."""
    yield "numbers", repeated(b'{"x":[', b"0", b"]}", size)
    yield "objects", repeated(b'{"x":[', b'{"a":0}', b"]}", size, 2)
    unknown = (f'"field{no}":0'.encode() for no in range(min(size // 16, 400_000)))
    yield "unknown fields", b"{" + b",".join(unknown) + b"}"
    share = size // max(1, len(fields)) - 64
    if fields and share > 64:
        for name, head, one, tail in (
            ("lists", b"[", b"0", b"]"), ("objects in fields", b"[", b'{"a":0}', b"]"),
            ("texts", b'"', b"x y", b'"'),
        ):  # fmt: skip
            each = [f'"{f}":'.encode() + repeated(head, one, tail, share, 2) for f in fields]
            yield name, b"{" + b",".join(each) + b"}"


def many(count: int, make: Callable[[int], Document]) -> list[Document]:
    """Return so many things."""
    return [make(no) for no in range(count)]


def layers(width: int, depth: int, upstreams: int) -> dict[str, Any]:
    """Return a valid definition, as large as one may be."""
    nodes = many(width * depth, lambda no: {"id": f"n{no}", "type": "noop"})
    edges = [
        {"source": f"n{layer * width + no}", "target": f"n{(layer + 1) * width + to % width}"}
        for layer in range(depth - 1)
        for no in range(width)
        for to in range(no, no + upstreams)
    ]
    return {"nodes": nodes, "edges": edges}


def doubling(levels: int) -> dict[str, Any]:
    """Return a JSON Schema of some levels that unfolds to two to that power."""
    definitions: dict[str, Any] = {f"d{levels}": {"type": "string"}}
    for level in range(levels):
        inner = {"$ref": f"#/$defs/d{level + 1}"}
        definitions[f"d{level}"] = {"anyOf": [inner, inner]}
    return {"type": "object", "$defs": definitions, "properties": {"x": {"$ref": "#/$defs/d0"}}}


def definitions() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield definitions, right and wrong, that are costly to read."""
    yield "layers", layers(100, 100, 9)
    yield "misspelt types", {"nodes": many(60_000, lambda no: {"id": f"n{no}", "type": "htpp"})}
    yield "misspelt fields", {"nodes": many(60_000, lambda no: {"id": f"n{no}", "tpye": "noop"})}
    yield "one id", {"nodes": many(100_000, lambda no: {"id": "same", "type": "noop"})}
    yield "bad ids", {"nodes": many(60_000, lambda no: {"id": f"-{no}", "type": "noop"})}
    known = many(5_000, lambda no: {"id": f"node_{no}", "type": "noop"})
    lost = many(90_000, lambda no: {"source": f"node_{no}x", "target": f"node-{no}"})
    yield "edges to nowhere", {"nodes": known, "edges": lost}
    ring = many(5_000, lambda no: {"source": f"node_{no}", "target": f"node_{(no + 1) % 5000}"})
    yield "a ring", {"nodes": known, "edges": ring}
    long = " + ".join(["inputs.a"] * 400)
    yield "long expressions", {
        "nodes": many(
            1_500,
            lambda no: {
                "id": f"n{no}", "type": "transform", "data": {"config": {"expression": long}},
            },
        )
    }  # fmt: skip
    misspelt = " + ".join(f"nodes.nod_{no}.output" for no in range(200))
    yield "references to nowhere", {
        "nodes": known
        + many(
            800,
            lambda no: {
                "id": f"t{no}", "type": "transform", "data": {"config": {"expression": misspelt}},
            },
        )
    }  # fmt: skip
    yield "a schema that doubles", {
        "inputs": doubling(24), "nodes": [{"id": "a", "type": "noop"}],
    }  # fmt: skip
    yield (
        "many inputs",
        {
            "inputs": {
                "type": "object",
                "properties": {f"p{no}": {"tpye": 1} for no in range(90_000)},
            },
            "nodes": [{"id": "a", "type": "noop"}],
        },
    )


def as_body(definition: Document, inside: str | None = None) -> bytes:
    """Return a definition as a request sends it, perhaps as a field of the body."""
    whole = {"name": "costly", "edges": [], **definition}
    return orjson.dumps({inside: whole} if inside else whole)
