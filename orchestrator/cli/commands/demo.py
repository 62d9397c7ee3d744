"""`zq demo`: everything up, one real workflow over real data, shown live, and everything down."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.terminal.live import Display, follow
from orchestrator.cli.terminal.output import clean, duration, say, state
from orchestrator.client.discovery import address
from orchestrator.client.documents import RunDoc
from orchestrator.client.http import Client
from orchestrator.errors import ZQError
from orchestrator.process.home import admin_key, live
from orchestrator.process.stop_signal import StopSignal
from orchestrator.settings import Settings, load

if TYPE_CHECKING:
    from orchestrator.demo import DataServer

#: How long the demo puts up with a server that is away: its run survives that too.
PATIENCE_S = 60.0
#: From here on a day counts as hot, and so many of them make a hot city: decides the branch.
HOT_C, MIN_HOT_DAYS = 27, 60


@click.command("demo")
@click.option("--keep", is_flag=True, help="Leave everything running until Ctrl-C.")
@click.option(
    "--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Worker processes."
)
def demo_command(keep: bool, workers: int) -> int:
    """Run a real workflow over real weather data, live in this terminal.

    Where `zq up` runs already it is used and stays; else everything starts, and stops at the end.
    """
    from orchestrator.demo import DataServer

    settings = load()
    began = time.monotonic()
    up = live(settings.home)
    with DataServer(port=up.data_port if up else 0) as data:
        if up is not None:
            key = settings.auth.admin_key or admin_key(settings.home)
            show = Show(data.url, address(settings), key, _artifacts(settings), began)
            show.run()
            say(f"`zq up` (pid {up.pid}) goes on")
            return show.exit_code
        return _from_nothing(_on_free_port(settings), data, keep, workers, began)


@dataclass(slots=True)
class Show:
    """The demo's run, from applying the workflow to what came out."""

    data_url: str
    server: str
    key: str
    #: Where artifacts are kept; the files can be opened after the server has stopped.
    folder: Path
    began: float
    exit_code: int = 1
    display: Display | None = None

    def run(self) -> None:
        """Apply, start, show, and say what came out."""
        with Client(self.server, self.key, patience_s=PATIENCE_S) as client:
            workflow = _apply(client)
            given = {"data_url": self.data_url, "hot_c": HOT_C, "min_hot_days": MIN_HOT_DAYS}
            run = client.start(workflow, given, trigger="manual")
            say(f"applied {workflow}, started run {run['id']}")
            say(f"input: {json.dumps(given)}")
            say()
            follow(client, run["id"], on_display=self._keep_display)
            self.display = None
            ended = client.run(run["id"])
            self._report(client, ended)
            self.exit_code = 0 if ended["state"] == "succeeded" else 1

    def _keep_display(self, display: Display) -> None:
        self.display = display

    def warn(self, name: str, line: str) -> None:
        """Show what a child process has to say, above the live display where there is one."""
        from orchestrator.cli.commands.servers import report

        if self.display is not None:
            self.display.say(f"{name}: {clean(line)}")
        else:
            report(name, line)

    def _report(self, client: Client, run: RunDoc) -> None:
        url = f"{self.server}/api/v1/runs/{run['id']}"
        say()
        counts = ", ".join(f"{number} {name}" for name, number in run.get("counts", {}).items())
        say(f"run {state(run['state'])} in {duration(run['duration_ms'])}: {counts}")
        if run.get("error"):
            say(f"error: {clean(run['error'])}")
        output = run.get("output")
        if isinstance(output, dict) and "verdict" in output:
            say(f"result: {clean(output['verdict'])}")
        say(f"  {'run':<12} {url}")
        for artifact in client.artifacts(run["id"]):
            file = self.folder / run["id"] / artifact["name"]
            where = file if file.exists() else f"{url}/artifacts/{artifact['name']}"
            say(f"  {artifact['name']:<12} {where}  ({artifact['size_bytes']:,} bytes)")
        say(f"took {duration((time.monotonic() - self.began) * 1000)} from start to result")


def _from_nothing(
    settings: Settings, data: DataServer, keep: bool, workers: int, began: float
) -> int:
    from orchestrator.cli.commands.servers import report
    from orchestrator.cli.up.launch import Launch

    def warn(name: str, line: str) -> None:
        (show.warn if show else report)(name, line)

    show: Show | None = None
    launch = Launch(settings, workers=workers, report=warn, data_port=data.port)
    failures: list[Exception] = []

    def ready() -> None:
        nonlocal show
        say(f"ready: {launch.url}")
        show = Show(data.url, launch.url, launch.key, _artifacts(settings), began)
        # Beside the main thread, which goes on tending the children.
        threading.Thread(
            target=_play, args=(show, launch.stop, keep, failures.append), name="demo", daemon=True
        ).start()

    say(f"starting everything in {launch.settings.home}")
    launch.run(ready)
    for failure in failures:
        raise failure
    say("stopped everything; `make up` leaves it running, `zq demo --keep` this demo too")
    return show.exit_code if show else 1


def _play(show: Show, stop: StopSignal, keep: bool, fail: Callable[[Exception], None]) -> None:
    try:
        show.run()
    except (ZQError, BrokenPipeError) as error:
        fail(error)
        keep = False
    finally:
        if not keep:
            stop.set()
    if keep:
        say(f"still running at {show.server}; Ctrl-C stops it all")
        say("`zq runs list` and `zq run weather-report` know the address and the key by themselves")


def _artifacts(settings: Settings) -> Path:
    return settings.artifacts_dir.absolute()


def _on_free_port(settings: Settings) -> Settings:
    """Move to a free port where the default one is taken; a port that was asked for stays."""
    from orchestrator.adapters.embedded.process import free_port
    from orchestrator.cli.up.launch import port_is_free

    asked = {"ZQ_WEB__PORT", "ZQ_WEB__HOST"} & set(settings.origins)
    if asked or port_is_free(settings.web.host, settings.web.port):
        return settings
    return replace(settings, web=replace(settings.web, port=free_port()))


def _apply(client: Client) -> str:
    """Save the demo's workflow and return its name."""
    from orchestrator.cli.commands.apply import read_checked
    from orchestrator.demo import WORKFLOW_FILE

    definition = read_checked(WORKFLOW_FILE)
    workflows = client.workflows
    found = workflows.find(definition["name"])
    saved = workflows.change(found["id"], definition) if found else workflows.create(definition)
    return saved["name"]
