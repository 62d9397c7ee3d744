"""A run's input from the command line: `-i key=value` as the workflow declares it, and files."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import click

from orchestrator.errors import BadRequest, InvalidDefinition

#: Makes the input of what a workflow declares of its inputs: a JSON Schema, or None.
Reading = Callable[[Mapping[str, Any] | None], dict[str, Any]]


def given_input(file: str | None, pairs: Sequence[str]) -> Reading:
    """Return how to read the input in a file (`-`: standard input), with pairs put over it."""
    texts, base = split_pairs(pairs), {}
    if file is not None:
        base = read_document(sys.stdin.read() if file == "-" else _text(file), file)
        if not isinstance(base, dict):
            raise click.BadParameter("the input must be an object", param_hint="--input-file")

    def read(declared: Mapping[str, Any] | None) -> dict[str, Any]:
        known = declared or {}
        return {**base, **{key: read_declared(key, text, known) for key, text in texts.items()}}

    return read


def split_pairs(pairs: Sequence[str]) -> dict[str, str]:
    """Return `key=value` texts by key."""
    found: dict[str, str] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{pair!r} is not key=value", param_hint="-i")
        if key in found:
            raise click.BadParameter(f"{key!r} is given twice", param_hint="-i")
        found[key] = text
    return found


def read_declared(key: str, text: str, declared: Mapping[str, Any]) -> Any:
    """Return an input as its JSON Schema has it: where it may be text, the text as it was typed.

    What fits in no form is the nearest to it: what is wrong is for the server to say.
    """
    schema = (declared.get("properties") or {}).get(key, declared.get("additionalProperties"))
    value = _json_of(text)
    if not isinstance(schema, dict) or value is None:
        return read_value(text)
    fits = _check(schema, declared)
    is_text, is_json = fits(text), fits(value[0])
    if is_text != is_json:
        return text if is_text else value[0]
    types = _types(schema, declared)
    if "string" in types if is_text else types == {"string"}:
        return text
    return read_value(text) if is_text else value[0]


def _check(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Callable[[Any], bool]:
    from orchestrator.models.definitions.json_schema import compiled

    places = {name: root[name] for name in ("$defs", "definitions") if name in root}
    try:
        return compiled({**places, **schema}).is_valid
    except ValueError:
        return lambda _: True


def _types(schema: Mapping[str, Any], root: Mapping[str, Any]) -> set[str]:
    """Return which types a schema names, where it does so itself or where it points to."""
    for _ in range(8):
        place = schema.get("$ref")
        if not isinstance(place, str):
            break
        found: Any = root
        for step in place.removeprefix("#/").split("/"):
            found = found.get(step) if isinstance(found, Mapping) else None
        if not isinstance(found, Mapping):
            break
        schema = found
    types = schema.get("type", ())
    return {types} if isinstance(types, str) else set(types)


def read_value(text: str) -> Any:
    """Return the JSON that a text reads as, else the text.

    A number with more digits than a JSON number keeps stays text; within a list or an object it is
    refused, with what to do.
    """
    from orchestrator.models.strict_json import parse

    found = _json_of(text)
    if found is None:
        return text
    try:
        value = parse(text.encode(), "the value")
        lossy = next(_lossy(text), None)
        if lossy is None:
            return value
        why = f"the number {lossy} has more digits than are kept; write it as text, in quotes"
    except (BadRequest, UnicodeEncodeError) as error:
        why = str(error)
    if isinstance(found[0], list | dict):
        raise click.BadParameter(f"{text[:60]!r}: {why}")
    return text


def _json_of(text: str) -> tuple[Any] | None:
    """Return what a text says as JSON; None for what is none."""
    try:
        return (json.loads(text, parse_constant=_no_constant),)
    except (ValueError, RecursionError):
        return None


def _lossy(text: str) -> Iterator[str]:
    """Yield the numbers of a JSON text that a double does not keep."""
    found: list[str] = []
    json.loads(text, parse_float=found.append)
    return (number for number in found if Decimal(number) != Decimal(repr(float(number))))


def _no_constant(name: str) -> Any:
    """NaN and Infinity are Python's, not JSON's: they stay strings."""
    raise ValueError(name)


def read_document(text: str, name: str) -> Any:
    """Return what a YAML text says, or a JSON one in a `.json` file, which the API's reader reads.

    Dates stay text, as in a definition.
    """
    from orchestrator.models.strict_json import parse
    from orchestrator.services.definitions.yaml_form import load_yaml

    try:
        if name.endswith(".json"):
            return parse(text.encode(), "the file")
        return load_yaml(text)
    except BadRequest as error:
        raise click.BadParameter(f"{name} cannot be read: {error.detail}") from None
    except InvalidDefinition as error:
        why = "; ".join(problem.message for problem in error.problems)
        raise click.BadParameter(f"{name} cannot be read: {why}") from None


def _text(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{file}: {error}", param_hint="--input-file") from None
