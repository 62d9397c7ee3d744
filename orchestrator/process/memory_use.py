"""What keeps processes small: few heaps, shared memory, and no imports that nobody here uses."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import MutableMapping

_FEW = 2
_NAME = "MALLOC_ARENA_MAX"
_M_ARENA_MAX = -8


def few_arenas(environment: MutableMapping[str, str]) -> None:
    """Let processes started with this environment share two heaps, unless it says otherwise.

    glibc gives threads heaps of their own, up to eight a core, and keeps what was freed in each.
    """
    environment.setdefault(_NAME, str(_FEW))


def share_few_arenas() -> None:
    """Let the threads of this process and of its copies share two heaps, unless told otherwise."""
    if sys.platform == "linux" and _NAME not in os.environ:
        # musl has no arenas, and no such call.
        tune = getattr(ctypes.CDLL(None), "mallopt", None)
        if tune is not None:
            tune(_M_ARENA_MAX, _FEW)


def leave_to_copies() -> None:
    """Leave what this process has to those that begin as copies of it.

    A collection in a copy would copy all it looks at, and close what the parent still uses.
    """
    gc.collect()
    gc.freeze()


def without_httpx_command() -> None:
    """Let httpx be imported without its command line: with pygments and rich 7 MB, and 60 ms.

    Only in processes of our own; httpx goes on without it by itself.
    """
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
