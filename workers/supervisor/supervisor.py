"""`zq worker`: keeps one Celery worker alive, beats for it, and ends it in order.

The worker is a process of its own, so that its hang, crash or kill -9 cannot take the beats along.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from types import FrameType

from orchestrator import settings
from orchestrator.bootstrap.fleet import FleetCore
from orchestrator.errors import SettingsError
from orchestrator.process import forks, health_page, log_lines, own_packages, start_check
from orchestrator.process.memory_use import few_arenas
from orchestrator.process.stop_signal import StopSignal
from orchestrator.settings import Settings
from workers.identity import PULSE_FD, Identity, fresh
from workers.supervisor.watchdog import Watchdog

log = logging.getLogger("zq.worker")

_POOLS = ("prefork", "threads")
_WORKER = "workers.main"
_LONGEST_PAUSE_S = 30.0
#: A worker that lived this long was healthy: the next pause is short again.
_HEALTHY_S = 60.0


class Supervisor:
    """Starts the worker again whenever it ends, until it is told to stop."""

    def __init__(self, configured: Settings) -> None:
        if configured.worker.pool not in _POOLS:
            raise SettingsError(f"ZQ_WORKER__POOL is {configured.worker.pool}; {_POOLS} are known")
        self._settings = configured
        self._core = FleetCore(configured)
        self._stop = StopSignal()
        self._process: forks.Started | None = None
        self._watchdog: Watchdog | None = None

    def run(self) -> None:
        """Return when a SIGTERM or SIGINT has ended the worker."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._asked_to_stop)
        worker = self._settings.worker
        health_page.serve(self._settings.web.host, worker.health_port, self._alive)
        pause_s = 1.0
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                self._once()
            except Exception:
                # Whatever it is: without its supervisor there would be no worker at all.
                log.exception("the worker could not be watched over")
            if self._stop.is_set():
                break
            if self._process is not None and self._process.returncode == start_check.REFUSED:
                # It has said why, and would say it again.
                self._core.close()
                sys.exit(start_check.REFUSED)
            pause_s = 1.0 if time.monotonic() - began > _HEALTHY_S else pause_s
            log.warning("the worker ended; it starts again in %g s", pause_s)
            self._stop.wait(pause_s)
            pause_s = min(_LONGEST_PAUSE_S, pause_s * 2)
        self._core.close()

    def _once(self) -> None:
        environment = dict(os.environ)
        few_arenas(environment)
        me = fresh(environment)
        reading, writing = os.pipe()
        environment[PULSE_FD] = str(writing)
        try:
            try:
                self._process = _started(environment, writing)
            finally:
                os.close(writing)
            self._watch_over(me, self._process, reading)
        finally:
            os.close(reading)

    def _watch_over(self, me: Identity, process: forks.Started, reading: int) -> None:
        if self._stop.is_set():
            # The signal came before there was a process to pass it on to.
            process.terminate()
        try:
            self._watchdog = Watchdog(self._core, me, process.pid, reading)
            self._watchdog.run()
        finally:
            self._end(process)

    def _asked_to_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stop.set()
        if self._process is not None:
            # One SIGTERM is Celery's warm shutdown; a second would be a cold one.
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            signal.signal(signal.SIGALRM, self._out_of_patience)
            signal.setitimer(signal.ITIMER_REAL, self._settings.worker.stop_s)

    def _out_of_patience(self, _number: int, _frame: FrameType | None) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _end(self, process: forks.Started) -> None:
        try:
            process.wait(timeout=self._settings.worker.stop_s if self._stop.is_set() else 2.0)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _alive(self) -> bool:
        """Whether the last beat is younger than the lease."""
        beaten_at = self._watchdog and self._watchdog.beaten_at
        return bool(beaten_at and time.monotonic() - beaten_at < self._settings.worker.lease_s)


def _started(env: Mapping[str, str], pulse_fd: int) -> forks.Started:
    """Start a worker in a session of its own: Ctrl-C reaches us first, and we end it in order."""
    if forks.is_copy():
        return forks.copy([_WORKER], env, keep=[pulse_fd])
    return subprocess.Popen(
        own_packages.command(_WORKER),
        env={**env, "PYTHONPATH": own_packages.search_path(env)},
        pass_fds=(pulse_fd,),
        start_new_session=True,
        preexec_fn=lambda: forks.die_with_parent(signal.SIGTERM),  # noqa: PLW1509
    )


def main() -> None:
    """Run `python -m workers.supervisor`."""
    try:
        configured = settings.load()
        start_check.refuse_unsafe(configured)
        log_lines.set_up(configured.log_level)
        supervisor = Supervisor(configured)
    except SettingsError as error:
        sys.exit(f"zq worker: {error.detail}")
    supervisor.run()
