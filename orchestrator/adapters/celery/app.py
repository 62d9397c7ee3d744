"""The one Celery configuration, shared by whoever publishes and whoever works.

A message is only a hint: early ack, no redelivery, no time limits, no eta. Postgres re-drives.
"""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from celery import Celery
from kombu import Exchange, Queue

from orchestrator.errors import SettingsError
from orchestrator.ports.dispatch import FINISH_QUEUE, FINISH_RUN
from orchestrator.settings import Settings

#: Seconds a chord's keys live: above the longest run worth counting. When they are gone the run
#: still ends, by its last settle.
_CHORD_TTL_S = 7 * 86_400
_LONGEST_READ_S = 2.0


def make_celery(settings: Settings) -> Celery:
    """Return the application for these settings; it connects when it is first used."""
    broker = settings.broker.url or settings.redis.url
    # Without fixups: DJANGO_SETTINGS_MODULE would change the class of every task, and put the
    # working folder first among the places to import from.
    app = Celery("zq", broker=broker, backend=settings.redis.url, set_as_current=False, fixups=[])
    timeouts = {
        # A worker's main loop may stand still for as long, and must not be taken for hung.
        "socket_timeout": min(settings.redis.timeout_s, _LONGEST_READ_S),
        "socket_connect_timeout": settings.redis.timeout_s,
        "socket_keepalive": True,
        "health_check_interval": 5,
    }
    queues = [q.strip() for q in settings.worker.queues.split(",") if q.strip()]
    app.conf.update(
        broker_transport=_transport(broker),
        broker_use_ssl=_tls(broker),
        redis_backend_use_ssl=_tls(settings.redis.url),
        task_queues=[Queue(q, Exchange(q), routing_key=q) for q in (*queues, FINISH_QUEUE)],
        task_default_queue=queues[0],
        task_create_missing_queues=True,
        task_routes={FINISH_RUN: {"queue": FINISH_QUEUE}},
        # Messages carry ids only; nothing that a message says is ever unpickled.
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        result_expires=_CHORD_TTL_S,
        # The claim row in Postgres, not the broker, knows who works on what.
        task_acks_late=False,
        task_publish_retry=False,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_soft_shutdown_timeout=0,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        # On, workers' signs of life and `flower.py`; messages themselves are not shown.
        worker_send_task_events=settings.broker.flower_events,
        task_send_sent_event=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=settings.redis.timeout_s,
        broker_transport_options={
            **timeouts,
            "global_keyprefix": settings.redis.prefix,
            # Nothing is delivered twice by the broker, so it need not note what it has delivered:
            # four commands a message. A worker that ends in order puts back what it has not begun.
            "ack_emulation": False,
            # One list a queue: what goes first is decided in Postgres.
            "priority_steps": [0],
        },
        redis_socket_timeout=settings.redis.timeout_s,
        redis_socket_connect_timeout=settings.redis.timeout_s,
        redis_socket_keepalive=True,
        result_backend_transport_options={
            "global_keyprefix": settings.redis.prefix,
            # Chord parts are counted, not collected in order.
            "result_chord_ordered": False,
            "retry_policy": {"max_retries": 0},
        },
    )
    return app


def _transport(url: str) -> str | None:
    """Return our own transport for Redis; other brokers keep kombu's."""
    own = urlsplit(url).scheme in {"redis", "rediss"}
    return "orchestrator.adapters.celery.transport:Transport" if own else None


def _tls(url: str) -> dict[str, Any] | None:
    """Return TLS options for a `rediss` URL: the server must prove who it is, unless it says
    `ssl_cert_reqs` otherwise. Left to themselves, kombu checks nothing and Celery refuses."""
    if urlsplit(url).scheme != "rediss":
        return None
    given = {k: v for k, v in parse_qsl(urlsplit(url).query) if k.startswith("ssl_")}
    asked = given.pop("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    words = {"required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE}
    if asked not in words:
        raise SettingsError(f"ssl_cert_reqs={asked[:40]}: it is required, optional or none")
    return {**given, "ssl_cert_reqs": words[asked]}
