"""Announcing attempts: which may share a message, by how long their types take, measured here.

Tasks of one run share a message and a commit only while they are so short that nobody waits for
another: types without effects outside, at a measured pace. A type nobody has measured goes alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from uuid import UUID

from orchestrator.models.definitions.plan import Plan
from orchestrator.ports.dispatch import Dispatcher
from orchestrator.ports.moves import Release

#: Only these: doing one twice after a crash changes nothing outside.
PURE = frozenset({"noop", "transform", "branch"})
#: Seconds of work that one message may hold.
_BUDGET_S = 0.005
#: Weight of the newest measurement.
_WEIGHT = 0.2


class Pace:
    """Seconds by type, as a moving average of this process. `most` 1 lets every task go alone."""

    def __init__(self, most: int = 25) -> None:
        self._most = most
        # Nothing can make a noop slow.
        self._seconds = {"noop": 0.00005}

    def note(self, type_: str, seconds: float) -> None:
        """Take a measurement in; one slow call shows at once, many fast ones let it fade."""
        if type_ in PURE:
            known = self._seconds.get(type_, seconds)
            self._seconds[type_] = max(seconds * _WEIGHT, known + (seconds - known) * _WEIGHT)

    def together(self, type_: str) -> int:
        """Return how many tasks of a type may share a message, at least 1."""
        seconds = self._seconds.get(type_)
        if seconds is None or type_ not in PURE:
            return 1
        return max(1, min(self._most, int(_BUDGET_S / max(seconds, 1e-6))))

    def grouped(self, releases: Sequence[Release], plan: Plan) -> list[Sequence[Release]]:
        """Return the messages that announce these attempts of one run, in their order."""
        messages: list[Sequence[Release]] = []
        if self._most == 1:
            return [[release] for release in releases]
        kinds = groupby(releases, lambda r: (r.queue, plan.node_of(r).node.type))
        for (_, type_), members in kinds:
            some, size = list(members), self.together(type_)
            messages += [some[at : at + size] for at in range(0, len(some), size)]
        return messages


class Announcer:
    """Turns attempts into messages. Nothing here raises: what is lost, upkeep announces again."""

    def __init__(self, dispatcher: Dispatcher, pace: Pace) -> None:
        self._dispatcher = dispatcher
        self.pace = pace

    def again(self, releases: Sequence[Release]) -> bool:
        """Announce attempts once more, each alone; a repeated announcement is harmless."""
        return self._dispatcher.release([[release] for release in releases], again=True)

    def hand_back(self, run_id: UUID, plan: Plan, rest: Sequence[tuple[int, int]]) -> bool:
        """Announce queued attempts that a worker has no time for, in two halves: while each worker
        hands half of it on, a fan-out spreads over a fleet in a few steps."""
        releases = [
            Release(
                run_id=run_id,
                task_no=no,
                attempt=attempt,
                queue=plan.node_of(no).node.queue,
                priority=plan.node_of(no).node.priority,
            )
            for no, attempt in rest
        ]
        middle = (len(releases) + 1) // 2
        return self._dispatcher.release([h for h in (releases[:middle], releases[middle:]) if h])
