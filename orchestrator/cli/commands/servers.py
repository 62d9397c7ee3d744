"""`zq up`, and the single processes it is made of: web, stream, worker, scheduler, migrate."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from typing import NoReturn

import click

from orchestrator.cli.terminal.output import clean, say
from orchestrator.process import own_packages, start_check
from orchestrator.process.memory_use import few_arenas
from orchestrator.process.stop_signal import StopSignal
from orchestrator.settings import load

#: Seconds since Postgres last answered it until a scheduler's health page says 503.
SCHEDULER_FRESH_S = 60.0


@click.command("up")
@click.option(
    "--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Worker processes."
)
def up_command(workers: int) -> int:
    """Start everything on this machine: servers, API, workers and scheduler.

    Without ZQ_DATABASE__URL and ZQ_REDIS__URL, Postgres and Redis run from $ZQ_HOME. Ctrl-C stops
    it all in order; a second one does not wait for work that still runs.
    """
    from orchestrator.cli.up.first_user import hint
    from orchestrator.cli.up.launch import Launch

    launch = Launch(load(), workers=workers, report=report)

    def ready() -> None:
        say(f"ready: {launch.url}")
        if told := hint(launch.url, launch.key):
            say(told, err=True)

    launch.run(ready)
    say("stopped", err=True)
    return 0


def report(name: str, line: str) -> None:
    """Print what a child has to say to a person."""
    say(click.style(f"{name:<10}", fg="cyan") + clean(line), err=True)


@click.command("web")
def web_command() -> NoReturn:
    """Serve the API and the sockets on ZQ_WEB__HOST and ZQ_WEB__PORT."""
    _become("web.server.serve")


@click.command("stream")
def stream_command() -> NoReturn:
    """Serve the sockets only, to scale them out behind a proxy."""
    _become("web.server.serve", "--only", "sockets")


@click.group("worker", invoke_without_command=True)
@click.option("--slots", type=click.IntRange(1), help="Tasks at a time; else ZQ_WORKER__SLOTS.")
@click.option("--queues", help="Comma-separated queues; else ZQ_WORKER__QUEUES.")
@click.option(
    "--pool",
    type=click.Choice(["prefork", "threads"]),
    help="What a slot is; else ZQ_WORKER__POOL.",
)
def worker_command(slots: int | None, queues: str | None, pool: str | None) -> NoReturn:
    """Run a worker under its supervisor, until SIGTERM; what runs then is finished first."""
    if slots:
        os.environ["ZQ_WORKER__SLOTS"] = str(slots)
    if queues:
        os.environ["ZQ_WORKER__QUEUES"] = queues
    if pool:
        os.environ["ZQ_WORKER__POOL"] = pool
    _become("workers.supervisor")


@click.command("scheduler")
def scheduler_command() -> int:
    """Run the scheduler: timers, lost work, runs that must end. Several may run."""
    from orchestrator.bootstrap import core as bootstrap
    from orchestrator.process import health_page, log_lines

    settings = load()
    start_check.refuse_unsafe(settings)
    stop = StopSignal()
    stop.on((signal.SIGTERM, signal.SIGINT))
    log_lines.set_up(settings.log_level)
    at_work = health_page.Fresh(SCHEDULER_FRESH_S)
    health_page.serve(settings.web.host, settings.upkeep.health_port, at_work.is_fresh)
    core = bootstrap.build(settings, works=False)
    try:
        core.upkeep.run_forever(stop, alive=at_work.touch)
    finally:
        core.store.close()
    return 0


@click.command("migrate")
def migrate_command() -> int:
    """Bring the database to this release's schema; harmless when it is there already."""
    from orchestrator.adapters.postgres.migrate import migrate
    from orchestrator.cli.up.launch import servers

    settings = load()
    home = settings.home.absolute()
    with servers(replace(settings, home=home)) as (resolved, _):
        before, after = migrate(resolved.database.url)
    if before == after:
        say(f"the database is at revision {after} already")
    else:
        say(f"migrated from {before or 'an empty database'} to revision {after}")
    return 0


def _become(module: str, *arguments: str) -> NoReturn:
    """Replace this process by a module's, so that signals and exit codes are the module's own."""
    from orchestrator.bootstrap.resolving import resolve
    from orchestrator.cli.up.launch import worker_modules
    from orchestrator.process.home import admin_key, secret_key

    given = load()
    start_check.refuse_unusable(given)
    settings = resolve(given)
    if given.embedded and not given.auth.secret_key:
        os.environ["ZQ_AUTH__SECRET_KEY"] = secret_key(given.home)
    few_arenas(os.environ)
    os.environ["ZQ_WORKER__MODULES"] = worker_modules(settings)
    os.environ["ZQ_DATABASE__URL"] = settings.database.url
    os.environ["ZQ_REDIS__URL"] = settings.redis.url
    if not settings.auth.admin_key:
        os.environ["ZQ_AUTH__ADMIN_KEY"] = admin_key(settings.home)
    for name in list(os.environ):
        # Both forms at once would leave it open which one counts.
        if name.startswith("ZQ_") and f"{name}_FILE" in os.environ:
            del os.environ[f"{name}_FILE"]
    os.environ["PYTHONPATH"] = own_packages.search_path(os.environ)
    os.execv(sys.executable, own_packages.command(module, *arguments))  # noqa: S606
