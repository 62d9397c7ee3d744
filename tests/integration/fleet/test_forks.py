"""Copies of a process: what they take along, what they must not, and how they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from orchestrator.process import forks

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.skipif(not forks.POSSIBLE, reason="copies are made on Linux only")


def play(tmp_path: Path, copy: str, parent: str) -> list[str]:
    """Run `parent` in a process of its own, where a module `role` with the code `copy` is at hand;
    return the lines that both have printed."""
    (tmp_path / "role.py").write_text(textwrap.dedent(copy))
    head = "import os, signal, subprocess, sys\nfrom orchestrator.process import forks\n"
    (tmp_path / "host.py").write_text(head + textwrap.dedent(parent))
    done = subprocess.run(
        [sys.executable, "-m", "host"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT), "FROM": "the parent"},
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_it_runs_a_module_as_a_new_interpreter_would(tmp_path: Path) -> None:
    lines = play(
        tmp_path,
        """
        import os, sys, psutil
        assert __name__ == "__main__"
        print(sys.argv[1:], os.environ.get("FROM"), os.environ["WHO"], os.getsid(0) == os.getpid())
        called = " ".join(psutil.Process().cmdline())
        print(called.endswith("-m role one two"), sys.stdin.read() == "")
        """,
        """
        copy = forks.copy(["role", "one", "two"], {"WHO": "a copy"})
        print(copy.wait(10), copy.poll(), copy.returncode)
        """,
    )
    assert lines == ["['one', 'two'] None a copy True", "True True", "0 0 0"]


def test_what_was_imported_before_is_there(tmp_path: Path) -> None:
    lines = play(
        tmp_path,
        "import sys; print('colorsys' in sys.modules, 'httpx._main' in sys.modules)",
        "forks.preload(['colorsys']); forks.copy(['role'], {}).wait(10); print(forks.is_copy())",
    )
    assert lines == ["True True", "False"]


@pytest.mark.parametrize(
    ("code", "end"),
    [
        ("raise SystemExit(3)", 3),
        ("raise SystemExit", 0),
        ("raise SystemExit('sorry')", 1),
        ("raise ValueError('oh')", 1),
        ("import os; os.kill(os.getpid(), 9)", -9),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -15),
    ],
)
def test_its_end_is_told_as_that_of_any_process(tmp_path: Path, code: str, end: int) -> None:
    assert play(tmp_path, code, "print(forks.copy(['role'], {}).wait(10))") == [str(end)]


def test_what_it_says_last_is_not_lost(tmp_path: Path) -> None:
    lines = play(
        tmp_path,
        """
        import atexit, sys, threading
        atexit.register(print, "at exit")
        main = threading.main_thread()
        threading.Thread(target=lambda: (main.join(), print("a thread"))).start()
        sys.exit("sorry")
        """,
        """
        import atexit
        atexit.register(print, "the parent's own end")
        reading, writing = os.pipe()
        forks.copy(["role"], {}, output=writing).wait(10)
        os.close(writing)
        print(os.read(reading, 999).decode().splitlines())
        """,
    )
    assert lines == ["['sorry', 'a thread', 'at exit']", "the parent's own end"]


def test_files_and_handlers_of_the_parent_stay_with_it(tmp_path: Path) -> None:
    lines = play(
        tmp_path,
        """
        import os, signal, sys
        kept = int(sys.argv[1])
        print([fd for fd in range(3, 200) if os.path.exists(f"/proc/self/fd/{fd}")] == [kept])
        print(os.read(kept, 9).decode())
        print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
        print(signal.getsignal(signal.SIGINT) == signal.default_int_handler)
        print(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        """,
        """
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        other = open("/dev/null")
        reading, writing = os.pipe()
        os.write(writing, b"passed on")
        copy = forks.copy(["role", str(reading)], {}, keep=[reading])
        print(copy.wait(10), signal.pthread_sigmask(signal.SIG_BLOCK, ()), other.fileno() > 2)
        """,
    )
    assert lines == ["True", "passed on", "True", "True", "set()", "0 set() True"]


def test_a_signal_at_once_is_not_lost_in_the_parents_handler(tmp_path: Path) -> None:
    lines = play(
        tmp_path,
        "import signal; signal.pause()",
        """
        heard = []
        signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
        ends = []
        for _ in range(30):
            copy = forks.copy(["role"], {})
            copy.terminate()
            ends.append(copy.wait(10))
        print(set(ends), heard)
        """,
    )
    assert lines == ["{-15} []"]


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    lines = play(
        tmp_path,
        "import signal; print('up', flush=True); signal.pause()",
        """
        reading, writing = os.pipe()
        middle = os.fork()
        if not middle:
            copy = forks.copy(["role"], {}, output=writing)
            os.close(writing)
            os.read(reading, 2)
            os.kill(os.getpid(), signal.SIGKILL)
        os.close(writing)
        os.waitpid(middle, 0)
        # The pipe's other end closes when the copy is gone.
        while os.read(reading, 100):
            pass
        print("gone")
        """,
    )
    assert lines == ["gone"]


def test_waiting_has_an_end(tmp_path: Path) -> None:
    lines = play(
        tmp_path,
        "import signal; signal.pause()",
        """
        copy = forks.copy(["role"], {})
        try:
            copy.wait(0.05)
        except subprocess.TimeoutExpired as error:
            print(error.timeout, copy.returncode)
        os.kill(copy.pid, signal.SIGKILL)
        print(copy.wait())
        copy.terminate()
        """,
    )
    assert lines == ["0.05 None", str(-signal.SIGKILL)]


def test_a_copy_of_a_copy_is_one_too(tmp_path: Path) -> None:
    (tmp_path / "inner.py").write_text(
        "from orchestrator.process import forks; print(forks.is_copy())"
    )
    lines = play(
        tmp_path,
        "from orchestrator.process import forks; print(forks.copy(['inner'], {}).wait(10))",
        "print(forks.copy(['role'], {}).wait(10))",
    )
    assert lines == ["True", "0", "0"]
