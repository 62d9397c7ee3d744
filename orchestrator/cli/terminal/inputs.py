"""A run's input from the command line: `-i key=value`, and files."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from orchestrator.errors import InvalidDefinition


def read_pairs(pairs: Sequence[str]) -> dict[str, Any]:
    """Return `key=value` texts as an object; a value that reads as JSON is it, else a string.

    `n=5` is a number, `n="5"` a string; what fits is for the server to say.
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{pair!r} is not key=value", param_hint="-i")
        if key in found:
            raise click.BadParameter(f"{key!r} is given twice", param_hint="-i")
        found[key] = read_value(text)
    return found


def read_input(file: str | None, pairs: Sequence[str]) -> dict[str, Any]:
    """Return the input in a file (`-`: standard input), with pairs put over it."""
    base: Mapping[str, Any] = {}
    if file is not None:
        read = read_document(sys.stdin.read() if file == "-" else Path(file).read_text(), file)
        if not isinstance(read, dict):
            raise click.BadParameter("the input must be an object", param_hint="--input-file")
        base = read
    return {**base, **read_pairs(pairs)}


def read_document(text: str, name: str) -> Any:
    """Return what a YAML or JSON text says; dates stay text, as in a definition."""
    from orchestrator.services.definitions.yaml_form import load_yaml

    try:
        return load_yaml(text)
    except InvalidDefinition as error:
        why = "; ".join(problem.message for problem in error.problems)
        raise click.BadParameter(f"{name} cannot be read: {why}") from None


def read_value(text: str) -> Any:
    """Return the JSON that a text reads as, else the text."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except ValueError:
        return text


def _no_constant(name: str) -> Any:
    """NaN and Infinity are Python's, not JSON's: they stay strings."""
    raise ValueError(name)
