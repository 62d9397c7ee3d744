"""The Celery messages: thin, and they raise nothing but Ignore. Celery calls them tasks; ours are
rows in Postgres."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING
from uuid import UUID

from celery import Celery, signals
from celery.exceptions import Ignore

from orchestrator import __version__
from orchestrator.bootstrap import core as bootstrap
from orchestrator.errors import SettingsError, StoreUnavailable
from orchestrator.ports.dispatch import EXECUTE, FINISH_RUN
from orchestrator.ports.fleet import Beat
from orchestrator.process import start_check
from orchestrator.settings import Settings
from workers.identity import identity, keep_temporary

if TYPE_CHECKING:
    from workers.child.runtime import Runtime

log = logging.getLogger(__name__)

#: Most connections to Postgres of a pool of threads: moves are short, and wait for each other.
_CONNECTIONS = 16
#: Seconds that a pool child may take to load what it needs.
_READY_S = 60.0
#: Characters that are noted of a reason not to work.
_MOST_REASON = 500


class Child:
    """What one pool child builds after its fork: at once, or else when a message comes."""

    def __init__(self, settings: Settings, app: Celery) -> None:
        self._settings = settings
        self._app = app
        self._pid = 0
        self._main = os.getpid()
        self._lock = threading.Lock()
        self._core: bootstrap.Core
        self._runtime: Runtime

    def _ready(self) -> None:
        if self._pid != os.getpid():
            # A pool of threads begins with many messages at once.
            with self._lock:
                if self._pid != os.getpid():
                    self._build()

    def _build(self) -> None:
        # Handlers and their libraries are imported where they are used: not in the pool's parent.
        from workers.child.runtime import Runtime
        from workers.functions import load_functions

        try:
            load_functions(self._settings.worker.modules)
        except SettingsError as error:
            # They could be loaded when the worker began. Without them it must take no more work.
            log.critical("%s; the worker ends", error.detail)
            os.kill(self._main, signal.SIGTERM)
            raise
        threads = threading.current_thread() is not threading.main_thread()
        size = min(self._settings.worker.slots, _CONNECTIONS) if threads else 2
        self._core = bootstrap.build(
            self._settings, pool_size=size, keep=not threads, celery=self._app
        )
        self._runtime = Runtime(self._core, identity())
        self._pid = os.getpid()

    def begin(self, **_: object) -> None:
        """Build it before the first message comes, which would wait for it."""
        try:
            self._ready()
        except Exception:
            # The first message will say what is wrong, where it can be seen.
            log.exception("a pool child could not get ready; it tries again with its first message")

    def end(self, **_: object) -> None:
        """Send what is gathered, where this child has done anything."""
        if self._pid == os.getpid():
            self._core.quotas.note_record()
            self._core.flush(1.0)

    @property
    def runtime(self) -> Runtime:
        """The runtime of this process."""
        self._ready()
        return self._runtime

    @property
    def core(self) -> bootstrap.Core:
        """The core of this process."""
        self._ready()
        return self._core


def refused(settings: Settings, reason: str) -> None:
    """Leave the reason why this worker does not work where `why` finds it, if it can be left."""
    from orchestrator.bootstrap.fleet import FleetCore

    me, core = identity(), FleetCore(settings)
    queues = tuple(filter(None, map(str.strip, settings.worker.queues.split(","))))
    beat = Beat(
        id=me.id, name=me.name, host=me.host, pid=os.getpid(), version=__version__, queues=queues,
        slots=0, children=(),
    )  # fmt: skip
    try:
        core.fleet.refuse(beat, reason[:_MOST_REASON])
    except StoreUnavailable as away:
        log.warning("nobody else hears of it: %s", away)
    finally:
        core.close()


def register(app: Celery, settings: Settings) -> None:
    """Define the messages on an application."""
    child = Child(settings, app)

    def check(**_: object) -> None:
        from workers.loadable import refuse_unloadable

        try:
            refuse_unloadable(settings.worker.modules)
        except SettingsError as error:
            sys.stderr.write(f"zq worker: {error.detail}\n")
            refused(settings, error.detail)
            sys.exit(start_check.REFUSED)
        keep_temporary(identity().folder)

    signals.celeryd_init.connect(check, weak=False)
    # Celery kills a child that takes longer to get ready; modules of users may take their time.
    app.conf.worker_proc_alive_timeout = _READY_S
    signals.worker_process_init.connect(child.begin, weak=False)
    signals.worker_process_shutdown.connect(child.end, weak=False)
    # A pool of threads works in the worker's own process.
    signals.worker_shutdown.connect(child.end, weak=False)

    # Flower is shown attempts, by the dispatcher; a message says nothing of how they end.
    @app.task(name=EXECUTE, ignore_result=True, send_events=False)
    def execute(run_id: str, wanted: list[list[int]]) -> None:
        """Work on attempts `[[task_no, attempt], ...]` of a run, unless others have them."""
        try:
            won = child.runtime.execute(UUID(run_id), [(no, attempt) for no, attempt in wanted])
        except StoreUnavailable as error:
            log.warning("run %s: not claimed, will be announced again: %s", run_id, error)
            won = False
        if not won:
            raise Ignore

    @app.task(name=FINISH_RUN, ignore_result=True, send_events=False)
    def finish_run(run_id: str) -> None:
        """The chord's body: end the run if all its tasks have ended."""
        try:
            child.core.engine.finish_run(UUID(run_id))
        except StoreUnavailable as error:
            log.warning("run %s: upkeep will end it: %s", run_id, error)
            raise Ignore from error
