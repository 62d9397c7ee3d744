"""A run as one Celery chord whose parts are settled tasks, released in dependency order.

Celery itself would count attempts, duplicates and kills as parts and fire the body early or never;
so messages carry the run's group id without a chord, and parts are reported here, after the commit
that settles their task. The semi-private parts of Celery in use are touched in this file alone and
held by a contract test: the keys of a chord, `on_chord_part_return`, `_chord_part_return_script`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol
from uuid import UUID, uuid4

from celery import Celery
from celery.app.task import Context
from kombu.exceptions import KombuError, OperationalError
from redis.exceptions import RedisError

from orchestrator.adapters.celery.flower import CeleryEvents, celery_id, celery_name, moves
from orchestrator.adapters.celery.messages import Messages
from orchestrator.errors import ZQError
from orchestrator.models.definitions.plan import Plan
from orchestrator.models.runs.task import TaskState
from orchestrator.ports.dispatch import FINISH_QUEUE, FINISH_RUN
from orchestrator.ports.moves import Moved, Release

log = logging.getLogger(__name__)

_AWAY = (KombuError, OperationalError, RedisError, OSError)
#: Seconds to leave Redis alone after it failed: a run's thousand tasks must not each wait for it.
_REST_S = 1.0
#: Seconds a queue's depth is believed.
_DEPTH_S = 0.05
#: The keys of a chord by their ends, as Celery's script takes them: parts, difference, size, ids.
_CHORD = (".j", ".t", ".s", ".d")
#: Seconds that Celery gives a claim to send the body, and the mark that it was sent.
_CLAIM_S, _DONE_S = 10, 300
#: Names kept from showing a commit until its messages are sent.
_NAMES_KEPT = 10_000


class Report(Protocol):
    """Takes parts of a chord: see `CeleryDispatcher.settled`."""

    def __call__(self, run_id: UUID, task_nos: Sequence[int], *, ended: bool = False) -> object: ...


class CeleryDispatcher:
    """Answers `ports.dispatch.Dispatcher`. Nothing here raises when Redis is away."""

    def __init__(
        self,
        app: Celery,
        *,
        finish_always: bool = False,
        pipelined: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._finish_always = finish_always
        self._pipelined = pipelined
        self._clock = clock
        self._away_until = 0.0
        self._depths: dict[str, tuple[float, int | None]] = {}
        shown = app.conf.worker_send_task_events
        self._events = CeleryEvents(app) if shown else None
        self._names: dict[str, str] = {}
        self._messages = Messages(app, self._names)
        # Kombu and Celery each add the prefix by themselves; a client of ours does not.
        self._prefix: str = app.conf.broker_transport_options.get("global_keyprefix", "")
        self._one_server = app.conf.broker_url == app.conf.result_backend

    def tell(
        self,
        moved: Moved,
        messages: Sequence[Sequence[Release]],
        plan: Callable[[UUID, int], Plan],
        report: Report | None = None,
    ) -> None:
        """See the port. `report` takes the chord's parts where somebody else passes them on."""
        self.show(moved, plan)
        if moved.size is not None:
            # With parts to report, the messages come after them; else in the same round trip.
            together = () if moved.settled else messages
            if not self.open(moved.run_id, moved.size, together):
                return
            messages = messages if moved.settled else ()
        if moved.settled:
            (report or self.settled)(moved.run_id, moved.settled, ended=moved.ended_run)
        if messages:
            self.release(messages)

    def open(self, run_id: UUID, size: int, messages: Sequence[Sequence[Release]] = ()) -> bool:
        """See the port; `messages` are released in the same round trip. Also right for a run that
        was stored while Redis was away: a run nobody has claimed has reported no part, so its
        chord cannot have fired and is not reopened."""
        return self._try("open a chord", lambda: self._open(str(run_id), size, messages))

    def _open(self, group: str, size: int, messages: Sequence[Sequence[Release]]) -> None:
        """As `set_chord_size` and then publishing, in one round trip where one server has both."""
        backend: Any = self._app.backend
        pushes: list[tuple[str, str]] = []
        if self._one_server and messages:
            with self._app.producer_or_acquire() as producer:
                pushes += self._messages.pushes(producer.channel, messages, again=False)
        with self._together(backend.client) as pipe:
            pipe.delete(backend.get_key_for_group(group, ".c"))
            pipe.set(backend.get_key_for_group(group, ".s"), size, ex=backend.chord_expires or None)
            for key, payload in pushes:
                pipe.lpush(f"{self._prefix}{key}", payload)
        if messages and not self._one_server:
            self._publish(messages, again=False)

    def show(self, moved: Moved, plan: Callable[[UUID, int], Plan]) -> None:
        """Let Celery's own tools see a commit. Costs one publish, and nothing with
        ZQ_BROKER__FLOWER_EVENTS off. While Redis is away commits are kept and shown later; one
        whose plan cannot be read is not shown."""
        if self._events is None or not (found := moves(moved.events)):
            return
        sender = self._events
        try:
            known = plan(moved.workflow_id, moved.version)
        except ZQError as error:
            log.debug("not shown to Flower: %s", error)
            return
        if len(self._names) > _NAMES_KEPT:
            self._names.clear()
        for event in found:
            if event.state == TaskState.QUEUED:
                self._names[celery_id(event, known)] = celery_name(event, known)
        if self._clock() < self._away_until:
            sender.send(found, known, away=True)
        else:
            self._try("tell Flower", lambda: sender.send(found, known))

    def flush(self, timeout_s: float) -> None:
        """See the port."""
        if self._events is not None:
            self._events.flush(timeout_s)

    def release(self, messages: Sequence[Sequence[Release]], *, again: bool = False) -> bool:
        """See the port. A message's id names its first attempt."""
        if not messages:
            # An installation at rest never makes a producer, with all that this takes.
            return True
        return self._try("publish", lambda: self._publish(messages, again))

    def _publish(self, messages: Sequence[Sequence[Release]], again: bool) -> None:
        # One pipeline for all of them: a fan-out may be hundreds of messages.
        with self._app.producer_or_acquire() as producer:
            channel: Any = producer.channel
            pushes = list(self._messages.pushes(channel, messages, again=again))
            backend: Any = self._app.backend
            client = backend.client if self._one_server else channel.client
            prefix = self._prefix if self._one_server else ""
            if len(pushes) == 1:
                client.lpush(f"{prefix}{pushes[0][0]}", pushes[0][1])
                return
            with self._together(client) as pipe:
                for key, payload in pushes:
                    pipe.lpush(f"{prefix}{key}", payload)

    @contextmanager
    def _together(self, client: Any) -> Iterator[Any]:
        """Lend what sends commands in one round trip at the end, or else each by itself."""
        if not self._pipelined:
            yield client
            return
        with client.pipeline(transaction=False) as pipe:
            yield pipe
            pipe.execute()

    def settled(self, run_id: UUID, task_nos: Sequence[int], *, ended: bool = False) -> bool:
        """Report settled tasks as the chord's parts; one reported twice counts once.

        `ended`: the run has ended with them, which leaves the body nothing to do.
        """
        group = str(run_id)
        if ended and not self._finish_always:
            return self._try("take a chord down", lambda: self._take_down(group))
        return self._try("report parts", lambda: self._report(group, task_nos))

    def _take_down(self, group: str) -> None:
        """Leave what Celery leaves of a chord whose body was sent: a mark that turns late parts
        away."""
        backend: Any = self._app.backend
        with self._together(backend.client) as pipe:
            pipe.set(backend.get_key_for_group(group, ".c"), "done", ex=_DONE_S)
            pipe.unlink(*(backend.get_key_for_group(group, end) for end in _CHORD))

    def _report(self, group: str, task_nos: Sequence[int]) -> None:
        """Count parts in one round trip; whoever's part was the last one sends the body."""
        backend: Any = self._app.backend
        claim = backend.get_key_for_group(group, ".c")
        keys = [backend.get_key_for_group(group, end) for end in _CHORD]
        keys += [backend.get_key_for_group(group), claim]
        token = uuid4().hex
        with backend.client.pipeline(transaction=False) as pipe:
            for no in task_nos:
                part = f"{group}:{no}"
                backend._chord_part_return_script(  # noqa: SLF001 - see the module's docstring
                    keys=keys,
                    args=[
                        part,
                        backend.encode([1, part, "SUCCESS", None]),
                        0,
                        no,
                        backend.chord_expires or 0,
                        backend._chord_result_expires,  # noqa: SLF001
                        _CLAIM_S,
                        token,
                    ],
                    client=pipe,
                )
            if not any(claimed for _, _, _, claimed in pipe.execute()):
                return
        # Only Celery's own method sends the body; it claims that for itself.
        backend.client.delete(claim)
        body = self._body(group)
        last = task_nos[-1]
        one = Context(id=f"{group}:{last}", group=group, group_index=last, chord=body)
        backend.on_chord_part_return(one, "SUCCESS", None)

    def _body(self, group: str) -> Any:
        return self._app.signature(
            FINISH_RUN, args=(group,), immutable=True, queue=FINISH_QUEUE, ignore_result=True
        )

    def finish(self, run_id: UUID) -> bool:
        """See the port."""
        return self._try("ask for a run's end", lambda: self._body(str(run_id)).apply_async())

    def depth(self, queue: str) -> int | None:
        """See the port. Believed for 50 ms, so that a settle does not cost a round trip."""
        now = self._clock()
        known = self._depths.get(queue)
        if known is not None and now - known[0] < _DEPTH_S:
            return known[1]
        found: list[int] = []

        def work() -> None:
            if self._one_server:
                backend: Any = self._app.backend
                found.append(backend.client.llen(f"{self._prefix}{queue}"))
                return
            with self._app.producer_or_acquire() as producer:
                found.append(producer.connection.default_channel.client.llen(queue))

        self._try("measure a queue", work)
        value = found[0] if found else None
        self._depths[queue] = (now, value)
        return value

    def _try(self, what: str, work: Callable[[], None]) -> bool:
        if self._clock() < self._away_until:
            return False
        try:
            work()
        except _AWAY as error:
            self._away_until = self._clock() + _REST_S
            log.warning("could not %s, upkeep will: %s", what, error)
            return False
        return True
