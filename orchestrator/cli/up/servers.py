"""The embedded servers of `zq up`: started again when they end by themselves."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from orchestrator.adapters.embedded import EmbeddedServices
from orchestrator.cli.up.children import FIRST_PAUSE_S, HEALTHY_S, LONGEST_PAUSE_S, Report
from orchestrator.errors import EmbeddedUnavailable, ServiceUnavailable

#: Starts in vain, one after the other, after which there is no use in another one.
MOST_FAILURES = 3


@dataclass(slots=True)
class _Fallen:
    """A server that has ended by itself, now or before."""

    pause_s: float = FIRST_PAUSE_S
    #: When it is to be started again; None while it runs.
    due: float | None = None
    since: float = 0.0
    failures: int = 0


class TendedServers:
    """Keeps the servers running. Main thread only: the kernel ties their life to the thread."""

    def __init__(self, services: EmbeddedServices | None, logs: Path, report: Report) -> None:
        self._services = services
        self._logs = logs
        self._report = report
        self._fallen: dict[str, _Fallen] = {}

    def tend(self) -> None:
        """Notice what has ended, and start it again when its pause is over.

        ServiceUnavailable, with the reason, when it cannot be started any more.
        """
        for name in self._services.ended() if self._services else ():
            one = self._fallen.setdefault(name, _Fallen())
            now = time.monotonic()
            if one.due is None:
                one.pause_s = FIRST_PAUSE_S if now - one.since > HEALTHY_S else one.pause_s
                self._wait(name, one, "ended by itself")
            elif now >= one.due:
                self._start(name, one)

    def _wait(self, name: str, one: _Fallen, what: str) -> None:
        self._report(
            name.lower(),
            f"{what}; it starts again in {one.pause_s:g} s. Log: {self._logs / name.lower()}.log",
        )
        one.due = time.monotonic() + one.pause_s
        one.pause_s = min(LONGEST_PAUSE_S, one.pause_s * 2)

    def _start(self, name: str, one: _Fallen) -> None:
        if self._services is None:
            return
        try:
            self._services.restart(name)
        except EmbeddedUnavailable as error:
            one.failures += 1
            if one.failures >= MOST_FAILURES:
                raise ServiceUnavailable(
                    f"the embedded {name} server has ended by itself and could not be started again"
                    f" ({MOST_FAILURES} tries): {error.detail}"
                ) from error
            self._wait(name, one, f"could not be started: {error.detail}")
            return
        one.due, one.failures, one.since = None, 0, time.monotonic()
        self._report(name.lower(), "runs again")
