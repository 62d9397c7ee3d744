"""`zq apply` and `zq validate`: definitions in files, checked here and sent to the server."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.terminal.options import confirm, yes_option
from orchestrator.cli.terminal.output import clean, complain, progress, say
from orchestrator.cli.terminal.source import Lines
from orchestrator.cli.terminal.verbs import Call, verb
from orchestrator.errors import BadRequest, InvalidDefinition, Problem, ZQError

if TYPE_CHECKING:
    from orchestrator.client.documents import WorkflowDoc
    from orchestrator.client.workflows import Workflows

SUFFIXES = (".yaml", ".yml", ".json")
_SAID_LINE = re.compile(r"line (\d+): ")


class BadFile(ZQError):
    """A file does not hold a workflow."""

    code = "bad_file"


@verb("apply")
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
@click.option(
    "--prune",
    is_flag=True,
    help="Archive every workflow of the server that the files do not have; lists them and asks.",
)
@yes_option
def apply_command(
    call: Call, files: Sequence[Path], more: Sequence[Path], prune: bool, yes: bool
) -> None:
    """Create or change workflows by name, so that the server has what the files say.

    All files are read and checked before the first is sent; an equal definition changes nothing.
    A name that only archived workflows have brings the newest of them back. A file may say
    `status: draft`; without, a new workflow is published, and another one stays what it is.
    With --prune the files are all there is: what else the server has is archived.
    """
    definitions = _read_all(_below([*files, *more]))
    workflows = call.client.workflows
    gone = _gone(workflows, definitions, yes=yes) if prune else []
    done: list[dict[str, Any]] = []
    try:
        with progress(definitions, "applying") as each_definition:
            done.extend(_apply(workflows, definition) for definition in each_definition)
        done.extend(_row(workflows.archive(workflow["id"]), "archived") for workflow in gone)
    finally:
        # Where the server refuses one, it is told what has been done all the same.
        _tell(call, done)


def _tell(call: Call, done: Sequence[Mapping[str, Any]]) -> None:
    if not call.for_people:
        call.show(done, {})
        return
    for row in done:
        back = f"; `zq workflow activate {row['id']}` undoes it" if row["did"] == "archived" else ""
        say(f"{clean(row['name'])}: {row['did']}, version {row['version']}{back}")


def _row(saved: WorkflowDoc, did: str) -> dict[str, Any]:
    return {"name": saved["name"], "did": did, "version": saved["version"], "id": saved["id"]}


def _apply(workflows: Workflows, definition: dict[str, Any]) -> dict[str, Any]:
    name, archived = definition["name"], "archived"
    found = workflows.find(name) or workflows.find(name, status=[archived])
    if found is None:
        return _row(workflows.create(definition), "created")
    if found["status"] == archived:
        definition = {"status": "published", **definition}
    saved = workflows.change(found["id"], definition)
    if saved["version"] == found["version"]:
        return _row(saved, "unchanged")
    back = found["status"] == archived != saved["status"]
    return _row(saved, "activated" if back else "changed")


def _gone(
    workflows: Workflows, definitions: Sequence[dict[str, Any]], *, yes: bool
) -> list[WorkflowDoc]:
    """Return the workflows that no file has, after telling them and asking."""
    kept = {definition["name"] for definition in definitions}
    gone = [workflow for workflow in workflows.list() if workflow["name"] not in kept]
    if gone:
        say("to be archived, since no file has them:", err=True)
        for workflow in gone:
            name, version = clean(workflow["name"]), workflow["version"]
            say(f"  {name}  version {version}  {workflow['id']}", err=True)
        count = f"{len(gone)} workflow{'s' if len(gone) > 1 else ''}"
        confirm(f"Archive {count}?", yes=yes)
    return gone


def _read_all(files: Sequence[Path]) -> list[dict[str, Any]]:
    """Read every file; BadFile when one is wrong, or two have the same workflow."""
    definitions: list[dict[str, Any]] = []
    places: dict[str, Path] = {}
    refused = 0
    for file in files:
        try:
            definition = read_checked(file)
            name = definition["name"]
            if name in places:
                raise BadFile(f"{places[name]} has the workflow {clean(name)!r} too; keep one")
        except ZQError as error:
            refused += 1
            explain(file, error)
        else:
            places[name] = file
            definitions.append(definition)
    if refused:
        raise BadFile(f"nothing was applied: {refused} of the files must be corrected first")
    return definitions


@verb("validate", server=False)
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
def validate_command(call: Call, files: Sequence[Path]) -> int:
    """Check definitions without a server: every problem, with its line."""
    rows: list[dict[str, Any]] = []
    for file in _below(files):
        row: dict[str, Any] = {"file": str(file), "valid": True, "problems": []}
        rows.append(row)
        try:
            definition = read_checked(file)
        except ZQError as error:
            row["valid"] = False
            row["problems"] = [{"line": line, "message": text} for line, text in _told(file, error)]
            if call.for_people:
                explain(file, error)
        else:
            if call.for_people:
                say(f"{file}: valid, {len(definition['nodes'])} nodes")
    if not call.for_people:
        call.show(rows, {})
    return 0 if all(row["valid"] for row in rows) else 1


def read_checked(file: Path) -> dict[str, Any]:
    """Return a file's definition in the API's form, with its status where it has one.

    InvalidDefinition with all problems.
    """
    from orchestrator.client.building import as_yaml
    from orchestrator.models.strict_json import parse
    from orchestrator.services.definitions.reading import from_yaml, read_definition, taken_status

    try:
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".json":
            text = as_yaml(parse(text.encode(), "the file"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"it cannot be read: {error}") from None
    except BadRequest as error:
        raise BadFile(error.detail) from None
    definition: dict[str, Any] = from_yaml(text)
    bare, _ = taken_status(definition)
    read_definition(bare)
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


def explain(file: Path, error: ZQError) -> None:
    """Print every problem of a file on stderr as `file:line: path: message`."""
    if not isinstance(error, InvalidDefinition):
        complain(BadFile(f"{file}: {error.detail}"))
        return
    told = _told(file, error)
    for line, text in told:
        say(f"{file}:{line}: {clean(text)}", err=True)
    say(f"{file}: {len(told)} problem{'s' if len(told) > 1 else ''}", err=True)


def _told(file: Path, error: ZQError) -> list[tuple[int, str]]:
    """Return (line, text) of every problem, in the order of the file."""
    if not isinstance(error, InvalidDefinition):
        return [(1, error.detail)]
    lines = Lines(file.read_text(encoding="utf-8"))
    return sorted(_placed(problem, lines) for problem in error.problems)


def _placed(problem: Problem, lines: Lines) -> tuple[int, str]:
    """Return a problem's line and text; the YAML reader says the line in its message."""
    said = _SAID_LINE.match(problem.message)
    if said:
        return int(said[1]), problem.message[said.end() :]
    place = lines.find(problem.path, problem.node)
    where = place.path or problem.path
    return place.line, f"{where}: {problem.message}" if where else problem.message
