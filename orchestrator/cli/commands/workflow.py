"""`zq workflow`: saved workflows and their versions, looked at, exported, rolled back, archived."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.commands.grants import grants_command
from orchestrator.cli.terminal.completions import workflow_names
from orchestrator.cli.terminal.lists import show_list
from orchestrator.cli.terminal.options import PATIENCE_S, format_option, server_option, watch_option
from orchestrator.cli.terminal.output import ago, clean, progress, say, show
from orchestrator.errors import ZQError

if TYPE_CHECKING:
    from orchestrator.client.documents import WorkflowDoc
    from orchestrator.client.http import Client

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@click.group("workflow")
def workflow_command() -> None:
    """Look at saved workflows and their versions, export and roll them back."""


workflow_command.add_command(grants_command)


@workflow_command.command("list")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="At most.")
@click.option("-q", "--query", help="Only those with this in their name.")
@click.option(
    "--status", multiple=True, type=click.Choice(["draft", "published", "archived"]),
    help="Only these, archived ones too; may be repeated. Else all that are not archived.",
)  # fmt: skip
@watch_option
@server_option
@format_option
def list_workflows(
    limit: int,
    query: str | None,
    status: Sequence[str],
    watch_s: float | None,
    server: str | None,
    shape: str,
) -> int:
    """Print saved workflows, newest first."""
    from orchestrator.client.discovery import connect

    with connect(server, patience_s=PATIENCE_S if watch_s else 0.0) as client:
        return show_list(
            lambda: client.workflows(query=query, limit=limit, status=status),
            shape,
            _COLUMNS,
            empty=f"no workflow is {' or '.join(status)}"
            if status
            else "no workflows yet: `zq apply -f FILE` saves one",
            watch_s=watch_s,
        )


@workflow_command.command("get")
@click.argument("workflow", shell_complete=workflow_names)
@click.option("--version", type=click.IntRange(1), help="This version; else the newest.")
@server_option
@format_option
def get_workflow(workflow: str, version: int | None, server: str | None, shape: str) -> int:
    """Print one workflow, by name or id, with its nodes."""
    from orchestrator.client.discovery import connect

    with connect(server) as client:
        found = client.workflow(workflow)
        if version is not None:
            found = client.version(found["id"], version)
    if shape != "table":
        show(shape, found, {})
        return 0
    say(f"{clean(found['name'])}  version {found['version']}  {found['status']}  {found['id']}")
    if found.get("description"):
        say(clean(found["description"]))
    definition: Any = found
    needs: dict[str, list[str]] = {}
    for edge in definition.get("edges", ()):
        handle = f".{edge['sourceHandle']}" if edge.get("sourceHandle") else ""
        needs.setdefault(edge["target"], []).append(edge["source"] + handle)
    say()
    columns = {
        "node": lambda n: n["id"],
        "type": lambda n: n["type"],
        "needs": lambda n: ", ".join(needs.get(n["id"], ())),
        "label": lambda n: clean(n.get("data", {}).get("label") or ""),
    }
    show("table", list(definition.get("nodes", ())), columns)
    return 0


@workflow_command.command("versions")
@click.argument("workflow", shell_complete=workflow_names)
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="At most.")
@server_option
@format_option
def list_versions(workflow: str, limit: int, server: str | None, shape: str) -> int:
    """Print the versions of a workflow, newest first."""
    from orchestrator.client.discovery import connect

    with connect(server) as client:
        found = client.versions(_id(client, workflow), limit=limit)
    columns = {
        "version": lambda v: v["version"],
        "made": lambda v: ago(v.get("created_at")),
        "at": lambda v: v.get("created_at"),
    }
    show(shape, found, columns)
    return 0


@workflow_command.command("diff")
@click.argument("workflow", shell_complete=workflow_names)
@click.option("--from", "older", type=click.IntRange(1), help="Else the version before --to.")
@click.option("--to", "newer", type=click.IntRange(1), help="Else the newest version.")
@server_option
@format_option
def diff_versions(
    workflow: str, older: int | None, newer: int | None, server: str | None, shape: str
) -> int:
    """Print what changed between two versions."""
    from orchestrator.client.discovery import connect

    with connect(server) as client:
        found = client.diff(_id(client, workflow), older, newer)
    if shape != "table":
        show(shape, found, {})
        return 0
    text = found.get("text")
    if text is None:
        say("too long to be compared line by line; `-o json` tells the changes", err=True)
    elif not text:
        say("no difference", err=True)
    for line in (text or "").splitlines():
        say(click.style(clean(line), fg=_DIFF.get(line[:1])))
    return 0


@workflow_command.command("rollback")
@click.argument("workflow", shell_complete=workflow_names)
@click.option("--to", "version", required=True, type=click.IntRange(1), help="The version.")
@server_option
@format_option
def roll_back(workflow: str, version: int, server: str | None, shape: str) -> int:
    """Save an earlier version again as the newest. Runs keep the version they began with."""
    from orchestrator.client.discovery import connect

    with connect(server) as client:
        saved = client.roll_back(_id(client, workflow), version)
    _changed(saved, shape, f"is as in version {version}, now version {saved['version']}")
    return 0


@workflow_command.command("activate")
@click.argument("workflow", shell_complete=workflow_names)
@server_option
@format_option
def activate(workflow: str, server: str | None, shape: str) -> int:
    """Publish a draft or an archived workflow; an archived one goes by its id only."""
    from orchestrator.client.discovery import connect

    with connect(server) as client:
        saved = client.activate(_id(client, workflow))
    _changed(saved, shape, f"is {saved['status']}")
    return 0


@workflow_command.command("archive")
@click.argument("workflow", shell_complete=workflow_names)
@server_option
@format_option
def archive(workflow: str, server: str | None, shape: str) -> int:
    """Archive a workflow: it starts no runs any more, its history stays."""
    from orchestrator.client.discovery import connect

    with connect(server) as client:
        saved = client.archive(_id(client, workflow))
    _changed(saved, shape, f"is {saved['status']}; `zq workflow activate {saved['id']}` undoes it")
    return 0


@workflow_command.command("export")
@click.argument("workflows", nargs=-1, shell_complete=workflow_names)
@click.option(
    "--to", "folder", type=click.Path(file_okay=False, path_type=Path),
    help="Write a file each into this folder; without names, of all workflows.",
)  # fmt: skip
@click.option(
    "-o", "--output", "form", type=click.Choice(["yaml", "json"]), default="yaml",
    show_default=True, help="As people write it, or as the API has it.",
)  # fmt: skip
@server_option
def export(workflows: Sequence[str], folder: Path | None, form: str, server: str | None) -> int:
    """Write definitions as files that `zq apply -f` takes, or print one.

    A file in the folder that has a workflow already is written over where it differs, and left
    alone with its comments where it does not.
    """
    from orchestrator.client.discovery import connect

    if folder is None and len(workflows) != 1:
        raise click.UsageError("name one workflow to print it, or a folder with --to")
    with connect(server) as client:
        if folder is None:
            say(_exported(client, _id(client, workflows[0]), form).rstrip())
            return 0
        found = [client.workflow(name) for name in workflows] or client.workflows()
        Written(client, folder, form).write(found)
    return 0


class Written:
    """A folder of definitions, brought to what the server has."""

    def __init__(self, client: Client, folder: Path, form: str) -> None:
        self._client = client
        self._folder = folder
        self._form = form
        folder.mkdir(parents=True, exist_ok=True)
        self._known = _definitions_in(folder)
        self._taken = {path.name.lower() for path in folder.iterdir()}

    def write(self, workflows: Sequence[WorkflowDoc]) -> None:
        """Write one file a workflow and say what was done."""
        with progress(workflows, "exporting") as each:
            done = [self._one(workflow) for workflow in each]
        for file, did in done:
            say(f"{file}: {did}")

    def _one(self, workflow: WorkflowDoc) -> tuple[Path, str]:
        text = _exported(self._client, workflow["id"], self._form)
        file, before = self._known.get(workflow["name"], (None, None))
        if file is None or file.suffix.lstrip(".") not in _ENDINGS[self._form]:
            file, did = self._new(workflow), "created"
        elif before == _meaning(text):
            return file, "unchanged"
        else:
            did = "changed"
        file.write_text(text, encoding="utf-8")
        return file, did

    def _new(self, workflow: WorkflowDoc) -> Path:
        """Return a free file name; names that differ only in what files cannot have get an id."""
        plain = _UNSAFE.sub("-", workflow["name"]).strip(".-")[:100] or "workflow"
        name = f"{plain}.{self._form}"
        if name.lower() in self._taken:
            name = f"{plain}-{workflow['id'][-8:]}.{self._form}"
        self._taken.add(name.lower())
        return self._folder / name


def _definitions_in(folder: Path) -> dict[str, tuple[Path, Any]]:
    """Return the workflows that a folder has, by name; files that hold none are passed over."""
    from orchestrator.cli.commands.apply import SUFFIXES

    found: dict[str, tuple[Path, Any]] = {}
    for path in sorted(p for p in folder.rglob("*") if p.suffix in SUFFIXES and p.is_file()):
        try:
            meaning = _meaning(path.read_text(encoding="utf-8"))
        except (ZQError, OSError, UnicodeDecodeError):
            continue
        found.setdefault(meaning["name"], (path, meaning))
    return found


def _meaning(text: str) -> dict[str, Any]:
    """Return what a text defines, whatever way it is written; edge ids do not count."""
    from orchestrator.services.definitions.reading import (
        from_yaml,
        read_definition,
        shape_of,
        taken_status,
    )

    definition, status = taken_status(from_yaml(text))
    shape = {**shape_of(read_definition(definition)), "status": status or "published"}
    edges = [(e["source"], e["sourceHandle"] or "", e["target"]) for e in shape["edges"]]
    return {**shape, "edges": sorted(edges)}


def _exported(client: Client, workflow_id: str, form: str) -> str:
    text = client.export(workflow_id, form)
    if form == "json":
        # A line a field: for people, and for Git.
        text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    return text.rstrip() + "\n"


def _id(client: Client, workflow: str) -> str:
    return client.workflow(workflow)["id"]


def _changed(saved: WorkflowDoc, shape: str, text: str) -> None:
    if shape == "table":
        say(f"{clean(saved['name'])} {text}")
    else:
        show(shape, saved, {})


_ENDINGS = {"yaml": ("yaml", "yml"), "json": ("json",)}
_DIFF = {"+": "green", "-": "red", "@": "cyan"}
_COLUMNS = {
    "name": lambda w: clean(w["name"]),
    "version": lambda w: w["version"],
    "status": lambda w: w["status"],
    "updated": lambda w: ago(w.get("updated_at")),
    "id": lambda w: w["id"],
}
