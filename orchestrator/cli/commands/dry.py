"""`zq run FILE --dry`: asks `workers.in_memory.dry_run`, its own process, and shows what it says.

A process, because the command line may not know the workers' code; it starts while this one still
imports what it prints with.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from orchestrator.cli.terminal.inputs import Reading
from orchestrator.cli.terminal.output import printed, say
from orchestrator.errors import ZQError
from orchestrator.process import own_packages


class DryRunFailed(ZQError):
    """The dry run could not be done."""

    code = "dry_run_failed"

    def __init__(
        self, detail: str | None = None, problems: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        super().__init__(detail)
        #: As the API tells them; `output.complain` prints them.
        self.problems = tuple(problems)


def run_dry(
    file: str,
    read: Reading,
    pins: Sequence[str],
    shape: str,
    *,
    secrets: str | None = None,
    variables: str | None = None,
) -> int:
    """Play a file through and print what became of it; 0 when it succeeded, else 1."""
    path = Path(file)
    if not path.is_file():
        raise click.BadParameter(
            f"there is no file {file!r}; `zq workflow export {file}` prints a saved workflow",
            param_hint="WORKFLOW",
        )
    pinned = read_pins(pins)
    kept = {
        "secrets": _values(secrets, "--secrets-file", texts=True),
        "variables": _values(variables, "--vars-file"),
    }
    with _start() as child:
        try:
            definition = _checked(path)
            given = read(definition.get("inputs"))
            told = _ask(child, definition, given, {"pins": pinned, **kept})
            return _show(told, definition, shape)
        finally:
            child.kill()


def _values(file: str | None, option: str, *, texts: bool = False) -> dict[str, Any]:
    from orchestrator.cli.terminal.inputs import read_document

    if file is None:
        return {}
    found = read_document(Path(file).read_text(encoding="utf-8"), file)
    if not isinstance(found, dict):
        raise click.BadParameter(f"{file} must hold NAME: VALUE lines", param_hint=option)
    if texts and not all(isinstance(value, str) for value in found.values()):
        raise click.BadParameter(f"{file}: secrets are texts; quote numbers", param_hint=option)
    return found


def read_pins(pins: Sequence[str]) -> dict[str, Any]:
    """Return `node=JSON` and `node=@file` as outputs by node id."""
    found: dict[str, Any] = {}
    for pin in pins:
        node, equals, text = pin.partition("=")
        if not equals or not node:
            raise click.BadParameter(f"{pin!r} is not node=JSON or node=@file", param_hint="--pin")
        if node in found:
            raise click.BadParameter(f"{node!r} is pinned twice", param_hint="--pin")
        found[node] = _pin(node, text)
    return found


def _pin(node: str, text: str) -> Any:
    from orchestrator.cli.terminal.inputs import read_document

    if text.startswith("@"):
        try:
            return read_document(Path(text[1:]).read_text(encoding="utf-8"), text[1:])
        except (OSError, UnicodeDecodeError) as error:
            raise click.BadParameter(f"{text[1:]}: {error}", param_hint="--pin") from None
    try:
        return json.loads(text)
    except ValueError as error:
        raise click.BadParameter(
            f"the output of {node!r} is no JSON ({error}); a text needs its quotes: '\"text\"'",
            param_hint="--pin",
        ) from None


def _checked(path: Path) -> dict[str, Any]:
    from orchestrator.cli.commands.apply import BadFile, explain, read_checked

    try:
        definition = read_checked(path)
        # Nothing is saved: whatever its status, it runs.
        definition.pop("status", None)
        return definition
    except ZQError as error:
        explain(path, error)
        raise BadFile("nothing was run: correct the file first") from None


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        own_packages.command("workers.in_memory.dry_run"),
        # Out of Ctrl-C's way: this process ends it.
        process_group=0,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": own_packages.search_path(os.environ)},
    )  # fmt: skip


def _ask(
    child: subprocess.Popen[bytes],
    definition: Mapping[str, Any],
    given: Mapping[str, Any],
    kept: Mapping[str, Any],
) -> Iterator[dict[str, Any]]:
    """Send the request and yield what comes back; DryRunFailed for a refusal or a dead child."""
    from orchestrator.settings import load

    request = {
        "definition": definition,
        "input": given,
        **kept,
        "modules": load().worker.modules,
    }
    if child.stdin is None or child.stdout is None:
        raise DryRunFailed
    try:
        with child.stdin as stdin:
            stdin.write(json.dumps(request).encode())
    except BrokenPipeError:
        raise DryRunFailed(_died(child)) from None
    for line in child.stdout:
        told = json.loads(line)
        if "error" in told and "run" not in told and "kind" not in told:
            raise DryRunFailed(told["error"]["detail"], told["error"]["problems"])
        yield told
        if "tasks" in told:
            return
    raise DryRunFailed(_died(child))


def _died(child: subprocess.Popen[bytes]) -> str:
    return f"the process of the dry run ended by itself (exit code {child.wait()})"


def _show(told: Iterator[dict[str, Any]], definition: Mapping[str, Any], shape: str) -> int:
    from orchestrator.cli.terminal.columns import TASK_COLUMNS, print_ended
    from orchestrator.cli.terminal.lines import LineDisplay
    from orchestrator.cli.terminal.view import RunView

    tasks = [{"node_id": node["id"], "type": node["type"]} for node in definition["nodes"]]
    display = LineDisplay(RunView.of({"id": ""}, tasks))
    for message in told:
        if "tasks" not in message:
            if shape == "table":
                display.show(message)
            continue
        run, tasks = message["run"], message["tasks"]
        if shape == "table":
            say()
            for line in printed("table", tasks, TASK_COLUMNS):
                say(line)
            say()
            return print_ended(run, shape)
        return print_ended({**run, "tasks": tasks}, shape)
    raise DryRunFailed
