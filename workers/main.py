"""`python -m workers.main`: one Celery worker, as the settings want it, under its supervisor.

The same as `celery -A workers.app worker` with the options that fit, without what that command
imports for its other commands.
"""

from __future__ import annotations

import sys
from typing import Any

from orchestrator import settings
from workers.app import app
from workers.identity import identity


def main() -> None:
    """Work until SIGTERM."""
    configured = settings.load()
    worker = configured.worker
    # Celery's heartbeats are for Flower alone: leases hang on the supervisor's beats.
    shown = configured.broker.flower_events
    beats: dict[str, Any] = {"heartbeat_interval": 10} if shown else {"without_heartbeat": True}
    me = identity()
    process = app.Worker(
        hostname=f"{me.name}@{me.host}",
        concurrency=worker.slots,
        queues=worker.queues,
        pool=worker.pool,
        loglevel=configured.log_level,
        without_gossip=True,
        without_mingle=True,
        **beats,
    )
    process.start()
    sys.exit(process.exitcode)


if __name__ == "__main__":
    main()
