"""The Celery application of the fleet: `celery -A workers.app worker` and `... flower`."""

from __future__ import annotations

from typing import Any

from celery import signals

from orchestrator import settings
from orchestrator.bootstrap import core as bootstrap
from orchestrator.ports.dispatch import FINISH_QUEUE
from orchestrator.process import log_lines, start_check
from orchestrator.process.memory_use import without_httpx_command
from workers import messages, presence

without_httpx_command()
_settings = settings.load()
start_check.refuse_unsafe(_settings)
app = bootstrap.celery(_settings)
messages.register(app, _settings)
presence.register(app)


@signals.setup_logging.connect
def _log_lines(**_: Any) -> None:
    """Celery's own set-up is replaced: every process of the product writes the same lines."""
    log_lines.set_up(_settings.log_level)


@signals.celeryd_after_setup.connect
def _also_finish(sender: Any, instance: Any, **_: Any) -> None:
    """Whatever queues a worker was given, it consumes the chord bodies too."""
    instance.app.amqp.queues.select_add(FINISH_QUEUE)
