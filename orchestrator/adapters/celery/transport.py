"""kombu's Redis transport, which takes no harm from what somebody else wrote into a queue.

kombu and Celery let a message that they cannot read end the worker, which then finds it in the
queue again. Here whatever is not exactly a message of ours is dropped with a warning: nothing is
lost, since upkeep announces again whatever is due. What a message says is not trusted either way;
claims are decided by Postgres.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import re
from collections.abc import Mapping
from contextlib import suppress
from queue import Empty
from typing import Any

from kombu.transport import redis

from orchestrator.ports.dispatch import EXECUTE, FINISH_RUN

log = logging.getLogger(__name__)

#: Ours are under 2 KB; nothing near this is unpacked.
MAX_BODY_CHARS = 64 * 1024
_TASKS = frozenset({EXECUTE, FINISH_RUN})
#: Queues of Celery itself: its remote control, the answers to that, and its events.
_CELERYS = (".pidbox", "celeryev.")
_RUN_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
#: Postgres's greatest integer.
_MOST = 2**31 - 1
#: Would delay a message, unpack it, or have something else run after it.
_NEVER = ("eta", "expires", "compression", "chord", "errbacks", "callbacks", "chain", "replaced")


class NotOurs(ValueError):
    """The message is none that this product sends."""


class Channel(redis.Channel):
    """Survives a message that is no JSON."""

    def _brpop_read(self, **options: Any) -> Any:
        transport: Any = self.connection
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]
        except (*transport.connection_errors, *transport.channel_errors, Empty):
            raise
        except Exception as error:
            _warn("a queue", error)
            return None


class Transport(redis.Transport):
    """Hands on messages of ours, and those of Celery itself."""

    Channel = Channel

    def _deliver(self, message: Any, queue: Any) -> None:
        try:
            if not any(mark in str(queue) for mark in _CELERYS):
                check(message)
            super()._deliver(message, queue)
        except self.connection_errors:
            raise
        except Exception as error:
            _warn(queue, error)
            self._drop(message)

    def _drop(self, message: Any) -> None:
        """Take it off the list of what would be delivered again."""
        with suppress(TypeError, KeyError, AttributeError):
            tag = message["properties"]["delivery_tag"]
            for channel in self.channels or ():
                if tag in (channel.qos._delivered or ()):  # noqa: SLF001
                    channel.basic_reject(tag, requeue=False)


def check(message: Any) -> None:
    """Raise NotOurs for what is not in the form that `celery_dispatch` sends."""
    headers, properties = _mapping(message, "headers"), _mapping(message, "properties")
    if headers.get("task") not in _TASKS:
        raise NotOurs("it asks for another task")
    if message.get("content-type") != "application/json":
        raise NotOurs("its body is no JSON")
    if message.get("content-encoding") != "utf-8" or properties.get("body_encoding") != "base64":
        raise NotOurs("its body is encoded otherwise")
    if any(headers.get(name) for name in _NEVER) or headers.get("timelimit") not in _NO_LIMIT:
        raise NotOurs("it is to be treated in a way that ours never are")
    ids = (headers.get("id"), properties.get("delivery_tag"), headers.get("root_id") or "")
    if not all(isinstance(each, str) for each in (*ids, headers.get("group") or "")):
        raise NotOurs("its ids are no text")
    if not isinstance(headers.get("retries", 0), int):
        raise NotOurs("its number of tries is none")
    _check_body(message.get("body"), headers["task"])


_NO_LIMIT = (None, [None, None], (None, None))


def _mapping(message: Any, name: str) -> Mapping[str, Any]:
    found = message.get(name) if isinstance(message, dict) else None
    if not isinstance(found, dict):
        raise NotOurs(f"it has no {name}")
    return found


def _check_body(body: Any, task: str) -> None:
    if not isinstance(body, str) or len(body) > MAX_BODY_CHARS:
        raise NotOurs("its body is missing or too long")
    try:
        arguments, named, embedded = json.loads(base64.b64decode(body, validate=True))
    except (ValueError, TypeError, RecursionError, binascii.Error):
        raise NotOurs("its body cannot be read") from None
    if named != {} or not isinstance(embedded, dict) or not _are_ours(arguments, task):
        raise NotOurs("its arguments are others")
    if any(embedded.get(name) for name in _NEVER):
        raise NotOurs("something else would run after it")


def _are_ours(arguments: Any, task: str) -> bool:
    """Tell whether a task's arguments have its types: a run's id, and attempts to execute."""
    if not isinstance(arguments, list) or len(arguments) != (2 if task == EXECUTE else 1):
        return False
    run_id, attempts = arguments[0], arguments[1] if task == EXECUTE else []
    if not isinstance(run_id, str) or not _RUN_ID.fullmatch(run_id):
        return False
    return isinstance(attempts, list) and all(
        isinstance(one, list) and len(one) == 2 and all(_is_number(n) for n in one)
        for one in attempts
    )


def _is_number(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MOST


def _warn(queue: Any, error: Exception) -> None:
    # Without its text, which may be anything and of any length.
    told = str(error) if isinstance(error, NotOurs) else type(error).__name__
    log.warning("a message in %s was dropped: %s", str(queue)[:100], told)
