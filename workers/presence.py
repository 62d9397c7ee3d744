"""The worker's part inside Celery's main process: it shows that the main loop turns.

Everything that must go on when that loop hangs (beats, killing what overran) is done outside, by
`watch.py`: in `zq worker`'s supervisor, or in a small process that this module starts beside a
plain `celery worker`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from typing import Any

from celery import Celery, bootsteps, signals

from orchestrator.ports.dispatch import FINISH_QUEUE
from workers.identity import identity
from workers.linux import die_with_parent

#: How a supervisor passes the writing end of its pulse pipe.
PULSE_FD = "_ZQ_PULSE_FD"
#: On the desk: what the worker turned out to be, for whoever beats for it.
CARD = "worker.json"

#: What the pulse says: the main loop turns; the worker is closing and finishes what it holds.
ALIVE, CLOSING = b".", b"!"

_PULSE_EVERY_S = 1.0


class Pulse(bootsteps.StartStopStep):
    """Writes a byte each second from the main loop, so that a silent loop is noticed outside."""

    requires = ("celery.worker.components:Timer", "celery.worker.components:Pool")

    def __init__(self, worker: Any, **_: Any) -> None:
        self._fd = -1

    def start(self, worker: Any) -> None:
        """Hand over the worker's card, then pulse."""
        me = identity()
        queues = [q for q in worker.app.amqp.queues.consume_from if q != FINISH_QUEUE]
        card = {"slots": worker.concurrency, "queues": queues, "pid": os.getpid()}
        draft = me.desk / f"{CARD}.new"
        draft.write_text(json.dumps(card))
        draft.replace(me.desk / CARD)
        if PULSE_FD in os.environ:
            self._fd = int(os.environ[PULSE_FD])
        else:
            self._start_watch()
        os.set_blocking(self._fd, False)
        signals.worker_shutting_down.connect(self._close, weak=False)
        worker.timer.call_repeatedly(_PULSE_EVERY_S, self._pulse)
        self._pulse()

    def _start_watch(self) -> None:
        reading, self._fd = os.pipe()
        subprocess.Popen(
            [sys.executable, "-m", "workers.watch", str(os.getpid()), str(reading)],
            pass_fds=(reading,),
        )
        os.close(reading)

    def _pulse(self) -> None:
        if self._fd < 0:
            return
        try:
            os.write(self._fd, ALIVE)
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


def register(app: Celery) -> None:
    """Add the pulse to workers of this application."""
    app.steps["worker"].add(Pulse)


@signals.worker_process_init.connect
def _child_started(**_: Any) -> None:
    """A pool child never outlives its parent: nobody would beat for its work."""
    die_with_parent(signal.SIGKILL)
