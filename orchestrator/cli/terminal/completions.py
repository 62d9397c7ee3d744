"""Names that a shell completes: workflows and runs, asked of the server where one answers."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem

from orchestrator.errors import ZQError

#: As many as a person may want to look through.
_MOST = 50


def workflow_names(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the workflows whose names begin so; none where no server answers."""
    from orchestrator.client.discovery import connect

    try:
        with connect(context.params.get("server")) as client:
            found = client.workflows.list(query=incomplete or None, limit=_MOST)
    except ZQError:
        return []
    names = [w["name"] for w in found if w["name"].startswith(incomplete)]
    return [CompletionItem(name) for name in names]


def workflows_or_files(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the workflows whose names begin so, or with `--dry` have the shell look for files."""
    if context.params.get("dry"):
        return [CompletionItem(incomplete, type="file")]
    return workflow_names(context, parameter, incomplete)


def run_ids(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the newest runs whose ids begin so, each with its workflow and state."""
    from orchestrator.client.discovery import connect

    try:
        with connect(context.params.get("server")) as client:
            found = client.runs(limit=_MOST)
    except ZQError:
        return []
    return [
        CompletionItem(run["id"], help=f"{run.get('workflow_name', '')} {run['state']}")
        for run in found
        if run["id"].startswith(incomplete)
    ]
