"""Processes that begin as a copy of this one, which has imported what they need: they share its
memory, and start without importing anything. Linux only; elsewhere a program is started anew.

A copy runs `python -m MODULE` as a new interpreter would, with its own environment, streams and
signals, and with none of this process's files.
"""

from __future__ import annotations

import atexit
import ctypes
import importlib
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NoReturn

from orchestrator.process.memory_use import leave_to_copies, share_few_arenas, without_httpx_command

POSSIBLE = sys.platform == "linux"
_PR_SET_PDEATHSIG = 1
#: Opened once: between a fork and what follows, nothing may be loaded.
_LIBC = ctypes.CDLL(None, use_errno=True) if POSSIBLE else None
_POLL_S = 0.02
_is_copy = False


def is_copy() -> bool:
    """Whether this process began as a copy, and so has at hand what its own copies need."""
    return _is_copy


def die_with_parent(signal_number: int) -> None:
    """Ask the kernel to send this process a signal when its parent dies; nothing elsewhere.

    The parent is the thread that started it: start processes from the main thread.
    """
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0)


def preload(modules: Iterable[str]) -> None:
    """Import what copies will need. Not the modules they run: those are theirs alone."""
    share_few_arenas()
    without_httpx_command()
    for name in modules:
        importlib.import_module(name)


class Copy:
    """A copy that runs. Spoken to like a `subprocess.Popen`, of which it has what is used here."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        #: Its exit code, or a signal's number below zero; None until it was seen to have ended.
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code if it has ended."""
        if self.returncode is None:
            # Somebody else took the code: a subreaper's sweep. That it ended is certain.
            ended, status = self.pid, 0
            with suppress(ChildProcessError):
                ended, status = os.waitpid(self.pid, os.WNOHANG)
            if ended:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; return its exit code. TimeoutExpired after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired(f"copy {self.pid}", timeout or 0.0)
            time.sleep(_POLL_S)
        return code

    def terminate(self) -> None:
        """Send SIGTERM, unless it is known to have ended."""
        if self.returncode is None:
            os.kill(self.pid, signal.SIGTERM)


#: What runs beside this process, however it began.
Started = subprocess.Popen[bytes] | Copy


def copy(
    words: Sequence[str],
    env: Mapping[str, str],
    *,
    output: int | None = None,
    keep: Collection[int] = (),
) -> Copy:
    """Start a copy that runs `python -m words...` in a session of its own, until this process dies.

    It writes to `output`, or where this process does, and inherits the files `keep`. Call it in the
    main thread: the copy ends with that one. What other threads hold at this moment stays locked in
    the copy, so let there be none that matters.
    """
    leave_to_copies()
    parent = os.getpid()
    # A signal that came before the copy has its own handlers would be lost in ours.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    pid = os.fork()
    if pid == 0:
        _run(words, env, parent, output, keep)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return Copy(pid)


def _run(
    words: Sequence[str],
    env: Mapping[str, str],
    parent: int,
    output: int | None,
    keep: Collection[int],
) -> NoReturn:
    """Be the copy. It never returns into the frames of its parent."""
    code = 1
    try:
        _forget_parent(parent, output, keep)
        # Before the environment changes: the name takes the place of the one it began with.
        _name(words)
        os.environ.clear()
        os.environ.update(env)
        code = _code_of(words)
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(BaseException):
            # The end of an interpreter, as CPython has it; `os._exit` alone leaves both out.
            threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001
            atexit._run_exitfuncs()  # noqa: SLF001
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _forget_parent(parent: int, output: int | None, keep: Collection[int]) -> None:
    global _is_copy
    _is_copy = True
    os.setsid()
    die_with_parent(signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)
    _take_streams(output, keep)
    atexit._clear()  # noqa: SLF001
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        # Python itself ignores these two, in every process.
        ours = number in (signal.SIGPIPE, signal.SIGXFSZ)
        signal.signal(number, signal.SIG_IGN if ours else signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _take_streams(output: int | None, keep: Collection[int]) -> None:
    """Close all files but `keep`, and open the three streams anew: a thread may have held them."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    for number in (1, 2) if output is not None else ():
        os.dup2(output or 0, number)
    start = 3
    for number in sorted(keep):
        os.closerange(start, number)
        start = number + 1
    os.closerange(start, os.sysconf("SC_OPEN_MAX"))
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False, errors="backslashreplace")  # noqa: SIM115


def _name(words: Sequence[str]) -> None:
    """Be called in lists of processes what a new interpreter would be called."""
    import setproctitle

    setproctitle.setproctitle(" ".join([sys.executable, "-m", *words]))


def _code_of(words: Sequence[str]) -> int:
    """Run the module as `python -P -m` does; return the exit code."""
    sys.argv = ["", *words[1:]]
    try:
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(end.code + "\n")
            return 1
        return end.code or 0
    return 0
