"""`zq apply`, `zq validate` and `zq workflow`: definitions, from files to the server and back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from orchestrator.cli.output import ago, clean, complain, format_option, say, show
from orchestrator.cli.source import Lines
from orchestrator.errors import InvalidDefinition, ZQError
from orchestrator.models.problem import Problem

SUFFIXES = (".yaml", ".yml", ".json")
_SAID_LINE = re.compile(r"line (\d+): ")


class BadFile(ZQError):
    """A file does not hold a workflow."""

    code = "bad_file"


@click.command("apply")
@click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    required=True,
    type=click.Path(exists=True, path_type=Path),
    help="A YAML or JSON file, or a folder of them; may be repeated.",
)
@click.argument("more", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--server", metavar="URL", help="The server's address.")
def apply_command(files: Sequence[Path], more: Sequence[Path], server: str | None) -> int:
    """Create or change workflows by name, so that the server has what the files say.

    All files are read and checked before the first is sent; an equal definition changes nothing.
    """
    from orchestrator.cli.connection import connect

    definitions = []
    refused = 0
    for file in _below([*files, *more]):
        try:
            definitions.append(read_checked(file))
        except ZQError as error:
            refused += 1
            _explain(file, error)
    if refused:
        raise BadFile(f"nothing was applied: {refused} of the files must be corrected first")
    with connect(server) as client:
        for definition in definitions:
            found = client.find(definition["name"])
            if found is None:
                saved, did = client.create(definition), "created"
            else:
                saved = client.change(found["id"], definition)
                did = "unchanged" if saved["version"] == found["version"] else "changed"
            say(f"{clean(saved['name'])}: {did}, version {saved['version']}")
    return 0


@click.command("validate")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
def validate_command(files: Sequence[Path]) -> int:
    """Check definitions without a server: every problem, with its line."""
    wrong = 0
    for file in _below(files):
        try:
            definition = read_checked(file)
        except ZQError as error:
            wrong += 1
            _explain(file, error)
        else:
            say(f"{file}: valid, {len(definition['nodes'])} nodes")
    return 1 if wrong else 0


@click.group("workflow")
def workflow_command() -> None:
    """Look at saved workflows."""


@workflow_command.command("list")
@click.option("--server", metavar="URL", help="The server's address.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="At most.")
@format_option
def list_workflows(server: str | None, limit: int, shape: str) -> int:
    """Print saved workflows, newest first."""
    from orchestrator.cli.connection import connect

    with connect(server) as client:
        found = client.workflows(limit=limit)
    columns = {
        "name": lambda w: clean(w["name"]),
        "version": lambda w: w["version"],
        "status": lambda w: w["status"],
        "updated": lambda w: ago(w.get("updated_at")),
        "id": lambda w: w["id"],
    }
    show(shape, found, columns, empty="no workflows yet: `zq apply -f FILE` saves one")
    return 0


@workflow_command.command("get")
@click.argument("workflow")
@click.option("--server", metavar="URL", help="The server's address.")
@format_option
def get_workflow(workflow: str, server: str | None, shape: str) -> int:
    """Print one workflow, by name or id, with its nodes."""
    from orchestrator.cli.connection import connect

    with connect(server) as client:
        found = client.workflow(workflow)
    if shape != "table":
        show(shape, found, {})
        return 0
    say(f"{clean(found['name'])}  version {found['version']}  {found['status']}  {found['id']}")
    if found.get("description"):
        say(clean(found["description"]))
    definition: Any = found.get("definition") or found
    needs: dict[str, list[str]] = {}
    for edge in definition.get("edges", ()):
        needs.setdefault(edge["target"], []).append(edge["source"])
    say()
    columns = {
        "node": lambda n: n["id"],
        "type": lambda n: n["type"],
        "needs": lambda n: ", ".join(needs.get(n["id"], ())),
        "label": lambda n: clean(n.get("data", {}).get("label") or ""),
    }
    show("table", list(definition.get("nodes", ())), columns)
    return 0


def read_checked(file: Path) -> dict[str, Any]:
    """Return a file's definition in the API's form; InvalidDefinition with all problems."""
    from orchestrator.services.definitions import from_yaml, read_definition

    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"it cannot be read: {error}") from None
    definition: dict[str, Any] = from_yaml(text)
    read_definition(definition)
    return definition


def _below(paths: Iterable[Path]) -> list[Path]:
    """Return the files meant: those named, and the definitions in folders, in order of name."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix in SUFFIXES and p.is_file())
            if not inside:
                raise click.BadParameter(f"{path} holds no {', '.join(SUFFIXES)} files")
            found += inside
        else:
            found.append(path)
    return list(dict.fromkeys(found))


def _explain(file: Path, error: ZQError) -> None:
    """Print every problem of a file on stderr as `file:line: path: message`."""
    if not isinstance(error, InvalidDefinition):
        complain(BadFile(f"{file}: {error.detail}"))
        return
    lines = Lines(file.read_text(encoding="utf-8"))
    for line, text in sorted(_placed(problem, lines) for problem in error.problems):
        say(f"{file}:{line}: {clean(text)}", err=True)
    count = len(error.problems)
    say(f"{file}: {count} problem{'s' if count > 1 else ''}", err=True)


def _placed(problem: Problem, lines: Lines) -> tuple[int, str]:
    """Return a problem's line and text; the YAML reader says the line in its message."""
    said = _SAID_LINE.match(problem.message)
    if said:
        return int(said[1]), problem.message[said.end() :]
    place = lines.find(problem.path, problem.node)
    where = place.path or problem.path
    return place.line, f"{where}: {problem.message}" if where else problem.message
