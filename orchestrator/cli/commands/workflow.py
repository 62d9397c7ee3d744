"""`zq workflow`: saved workflows and their versions, looked at, exported, rolled back, archived."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.commands.grants import grants_command
from orchestrator.cli.terminal.completions import workflow_names
from orchestrator.cli.terminal.ids import WORKFLOW_STATES, workflow_of
from orchestrator.cli.terminal.lists import show_list
from orchestrator.cli.terminal.options import watch_option
from orchestrator.cli.terminal.output import ago, as_json, clean, progress, say
from orchestrator.cli.terminal.times import moment
from orchestrator.cli.terminal.verbs import Call, verb
from orchestrator.errors import ZQError

if TYPE_CHECKING:
    from orchestrator.client.documents import WorkflowDoc
    from orchestrator.client.workflows import Workflows

#: Letters and digits of any script make a file name.
_UNSAFE = re.compile(r"[^\w.-]+")


@click.group("workflow")
def workflow_command() -> None:
    """Look at saved workflows and their versions, export and roll them back."""


workflow_command.add_command(grants_command)


@verb("list", of=workflow_command)
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="At most.")
@click.option("-q", "--query", help="Only those with this in their name.")
@click.option(
    "--status", multiple=True, type=click.Choice(WORKFLOW_STATES),
    help="Only these, archived ones too; may be repeated. Else all that are not archived.",
)  # fmt: skip
@watch_option
def list_workflows(
    call: Call, limit: int, query: str | None, status: Sequence[str], watch_s: float | None
) -> int:
    """Print saved workflows, newest first."""
    return show_list(
        lambda: call.client.workflows.list(query=query, limit=limit, status=status),
        call.shape,
        _COLUMNS,
        empty=f"no workflow is {' or '.join(status)}"
        if status
        else "no workflows yet: `zq apply -f FILE` saves one",
        watch_s=watch_s,
    )


@verb("get", of=workflow_command)
@click.argument("workflow", shell_complete=workflow_names)
@click.option("--version", type=click.IntRange(1), help="This version; else the newest.")
def get_workflow(call: Call, workflow: str, version: int | None) -> None:
    """Print one workflow, by name or id, with its nodes."""
    workflow_id, workflows = workflow_of(call.client, workflow), call.client.workflows
    found = (
        workflows.get(workflow_id) if version is None else workflows.version(workflow_id, version)
    )
    if not call.for_people:
        call.show(found, {})
        return
    say(f"{clean(found['name'])}  version {found['version']}  {found['status']}  {found['id']}")
    if found.get("description"):
        say(clean(found["description"]))
    needs: dict[str, list[str]] = {}
    for edge in found.get("edges", ()):
        handle = f".{edge['sourceHandle']}" if edge.get("sourceHandle") else ""
        needs.setdefault(edge["target"], []).append(edge["source"] + handle)
    say()
    columns = {
        "node": lambda n: n["id"],
        "type": lambda n: n["type"],
        "needs": lambda n: ", ".join(needs.get(n["id"], ())),
        "label": lambda n: clean(n.get("data", {}).get("label") or ""),
    }
    call.show([*found.get("nodes", ())], columns)


@verb("versions", of=workflow_command)
@click.argument("workflow", shell_complete=workflow_names)
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="At most.")
def list_versions(call: Call, workflow: str, limit: int) -> None:
    """Print the versions of a workflow, newest first."""
    columns = {
        "version": lambda v: v["version"],
        "made": lambda v: ago(v.get("created_at")),
        "at": lambda v: moment(v.get("created_at")),
    }
    found = call.client.workflows.versions(workflow_of(call.client, workflow), limit=limit)
    call.show(found, columns)


@verb("diff", of=workflow_command)
@click.argument("workflow", shell_complete=workflow_names)
@click.option("--from", "older", type=click.IntRange(1), help="Else the version before --to.")
@click.option("--to", "newer", type=click.IntRange(1), help="Else the newest version.")
def diff_versions(call: Call, workflow: str, older: int | None, newer: int | None) -> None:
    """Print what changed between two versions."""
    found = call.client.workflows.diff(workflow_of(call.client, workflow), older, newer)
    if not call.for_people:
        call.show(found, {})
        return
    text = found.get("text")
    if text is None:
        say("too long to be compared line by line; `-o json` tells the changes", err=True)
    elif not text:
        say("no difference", err=True)
    for line in (text or "").splitlines():
        say(click.style(clean(line), fg=_DIFF.get(line[:1])))


@verb("rollback", of=workflow_command)
@click.argument("workflow", shell_complete=workflow_names)
@click.option("--to", "version", required=True, type=click.IntRange(1), help="The version.")
def roll_back(call: Call, workflow: str, version: int) -> None:
    """Save an earlier version again as the newest. Runs keep the version they began with."""
    saved = call.client.workflows.roll_back(workflow_of(call.client, workflow), version)
    _changed(call, saved, f"is as in version {version}, now version {saved['version']}")


@verb("activate", of=workflow_command)
@click.argument("workflow", shell_complete=workflow_names)
def activate(call: Call, workflow: str) -> None:
    """Publish a draft or an archived workflow; an archived one goes by its id only."""
    saved = call.client.workflows.activate(workflow_of(call.client, workflow))
    _changed(call, saved, f"is {saved['status']}")


@verb("archive", of=workflow_command)
@click.argument("workflow", shell_complete=workflow_names)
def archive(call: Call, workflow: str) -> None:
    """Archive a workflow: it starts no runs any more, its history stays."""
    saved = call.client.workflows.archive(workflow_of(call.client, workflow))
    _changed(call, saved, f"is {saved['status']}; `zq workflow activate {saved['id']}` undoes it")


@verb("export", of=workflow_command, printed=None)
@click.argument("workflows", nargs=-1, shell_complete=workflow_names)
@click.option(
    "--to", "folder", type=click.Path(file_okay=False, path_type=Path),
    help="Write a file each into this folder; without names, of all workflows.",
)  # fmt: skip
@click.option(
    "-o", "--output", "form", type=click.Choice(["yaml", "json"]), default="yaml",
    show_default=True, help="As people write it, or as the API has it.",
)  # fmt: skip
def export(call: Call, workflows: Sequence[str], folder: Path | None, form: str) -> None:
    """Write definitions as files that `zq apply -f` takes, or print one.

    A file in the folder that has a workflow already is written over where it differs, and left
    alone with its comments where it does not.
    """
    if folder is None and len(workflows) != 1:
        raise click.UsageError("name one workflow to print it, or a folder with --to")
    known, ids = call.client.workflows, [workflow_of(call.client, name) for name in workflows]
    if folder is None:
        text = _exported(known, ids[0], form).rstrip()
        # A file is the definition as it is; whoever looks at it is not to be steered by it.
        say("\n".join(map(clean, text.splitlines())) if sys.stdout.isatty() else text)
        return
    Written(known, folder, form).write([known.get(id) for id in ids] or known.list())


class Written:
    """A folder of definitions, brought to what the server has."""

    def __init__(self, server: Workflows, folder: Path, form: str) -> None:
        self._server = server
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
        text = _exported(self._server, workflow["id"], self._form)
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
        plain = _UNSAFE.sub("-", workflow["name"]).strip(".-")
        # File systems count bytes, 255 of them at most.
        plain = plain.encode()[:200].decode(errors="ignore") or "workflow"
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


def _exported(server: Workflows, workflow_id: str, form: str) -> str:
    text = server.export(workflow_id, form)
    if form == "json":
        # A line a field: for people, and for Git.
        text = as_json(json.loads(text), indent=2)
    return text.rstrip() + "\n"


def _changed(call: Call, saved: WorkflowDoc, text: str) -> None:
    call.tell(saved, f"{clean(saved['name'])} {text}")


_ENDINGS = {"yaml": ("yaml", "yml"), "json": ("json",)}
_DIFF = {"+": "green", "-": "red", "@": "cyan"}
_COLUMNS = {
    "name": lambda w: clean(w["name"]),
    "version": lambda w: w["version"],
    "status": lambda w: w["status"],
    "updated": lambda w: ago(w.get("updated_at")),
    "id": lambda w: w["id"],
}
