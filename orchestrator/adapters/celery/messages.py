"""Celery messages as Redis keeps them: what `send_task` publishes, built so that several share one
round trip with each other and with what else goes to Redis.

Celery and kombu make the message; only the last step, the LPUSH, is left to the caller. A contract
test compares with what `send_task` publishes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import uuid4

from celery import Celery
from kombu.serialization import dumps

from orchestrator.ports.dispatch import EXECUTE
from orchestrator.ports.moves import Release


class _Pushes:
    """Takes the place of kombu's publish batch: keeps the command instead of sending it."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, str]] = []

    def add(self, _name: str, key: str, payload: str) -> None:
        """Keep an LPUSH; kombu's queues of ours have no expiry, so nothing else comes."""
        self.commands.append((key, payload))


class Messages:
    """Builds announcements. `names` are task ids with the name that Flower shows for them."""

    def __init__(self, app: Celery, names: dict[str, str]) -> None:
        self._app = app
        self._names = names

    def pushes(
        self, channel: Any, messages: Sequence[Sequence[Release]], *, again: bool
    ) -> Iterator[tuple[str, str]]:
        """Yield (queue key without the prefix, payload) of each message."""
        for together in messages:
            pushes = _Pushes()
            self._build(channel, together, again, pushes)
            yield from pushes.commands

    def _build(
        self, channel: Any, together: Sequence[Release], again: bool, pushes: _Pushes
    ) -> None:
        ids = [f"{r.run_id}:{r.task_no}:{r.attempt}" for r in together]
        names = [self._names.pop(task_id, None) for task_id in ids]
        first = together[0]
        message = self._app.amqp.as_task_v2(
            f"{ids[0]}:{uuid4().hex[:8]}" if again else ids[0],
            EXECUTE,
            args=(str(first.run_id), [[r.task_no, r.attempt] for r in together]),
            group_id=str(first.run_id),
            shadow=names[0],
            ignore_result=True,
            # For Flower, which hears of attempts in another way.
            argsrepr="",
            kwargsrepr="",
        )
        content_type, encoding, body = dumps(message.body, serializer="json")
        prepared = channel.prepare_message(
            body, 0, content_type, encoding, message.headers,
            {**message.properties, "delivery_mode": 2},
        )  # fmt: skip
        channel.basic_publish(prepared, exchange="", routing_key=first.queue, _publish_batch=pushes)
