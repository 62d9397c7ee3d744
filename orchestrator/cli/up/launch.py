"""Everything on this machine under one roof: servers, API, workers, scheduler; up, tended, down.

Order matters and is kept here: servers first and last, the API before the workers.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

import psutil

from orchestrator.adapters.embedded import EmbeddedServices, running
from orchestrator.adapters.embedded.process import free_port
from orchestrator.bootstrap.fleet import FleetCore
from orchestrator.cli.up.children import Child, Report, stop_all
from orchestrator.cli.up.servers import TendedServers
from orchestrator.errors import ServiceUnavailable, SettingsError, StoreUnavailable, ZQError
from orchestrator.process import forks, own_packages, start_check
from orchestrator.process.home import admin_key, announce, only_one, secret_key, web_url
from orchestrator.process.memory_use import few_arenas
from orchestrator.process.private_files import private_folder
from orchestrator.process.stop_signal import StopSignal
from orchestrator.settings import Settings

#: Seconds between two looks at the children: while they come up, and afterwards.
LOOK_S, TEND_S = 0.1, 0.5
#: Seconds until everything must be ready.
READY_S = 90.0
WEB_STOP_S, WORKER_STOP_S, SCHEDULER_STOP_S = 10.0, 25.0, 8.0
#: What the children need, imported once for all of them.
_SHARED = (
    "celery.apps.worker", "celery.concurrency.prefork", "celery.fixups.django",
    "celery.worker.consumer", "gunicorn.arbiter", "gunicorn.glogging",
    "orchestrator.bootstrap.core", "web.server.gunicorn_conf", "web.wsgi",
    "workers.child.runtime", "workers.functions", "workers.messages", "workers.presence",
    "workers.supervisor.watchdog",
)  # fmt: skip
_PR_SET_CHILD_SUBREAPER = 36


class PortTaken(ZQError):
    """Somebody else listens on the port."""

    code = "port_taken"


@contextlib.contextmanager
def servers(settings: Settings) -> Iterator[tuple[Settings, EmbeddedServices | None]]:
    """Start this machine's own servers where no URL is given; yield settings with all URLs."""
    if not settings.embedded:
        yield settings, None
        return
    found = running(settings.home)
    if found is not None:
        yield settings.with_urls(found.database_url, found.redis_url), None
        return
    services = EmbeddedServices(settings.home)
    with services as endpoints:
        yield settings.with_urls(endpoints.database_url, endpoints.redis_url), services


class Launch:
    """One `zq up`, from the first server to the last process's end. Main thread only."""

    def __init__(
        self, settings: Settings, *, workers: int, report: Report, data_port: int = 0
    ) -> None:
        settings = replace(settings, home=settings.home.absolute())
        #: Where nodes may reach the demo's data server; chosen now for a demo that comes later.
        self._data_port = data_port or (free_port() if has_demo(settings) else 0)
        self.settings = open_for_demo(settings, self._data_port)
        self._workers = workers
        self._report = report
        self._signals = 0
        #: Set by a signal, or by whoever wants an end.
        self.stop = StopSignal()
        self.url = web_url(settings.web.host, settings.web.port)
        self.key = ""

    def run(self, ready: Callable[[], None]) -> None:
        """Start everything, call `ready` once it is, tend it until `stop`, and stop it all."""
        start_check.refuse_unusable(self.settings)
        self._catch_signals()
        _adopt_orphans()
        home = self.settings.home
        try:
            with only_one(home):
                refuse_taken_port(self.settings)
                self.key = self.settings.auth.admin_key or admin_key(home)
                self._take_secret_key()
                self._run(ready)
        finally:
            _sweep()

    def _take_secret_key(self) -> None:
        """Use the home's own secret key with embedded servers; SettingsError without one."""
        from orchestrator.models.access.secret_keys import SecretKeys

        auth = self.settings.auth
        if self.settings.embedded and not auth.secret_key:
            auth = replace(auth, secret_key=secret_key(self.settings.home))
            self.settings = replace(self.settings, auth=auth)
        SecretKeys(auth.secret_key, auth.secret_keys_old)

    def _run(self, ready: Callable[[], None]) -> None:
        from orchestrator.adapters.postgres.migrate import migrate

        with servers(self.settings) as (settings, services):
            migrate(settings.database.url)
            if self.stop.is_set():
                return
            if _copies(settings):
                forks.preload(_SHARED)
            web, workers, scheduler = self._children(settings)
            groups = (web, workers, scheduler)
            everyone = [child for group in groups for child in group]
            try:
                gate = Gate(settings, self.url)
                tended = TendedServers(services, settings.home / "log", self._report)
                for child in everyone:
                    child.start()
                self._tend(everyone, tended, every_s=LOOK_S, until=lambda: _up(everyone, gate))
                gate.close()
                if not self.stop.is_set():
                    announce(settings.home, self.url, self._data_port)
                    ready()
                self._tend(everyone, tended, every_s=TEND_S, until=self.stop.is_set)
            finally:
                stop_all(groups, lambda: self._signals > 1)

    def _children(self, settings: Settings) -> tuple[list[Child], list[Child], list[Child]]:
        env = environment(settings, self.key)
        folder = private_folder(settings.home / "log")

        def child(name: str, patience_s: float, *words: str, copied: bool = True) -> Child:
            return Child(
                name=name, words=words, env=env, log=folder / f"{name}.log", report=self._report,
                patience_s=patience_s, copied=copied and _copies(settings),
            )  # fmt: skip

        # Several web processes count together, which must be known before metrics are imported.
        alone = settings.web.processes == 1
        return (
            [child("web", WEB_STOP_S, "web.server.serve", copied=alone)],
            [
                child(f"worker-{number}", WORKER_STOP_S, "workers.supervisor")
                for number in range(1, self._workers + 1)
            ],
            [child("scheduler", SCHEDULER_STOP_S, "orchestrator.cli", "scheduler")],
        )

    def _tend(
        self,
        children: list[Child],
        servers: TendedServers,
        *,
        every_s: float,
        until: Callable[[], bool],
    ) -> None:
        """Keep children and servers alive until `until` or `stop`; a server that cannot be started
        any more ends everything."""
        while not self.stop.wait(every_s):
            for child in children:
                child.tend()
            servers.tend()
            if until():
                return

    def _catch_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._asked_to_stop)

    def _asked_to_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._signals += 1
        self.stop.set()


def _up(children: list[Child], gate: Gate) -> bool:
    """Whether everything runs; SettingsError for what will not, however long one waits."""
    for child in children:
        if child.refused:
            raise SettingsError(child.refused)
    try:
        return gate.open()
    except StoreUnavailable:
        # It is started again, or ends everything.
        return False


class Gate:
    """Opens once the API is ready and a worker that was not there before has beaten."""

    def __init__(self, settings: Settings, url: str) -> None:
        self._core = FleetCore(settings)
        self._url = url
        self._before = {worker["id"] for worker in self._core.fleet.workers()}
        self._looks = 0

    def open(self) -> bool:
        """Look once; ServiceUnavailable when it has taken too long."""
        self._looks += 1
        if self._beaten() and self._ready():
            return True
        if self._looks * LOOK_S > READY_S:
            raise ServiceUnavailable(
                f"not ready after {READY_S:g} s: the logs of web and worker in the home say why"
            )
        return False

    def close(self) -> None:
        """Give its connection back."""
        self._core.close()

    def _beaten(self) -> bool:
        return any(
            worker["id"] not in self._before and worker["state"] == "active"
            for worker in self._core.fleet.workers()
        )

    def _ready(self) -> bool:
        address = urlsplit(self._url)
        line = HTTPConnection(address.hostname or "", address.port, timeout=2)
        try:
            line.request("GET", "/readyz")
            return line.getresponse().status == HTTPStatus.OK
        except (OSError, HTTPException):
            return False
        finally:
            line.close()


def _copies(settings: Settings) -> bool:
    return forks.POSSIBLE and settings.start.copies


def environment(settings: Settings, key: str) -> dict[str, str]:
    """Return what a child process is to see: this environment, with what was resolved in it."""
    resolved: dict[str, Any] = {
        "ZQ_HOME": settings.home.absolute(),
        "ZQ_DATABASE__URL": settings.database.url,
        "ZQ_REDIS__URL": settings.redis.url,
        "ZQ_AUTH__ADMIN_KEY": key,
        "ZQ_AUTH__SECRET_KEY": settings.auth.secret_key,
        "ZQ_WEB__HOST": settings.web.host,
        "ZQ_WEB__PORT": settings.web.port,
        "ZQ_WORKER__MODULES": worker_modules(settings),
        "ZQ_EGRESS__ALLOW": settings.egress.allow,
    }
    env = {k: v for k, v in os.environ.items() if k.removesuffix("_FILE") not in resolved}
    few_arenas(env)
    return {
        **env,
        **{name: str(value) for name, value in resolved.items()},
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": own_packages.search_path(os.environ),
    }


def worker_modules(settings: Settings) -> str:
    """Return what workers of these settings are to load; with embedded Postgres the demo too."""
    modules = [name for name in settings.worker.modules.split(",") if name]
    if has_demo(settings):
        modules.append(own_packages.DEMO)
    return ",".join(dict.fromkeys(modules))


def has_demo(settings: Settings) -> bool:
    """Tell whether workers know the demo's functions: with this machine's own Postgres."""
    return "ZQ_DATABASE__URL" not in settings.origins


def open_for_demo(settings: Settings, port: int) -> Settings:
    """Let nodes call one port of 127.0.0.1, the demo's data server; 0 opens nothing."""
    if not port:
        return settings
    allow = ",".join(filter(None, [settings.egress.allow, f"127.0.0.1:{port}"]))
    return replace(settings, egress=replace(settings.egress, allow=allow))


def refuse_taken_port(settings: Settings) -> None:
    """Raise PortTaken, which names the setting, when the API's port is in use."""
    if not port_is_free(settings.web.host, settings.web.port):
        raise PortTaken(
            f"port {settings.web.port} of {settings.web.host} is taken by another program:"
            " stop that one, or set ZQ_WEB__PORT to a free port"
        )


def port_is_free(host: str, port: int) -> bool:
    """Tell whether a server could listen there now."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host or None,
        port,
        type=socket.SOCK_STREAM,
        flags=socket.AI_PASSIVE,
    )[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError:
            return False
    return True


def _adopt_orphans() -> None:
    """Become the parent of what dying children leave behind, so that `_sweep` finds it."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _sweep() -> None:
    """Leave no process behind."""
    left = psutil.Process().children(recursive=True)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=2)
