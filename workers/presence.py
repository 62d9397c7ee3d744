"""The worker's part inside Celery's main process: it shows that the main loop turns.

Everything that must go on when that loop hangs (beats, killing what overran) is done outside, by
`watchdog.py`: in `zq worker`'s supervisor, or in a small process that this module starts beside a
plain `celery worker`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import psutil
from celery import Celery, bootsteps, signals
from celery.worker.control import Panel

from orchestrator import settings
from orchestrator.ports.dispatch import FINISH_QUEUE
from orchestrator.process import own_packages
from orchestrator.process.forks import die_with_parent
from orchestrator.process.memory_use import leave_to_copies
from workers.identity import ALIVE, CARD, CLOSING, PULSE_FD, identity

log = logging.getLogger("zq.worker")

_PULSE_EVERY_S = 1.0
#: Commands that Flower sends, and that change nothing but what it is shown.
_HARMLESS = frozenset({"enable_events", "heartbeat"})


class Pulse(bootsteps.StartStopStep):
    """Writes a byte each second from the main loop, so that a silent loop is noticed outside.

    `broker_wait` writes it while the loop stands still because the broker is away.
    """

    requires = ("celery.worker.components:Timer", "celery.worker.components:Pool")

    def __init__(self, worker: Any, **_: Any) -> None:
        self._fd = -1
        worker.zq_pulse = self

    def start(self, worker: Any) -> None:
        """Hand over the worker's card, then pulse."""
        me = identity()
        queues = [q for q in worker.app.amqp.queues.consume_from if q != FINISH_QUEUE]
        threads = worker.pool_cls.__module__ == "celery.concurrency.thread"
        card = {
            "slots": worker.concurrency, "queues": queues, "pid": os.getpid(), "threads": threads,
        }  # fmt: skip
        if threads:
            _open_more_files(worker.concurrency)
        draft = me.folder / f"{CARD}.new"
        draft.write_text(json.dumps(card))
        draft.replace(me.folder / CARD)
        if PULSE_FD in os.environ:
            self._fd = int(os.environ[PULSE_FD])
        else:
            self._start_watch()
        terms = settings.load().worker
        # The last beat may have been one before.
        self._end_unwatched(max(0.0, terms.lease_s - terms.beat_s - 1.0))
        os.set_blocking(self._fd, False)
        signals.worker_shutting_down.connect(self._close, weak=False)
        worker.timer.call_repeatedly(_PULSE_EVERY_S, self.show)
        self.show()

    def _start_watch(self) -> None:
        reading, self._fd = os.pipe()
        subprocess.Popen(
            own_packages.command("workers.supervisor.watchdog", str(os.getpid()), str(reading)),
            env={**os.environ, "PYTHONPATH": own_packages.search_path(os.environ)},
            pass_fds=(reading,),
        )
        os.close(reading)

    def _end_unwatched(self, patience_s: float) -> None:
        """End with all children some time after whoever beats for this worker is gone: the SIGTERM
        that came then lets handlers come to their ends, but only while the lease may run."""
        watched = select.poll()
        # Nothing is asked for: that nobody reads any more is told all the same.
        watched.register(self._fd, 0)

        def wait() -> None:
            watched.poll()
            log.error("nobody beats for this worker any more: it ends within %g s", patience_s)
            time.sleep(patience_s)
            if os.getpgrp() == os.getpid():
                os.killpg(os.getpid(), signal.SIGKILL)
            # Others are in its group: a shell's script, say.
            here = psutil.Process()
            for process in [*here.children(recursive=True), here]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()

        threading.Thread(target=wait, name="zq-unwatched", daemon=True).start()

    def show(self) -> None:
        """Pulse once, from any thread; nothing once the worker is closing."""
        fd = self._fd
        if fd < 0:
            return
        try:
            os.write(fd, ALIVE)
        except BlockingIOError:
            pass
        except OSError:
            # Whoever beats for this worker is gone: its leases run out, so it must not go on.
            os.kill(os.getpid(), signal.SIGTERM)

    def stop(self, worker: Any) -> None:
        """See `_close`; for a worker that ends without a signal."""
        self._close()

    def _close(self, **_: Any) -> None:
        """Say that the worker is closing: its main loop stands still while it finishes its work.

        Closing the pipe would not say it: the pool's children hold its other copies.
        """
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.write(self._fd, CLOSING)
            self._fd = -1


def _open_more_files(slots: int) -> None:
    """Let each thread have a few sockets: a process may often open 1,024 files only."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = slots * 4 + 256
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))


def register(app: Celery) -> None:
    """Add the pulse to workers of this application, while they wait for the broker too; tell Flower
    of them aside; and leave of remote control what looks only.

    Whoever can write to Redis could otherwise stop a worker, shrink its pool or feed it a queue.
    """
    app.steps["worker"].add(Pulse)
    app.events.dispatcher_cls = "workers.flower_events:AsideDispatcher"
    app.conf.worker_consumer = "workers.broker_wait:PatientConsumer"
    for name, command in list(Panel.meta.items()):
        if command.type != "inspect" and name not in _HARMLESS:
            Panel.data.pop(name, None)
            Panel.meta.pop(name, None)


@signals.worker_init.connect
def _share(**_: Any) -> None:
    """Import once what each of the pool's children needs, and leave it to them. A deployment's own
    modules are not among it: they may start threads.

    And be somebody before the pool forks: children with identities of their own would hold work for
    workers that never beat."""
    identity()
    leave_to_copies()


@signals.worker_process_init.connect
def _child_started(**_: Any) -> None:
    """A pool child never outlives its parent: nobody would beat for its work."""
    die_with_parent(signal.SIGKILL)
    # Its second thread talks to Redis: what works must not wait 5 ms for that one's turn to end.
    sys.setswitchinterval(0.0005)
