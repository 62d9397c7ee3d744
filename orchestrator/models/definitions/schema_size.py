"""How much work a JSON Schema may be: its size with every `$ref` unfolded, its visits of a value.

The validator holds the interpreter while it works, so nothing else could end it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

MAX_SCHEMA_NODES = 5000
MAX_DEPTH = 64
#: Parts of a schema, where a `$ref` counts as what it points to.
MAX_UNFOLDED = 10_000
#: How often a part of a schema may be held against a part of a value.
MAX_VISITS = 1_000_000
#: Below these the value gets smaller, so a schema may come back to itself.
_SMALLER = frozenset(
    "properties patternProperties additionalProperties unevaluatedProperties propertyNames items"
    " prefixItems unevaluatedItems contains".split()
)
#: Below these stand values, not schemas.
_VALUES = frozenset({"const", "enum", "default", "examples"})
_REFS = ("$ref", "$dynamicRef", "$recursiveRef")
_SAME = ("not", "if", "then", "else")
_SAME_LISTS = ("allOf", "anyOf", "oneOf")


class TooComplex(ValueError):
    """A schema, or a value for it, is too much work."""


class References:
    """Finds what the references of one schema point to."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._named: dict[str, Any] | None = None

    def target(self, reference: str) -> Any:
        """What `#`, `#/a/b` or `#name` points to; TooComplex for anything else."""
        if reference in ("#", ""):
            return self._root
        if reference.startswith("#/"):
            found = self._root
            for step in reference[2:].split("/"):
                name = step.replace("~1", "/").replace("~0", "~").replace("%25", "%")
                try:
                    found = found[int(name) if isinstance(found, list) else name]
                except (LookupError, TypeError, ValueError):
                    break
            else:
                return found
        elif self._named is None:
            self._named = dict(_anchors(self._root))
        known = self._named or {}
        if reference not in known:
            inside = "it may only point inside this schema (#, #/... or #NAME)"
            raise TooComplex(f"a $ref to {reference[:80]!r}; {inside}")
        return known[reference]

    def of(self, schema: Mapping[str, Any]) -> Iterator[Any]:
        """What the references of this schema itself point to."""
        for word in _REFS:
            if isinstance(reference := schema.get(word), str):
                yield self.target(reference)


def _anchors(root: Any) -> Iterator[tuple[str, Any]]:
    waiting = [root]
    while waiting:
        item = waiting.pop()
        if isinstance(item, Mapping):
            for word in ("$anchor", "$dynamicAnchor"):
                if isinstance(name := item.get(word), str):
                    yield f"#{name}", item
            if isinstance(name := item.get("$id"), str):
                yield name, item
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item


class _Unfolding:
    def __init__(self, root: Any) -> None:
        self._references = References(root)
        self._sizes: dict[int, int] = {}
        #: How many steps to smaller values led to each schema that is being unfolded.
        self._open: dict[int, int] = {}
        self.recursive = False

    def size(self, item: Any, smaller: int) -> int:
        if not isinstance(item, dict | list):
            return 1
        known = self._sizes.get(id(item))
        if known is not None:
            return known
        if id(item) in self._open:
            if smaller == self._open[id(item)]:
                raise TooComplex("a $ref that leads back to itself with no value getting smaller")
            self.recursive = True
            return 1
        self._open[id(item)] = smaller
        found = 1 + sum(self._parts(item, smaller))
        del self._open[id(item)]
        if found > MAX_UNFOLDED:
            raise TooComplex(f"more than {MAX_UNFOLDED:,} parts, where a $ref counts as its target")
        self._sizes[id(item)] = found
        return found

    def _parts(self, item: dict[str, Any] | list[Any], smaller: int) -> Iterator[int]:
        if isinstance(item, list):
            for inner in item:
                yield self.size(inner, smaller)
            return
        for word, inner in item.items():
            if word in _REFS and isinstance(inner, str):
                yield self.size(self._references.target(inner), smaller)
            elif word in _VALUES:
                yield 1
            else:
                yield self.size(inner, smaller + (word in _SMALLER))


def unfolded(schema: Any) -> tuple[int, bool]:
    """(size, whether it comes back to itself). TooComplex says what is too much, for a person."""
    _as_written(schema)
    unfolding = _Unfolding(schema)
    try:
        return unfolding.size(schema, 0), unfolding.recursive
    except RecursionError:
        raise TooComplex("a chain of $ref that is too long") from None


def _as_written(schema: Any) -> None:
    waiting = [(schema, 0)]
    count = 0
    while waiting:
        item, depth = waiting.pop()
        count += 1
        if depth > MAX_DEPTH:
            raise TooComplex(f"more than {MAX_DEPTH} levels")
        if count > MAX_SCHEMA_NODES:
            raise TooComplex(f"more than {MAX_SCHEMA_NODES} parts")
        if isinstance(item, dict):
            waiting += [(inner, depth + 1) for inner in item.values()]
        elif isinstance(item, list):
            waiting += [(inner, depth + 1) for inner in item]


def too_many_visits(schema: Any, value: Any) -> bool:
    """Whether checking a value would look at more than MAX_VISITS pairs of its parts."""
    references = References(schema)
    waiting: list[tuple[Any, Any]] = [(schema, value)]
    count = 0
    while waiting:
        part, held = waiting.pop()
        if not isinstance(part, Mapping):
            continue
        before = len(waiting)
        waiting += ((inner, held) for inner in _of_the_same(part, references))
        if isinstance(held, dict):
            waiting += _of_fields(part, held)
        elif isinstance(held, list):
            waiting += _of_items(part, held)
        count += 1 + len(waiting) - before
        if count > MAX_VISITS:
            return True
    return False


def _of_the_same(part: Mapping[str, Any], references: References) -> Iterator[Any]:
    yield from references.of(part)
    for word in _SAME_LISTS:
        if isinstance(inner := part.get(word), list):
            yield from inner
    yield from (part[word] for word in _SAME if word in part)
    if isinstance(inner := part.get("dependentSchemas"), Mapping):
        yield from inner.values()


def _of_fields(part: Mapping[str, Any], held: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    if isinstance(named := part.get("properties"), Mapping):
        few, many = sorted((named, held), key=len)
        yield from ((named[name], held[name]) for name in few if name in many)
    for word in ("additionalProperties", "unevaluatedProperties"):
        if isinstance(inner := part.get(word), Mapping):
            yield from ((inner, value) for value in held.values())
    if isinstance(patterns := part.get("patternProperties"), Mapping):
        for inner in patterns.values():
            yield from ((inner, value) for value in held.values())
    if "propertyNames" in part:
        yield from ((part["propertyNames"], name) for name in held)


def _of_items(part: Mapping[str, Any], held: list[Any]) -> Iterator[tuple[Any, Any]]:
    if isinstance(first := part.get("prefixItems"), list):
        yield from zip(first, held, strict=False)
    for word in ("items", "contains", "unevaluatedItems"):
        if isinstance(inner := part.get(word), Mapping):
            yield from ((inner, item) for item in held)
