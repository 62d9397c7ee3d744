"""`zq backup` and `zq restore`: one file with all of an installation on this machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from orchestrator.cli.terminal.output import say
from orchestrator.errors import SettingsError
from orchestrator.settings import Settings, load


@click.command("backup")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def backup_command(file: Path) -> int:
    """Save the embedded database, the artifacts and the secret key in FILE, a tar.

    Nothing need be stopped: it is one moment of the database, and runs go on meanwhile. Keep the
    file as safe as the installation: it holds its secret key.
    """
    from orchestrator.cli.up.archive import save
    from orchestrator.cli.up.launch import servers

    with servers(_embedded()) as (settings, _):
        manifest = save(settings, file.absolute())
    say(f"{file}: {_told(manifest)}")
    if not manifest["artifacts"]:
        say("without artifacts: none are kept in a folder here", err=True)
    return 0


@click.command("restore")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def restore_command(file: Path) -> int:
    """Restore what `zq backup` saved in FILE into a new $ZQ_HOME; then start it with `zq up`.

    Runs that were on their way go on from there. The admin key is not restored: a new one is made.
    """
    import redis

    from orchestrator.cli.up.archive import bring_back
    from orchestrator.cli.up.launch import servers
    from orchestrator.process.home import only_one

    given = _embedded()
    given.home.mkdir(parents=True, exist_ok=True)
    with only_one(given.home), servers(given) as (settings, _):
        manifest = bring_back(settings, file.absolute())
        with redis.Redis.from_url(settings.redis.url) as client:
            # Whatever it says is of another past.
            client.flushdb()
    say(f"restored {_told(manifest)}")
    return 0


def _embedded() -> Settings:
    settings = load()
    if "ZQ_DATABASE__URL" in settings.origins:
        raise SettingsError(
            "ZQ_DATABASE__URL is set: save and restore that server with pg_dump and pg_restore, as"
            " docs/operations.md says"
        )
    return replace(settings, home=settings.home.absolute())


def _told(manifest: dict[str, Any]) -> str:
    rows = manifest["rows"]
    return (
        f"{rows['runs']} runs and {rows['workflows']} workflows of {manifest['at']}, revision"
        f" {manifest['revision']}"
    )
