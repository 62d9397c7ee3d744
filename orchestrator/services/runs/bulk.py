"""Many runs at once: cancel or run again whatever a filter finds, a bounded number a call."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal
from uuid import UUID

from orchestrator.errors import QuotaExceeded, ServiceUnavailable, ZQError
from orchestrator.models.runs.run import ENDS, Run, RunState
from orchestrator.ports.reads import RunFilter
from orchestrator.ports.store import Store
from orchestrator.services.runs.rerunning import Rerunning, RerunRequest
from orchestrator.services.runs.steering import Steering

#: The most runs one call touches.
MAX_RUNS = 1000
#: What can be cancelled, and what a retry takes where the filter names no state.
_LIVE = frozenset(RunState) - ENDS
_UNSUCCESSFUL = ENDS - {RunState.SUCCEEDED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What became of one run: its new state, or the run that replaces it, or why nothing."""

    run_id: UUID
    state: RunState
    new_run_id: UUID | None = None
    error: ZQError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one call did, newest run first. `last` is where the next call goes on; None: all done.

    In a dry batch nothing happened: the states are those of now.
    """

    items: tuple[Done, ...]
    last: UUID | None
    dry: bool


class Bulk:
    """Steers many runs. A run that cannot be steered is reported, and the others go on."""

    def __init__(self, store: Store, steering: Steering, rerunning: Rerunning) -> None:
        self._store = store
        self._rerunning = rerunning
        self._steering = steering

    def cancel(self, wanted: RunFilter, *, dry: bool = False) -> Batch:
        """Cancel the live runs that a filter finds."""

        def one(run: Run) -> Done:
            now = self._steering.cancel(run.tenant_id, run.id)
            return Done(run_id=run.id, state=now.state)

        return self._each(wanted, _LIVE, _LIVE, one, dry=dry)

    def retry(
        self,
        wanted: RunFilter,
        *,
        version: int | Literal["latest"] | None = None,
        dry: bool = False,
        key: tuple[str, str] | None = None,
    ) -> Batch:
        """Run again the ended runs that a filter finds; without states: those without success.

        With `key`, a repetition starts nothing anew: each run has a key of its own under it. Where
        the tenant may start no more runs just now, the call ends early; QuotaExceeded when nothing
        was started.
        """

        def one(run: Run) -> Done:
            own = None if key is None else (f"{key[0]}/{run.id}", key[1])
            asked = RerunRequest(version=version, key=own)
            made = self._rerunning.rerun(run.tenant_id, run.id, asked)
            return Done(run_id=run.id, state=run.state, new_run_id=made.run_id)

        return self._each(wanted, ENDS, _UNSUCCESSFUL, one, dry=dry)

    def _each(
        self,
        wanted: RunFilter,
        possible: Iterable[RunState],
        usual: Iterable[RunState],
        one: Callable[[Run], Done],
        *,
        dry: bool,
    ) -> Batch:
        states = set(possible) & set(wanted.states or usual)
        limit = min(wanted.limit, MAX_RUNS)
        asked = replace(wanted, states=tuple(sorted(states)), limit=limit + 1)
        found = self._store.reads.runs(asked) if states else []
        done: list[Done] = []
        for run in found[:limit]:
            try:
                done.append(self._try(run, one, dry=dry))
            except QuotaExceeded:
                if not done:
                    raise
                # The call ends where the tenant's quota does; the next one goes on from there.
                return Batch(items=tuple(done), last=done[-1].run_id, dry=dry)
        last = found[limit - 1].id if len(found) > limit else None
        return Batch(items=tuple(done), last=last, dry=dry)

    @staticmethod
    def _try(run: Run, one: Callable[[Run], Done], *, dry: bool) -> Done:
        if dry:
            return Done(run_id=run.id, state=run.state)
        try:
            return one(run)
        except (ServiceUnavailable, QuotaExceeded):
            raise
        except ZQError as error:
            return Done(run_id=run.id, state=run.state, error=error)
