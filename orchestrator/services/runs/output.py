"""The output of a run whose definition computes it: `settings.output`, read once all has ended."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from time import monotonic
from typing import Any
from uuid import UUID

from orchestrator.errors import ServiceUnavailable, ZQError
from orchestrator.models.definitions.plan import Plan
from orchestrator.models.expressions import expression
from orchestrator.models.plain_json import BadValue, plain
from orchestrator.models.runs.large_output import name_of
from orchestrator.models.runs.task import TaskError
from orchestrator.ports.reads import Reads
from orchestrator.ports.runtime import Artifacts, Clock
from orchestrator.services.runs import large_outputs

log = logging.getLogger(__name__)

#: Above this many bytes it is kept as an artifact, and the run's row names it.
MAX_OUTPUT_BYTES = 1 << 20
#: How often it is tried where workers end meanwhile.
MAX_TRIES = 3
#: No attempt's output has this name: attempts count from 1.
_NAME = name_of(0, 0)
#: It is worked out by whoever ends the run, also by the scheduler: nobody waits longer for it.
DEADLINE_S = 2.0


class RunOutput:
    """Computes outputs of runs."""

    def __init__(self, reads: Reads, artifacts: Artifacts, clock: Clock) -> None:
        self._reads = reads
        self._artifacts = artifacts
        self._clock = clock

    def of(self, run_id: UUID, plan: Plan, tries: int) -> tuple[Any, Mapping[str, Any] | None]:
        """Return (output, None), or (None, why the run fails). `tries`: see `Moves.take_output`.

        A run that fails or is cancelled has no output, and its error is the task's: (None, None).

        Whatever is wrong with the value is the run's error: raised, it would come back each time
        somebody tries to end the run. ServiceUnavailable alone is raised: it passes.
        """
        if tries == 0:
            return None, None
        if tries > MAX_TRIES:
            message = f"settings.output: {MAX_TRIES} workers ended while they worked it out"
            return None, TaskError(code="worker_lost", message=message).as_dict()
        try:
            return self._computed(run_id, plan), None
        except ServiceUnavailable:
            raise
        except BadValue as bad:
            why = TaskError(code="bad_output", message=f"settings.output: {bad}")
        except ZQError as error:
            why = TaskError(code=error.code, message=f"settings.output: {error.detail}")
        except Exception as error:
            log.exception("run %s: settings.output", run_id)
            why = TaskError(
                code="internal_error", message=f"settings.output: {type(error).__name__}: {error}"
            )
        return None, why.as_dict()

    def _computed(self, run_id: UUID, plan: Plan) -> Any:
        kept = self._artifacts
        outputs = self._reads.outputs(run_id, plan.output_needs)
        scope = {
            "inputs": self._reads.input(run_id) or {},
            "nodes": large_outputs.by_node(kept, run_id, plan, outputs),
            "run": {"id": str(run_id)},
            "now": self._clock.now(),
        }
        value = plain(expression.evaluate(plan.output or "", scope, until=monotonic() + DEADLINE_S))
        return large_outputs.fitting(kept, run_id, _NAME, "", value, MAX_OUTPUT_BYTES)
