"""Raw Celery, the yardstick: the same versions, the same Redis server, no state and no tricks.

`BENCH_REDIS_URL` names the server and the database of its broker; the results are in the next one.
"""

from __future__ import annotations

import os
import time
from typing import Any

from celery import Celery


def make_app(redis_url: str) -> Celery:
    """Return Celery with its defaults, but for the faster way to count a chord."""
    server, _, number = redis_url.rpartition("/")
    app = Celery("raw", broker=redis_url, backend=f"{server}/{int(number) + 1}")
    app.conf.update(
        task_serializer="json",
        result_expires=3600,
        result_backend_transport_options={"result_chord_ordered": False},
        broker_connection_retry_on_startup=True,
    )
    return app


app = make_app(os.environ.get("BENCH_REDIS_URL", "redis://127.0.0.1:6379/8"))


@app.task
def noop(*args: Any) -> dict[str, int]:
    """Do nothing."""
    return {"ok": 1}


@app.task
def done(*args: Any) -> dict[str, int]:
    """End a chord."""
    return {"done": 1}


@app.task
def clock(*args: Any) -> dict[str, float]:
    """Return when it started and ended, by the machine's clock."""
    started = time.time()
    return {"started": started, "ended": time.time()}
