"""Inputs from the command line: read as the workflow declares them, and nothing is lost of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import pytest

from orchestrator.cli import main
from orchestrator.cli.terminal.inputs import given_input, read_declared, read_value
from orchestrator.client.discovery import connect
from tests.cli.place import Place

CODE = {"$defs": {"code": {"type": "string", "pattern": "^[0-9]{5}$"}}}


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        ({"type": "string"}, "12345", "12345"),
        ({"type": "string"}, "1.10", "1.10"),
        ({"type": "string"}, "true", "true"),
        ({"type": "string"}, "null", "null"),
        ({"type": "string"}, '"quoted"', '"quoted"'),
        ({"type": "string", "pattern": "^x"}, "12345", "12345"),
        ({"type": ["string", "null"]}, "5", "5"),
        ({"$ref": "#/$defs/code"}, "01234", "01234"),
        ({"$ref": "#/$defs/code"}, "12345", "12345"),
        ({"$ref": "#/$defs/code"}, "123", "123"),
        ({"enum": ["1", "2"]}, "1", "1"),
        ({"type": "integer"}, "5", 5),
        ({"type": "integer"}, "five", "five"),
        ({"type": "number"}, "1.10", 1.1),
        ({"type": "boolean"}, "true", True),
        ({"type": "array"}, "[1]", [1]),
        ({"type": "object"}, '{"a": 1}', {"a": 1}),
        ({"type": ["integer", "null"]}, "null", None),
        ({}, "5", 5),
        ({"description": "whatever"}, "true", True),
        ({"pattern": "["}, "5", 5),
    ],
)
def test_an_input_is_what_the_workflow_declares(
    schema: Mapping[str, Any], text: str, value: Any
) -> None:
    found = read_declared("n", text, {**CODE, "properties": {"n": schema}})
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("declared", [{}, {"properties": {}}, {"additionalProperties": False}])
def test_what_is_not_declared_is_json_if_it_reads_as_such(declared: Mapping[str, Any]) -> None:
    assert read_declared("n", "5", declared) == 5
    assert read_declared("n", "five", declared) == "five"
    assert read_declared("n", "5", {"additionalProperties": {"type": "string"}}) == "5"


@pytest.mark.parametrize(
    "text",
    ["12345678901234567890", "-9007199254740993", "0.12345678901234567890", "1e999", "1" * 5000],
)
def test_a_number_that_would_lose_digits_stays_text(text: str) -> None:
    assert read_value(text) == text


@pytest.mark.parametrize("text", ["[12345678901234567890]", '{"a": 0.12345678901234567890}'])
def test_a_list_that_would_lose_digits_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"string|quotes"):
        read_value(text)


@pytest.mark.parametrize(
    ("text", "value"), [("1.10", 1.1), ("1e3", 1000.0), ("-0.5", -0.5), ("9007199254740992", 2**53)]
)
def test_a_number_that_keeps_its_value_is_one(text: str, value: float) -> None:
    assert read_value(text) == value


def test_texts_arrive_at_the_server_as_they_are_typed(place: Place) -> None:
    inputs = {"zip": {"type": "string"}, "ver": {"type": "string"}, "n": {"type": "integer"}}
    definition = {
        "name": "typed",
        "inputs": {"type": "object", "properties": inputs, "additionalProperties": True},
        "nodes": [{"id": "a", "type": "noop"}],
        "edges": [],
    }
    with connect() as client:
        client.workflows.create(definition)
    pairs = ("-i", "zip=12345", "-i", "ver=1.10", "-i", "n=3", "-i", "free=true")
    run = place.told("run", "typed", *pairs)
    assert run["input"] == {"zip": "12345", "ver": "1.10", "n": 3, "free": True}
    place.zq("run", "typed", "-i", "n=three", code=1)
    assert "integer" in place.errors


def test_a_dry_run_reads_inputs_as_its_file_declares_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "typed.yaml"
    file.write_text(
        "name: typed\ninputs: {zip: {type: string}}\nsettings: {output: inputs}\nnodes: {a: noop}\n"
    )
    assert main(["run", str(file), "--dry", "-i", "zip=12345", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["output"] == {"zip": "12345"}


def test_json_files_are_read_as_the_api_reads_json(tmp_path: Path) -> None:
    file = tmp_path / "in.json"
    file.write_text('{"n": 1, "s": "\\ud83d\\ude80"}')
    assert given_input(str(file), [])(None) == {"n": 1, "s": "\U0001f680"}
    for text, why in (
        ('{"a": 1, "a": 2}', "given twice"),
        ('{"a": 12345678901234567890}', "beyond"),
        ('{"a": "\\ud83d"}', "no JSON"),
        ("a: 1", "no JSON"),
        ("[1]", "an object"),
    ):
        file.write_text(text)
        with pytest.raises(click.BadParameter, match=why):
            given_input(str(file), [])


def test_a_definition_in_a_json_file_is_read_so_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rocket.json"
    expression = '"data": {"config": {"expression": "\'\\ud83d\\ude80\'"}}'
    node = f'{{"id": "a", "type": "transform", {expression}}}'
    file.write_text(f'{{"name": "rocket", "nodes": [{node}], "edges": []}}')
    assert main(["validate", str(file)]) == 0, capsys.readouterr()
    capsys.readouterr()
    assert main(["run", str(file), "--dry", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["output"] == {"a": "\U0001f680"}
    file.write_text(f'{{"name": "rocket", "name": "other", "nodes": [{node}], "edges": []}}')
    assert main(["validate", str(file)]) == 1
    assert "given twice" in capsys.readouterr().err
