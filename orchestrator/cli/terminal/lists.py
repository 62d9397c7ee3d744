"""`--watch`: a list printed again whenever it changes; on a terminal in place, else below."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from orchestrator.cli.terminal.output import printed, say

#: Back to the upper left corner, and everything from there on is cleared.
_HOME = "\x1b[H\x1b[J"


def show_list(
    fetch: Callable[[], Any],
    shape: str,
    columns: Mapping[str, Callable[[Any], Any]],
    *,
    empty: str = "",
    watch_s: float | None = None,
    rounds: Iterable[int] | None = None,
) -> int:
    """Print what `fetch` returns, once, or every `watch_s` seconds if it differs; return 0.

    `rounds` bounds how often (tests); without it only Ctrl-C ends a watch.
    """
    if watch_s is None:
        lines = printed(shape, fetch(), columns)
        for line in lines:
            say(line)
        if not lines and empty:
            say(empty, err=True)
        return 0
    before: list[str] | None = None
    for number in rounds if rounds is not None else itertools.count():
        if number:
            time.sleep(watch_s)
        lines = printed(shape, fetch(), columns) or [empty]
        if lines == before:
            continue
        _draw(lines, first=before is None)
        before = lines
    return 0


def _draw(lines: list[str], *, first: bool) -> None:
    if sys.stdout.isatty():
        say(_HOME + "\n".join(lines))
        return
    if not first:
        say()
    for line in lines:
        say(line)
    sys.stdout.flush()
