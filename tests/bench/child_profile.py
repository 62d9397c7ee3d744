"""Loaded into a worker's children by ZQ_WORKER__MODULES: SIGUSR1 starts a profile, the next one
ends it and writes it to `BENCH_PROFILE`. The product has no such switch."""

from __future__ import annotations

import cProfile
import os
import signal
from pathlib import Path
from types import FrameType

_profile: cProfile.Profile | None = None


def _switch(_number: int, _frame: FrameType | None) -> None:
    # In the main thread, where the work is done: a profile sees only the thread it began in.
    global _profile
    if _profile is None:
        _profile = cProfile.Profile()
        _profile.enable()
    else:
        _profile.disable()
        path = Path(os.environ["BENCH_PROFILE"]) / f"{os.getpid()}.part"
        _profile.dump_stats(path)
        path.rename(path.with_suffix(".prof"))
        _profile = None


signal.signal(signal.SIGUSR1, _switch)
