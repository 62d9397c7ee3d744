"""Whether what a deployment offers to nodes can be loaded, before a worker takes any work.

Tried in a copy of this process: a module may start threads, and the pool's children must not begin
as copies of those. `python -m workers.loadable` tells `zq doctor`.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from importlib.metadata import entry_points
from typing import NoReturn

from orchestrator import settings
from orchestrator.errors import SettingsError
from orchestrator.process.forks import die_with_parent
from orchestrator.process.own_packages import DEMO
from orchestrator.process.start_check import REFUSED
from workers.functions import GROUP, load_functions

#: Seconds that loading may take.
LOAD_S = 60.0
_FINE = "fine"
_MOST_BYTES = 4096


def refuse_unloadable(modules: str, timeout_s: float = LOAD_S) -> None:
    """Raise SettingsError with the module and its error, if there is one. Main thread only."""
    named = [name for name in (each.strip() for each in modules.split(",")) if name]
    if not entry_points(group=GROUP) and set(named) <= {DEMO}:
        return
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _be_the_copy(modules, writing)
    os.close(writing)
    try:
        in_time = select.select([reading], [], [], timeout_s)[0]
        told = os.read(reading, _MOST_BYTES).decode() if in_time else None
    finally:
        os.close(reading)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    if told == _FINE:
        return
    if told is None:
        told = f"ZQ_WORKER__MODULES: {modules} takes longer than {timeout_s:g} s to load"
    raise SettingsError(told or f"ZQ_WORKER__MODULES: loading {modules} ends the process")


def _be_the_copy(modules: str, writing: int) -> NoReturn:
    told = ""
    try:
        die_with_parent(signal.SIGKILL)
        load_functions(modules)
        told = _FINE
    except SettingsError as error:
        told = error.detail
    finally:
        # A pipe takes so much at once.
        os.write(writing, told.encode("utf-8", "replace")[:_MOST_BYTES])
        os._exit(0)


def main() -> int:
    """Load what the settings name, in this process."""
    try:
        load_functions(settings.load().worker.modules)
    except SettingsError as error:
        sys.stderr.write(f"{error.detail}\n")
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
