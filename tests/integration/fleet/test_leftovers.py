"""What a killed worker leaves behind is swept by the next one; what lives is left alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import wait_for
from workers.identity import CARD, sweep

#: A process that makes an incarnation of its own, says where, and goes on until its input ends.
_HOLDER = (
    "import sys; from workers.identity import fresh;"
    "print(fresh({}).folder, flush=True); sys.stdin.read()"
)


def holder(folder: Path) -> tuple[subprocess.Popen[str], Path]:
    """Start one whose temporary files are in this folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER],
        env={"TMPDIR": str(folder), "PYTHONPATH": str(Path(__file__).parents[3])},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_only_folders_of_killed_incarnations_are_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (dead, left), (living, kept) = holder(tmp_path), holder(tmp_path)
    foreign = tmp_path / "zq-worker-foreign"
    foreign.mkdir()
    (left / CARD).touch()
    try:
        assert sweep(older_s=0) == []
        dead.kill()
        dead.wait()
        assert sweep() == [], "it may be about to be locked"
        wait_for(lambda: sweep(older_s=0) == [left], what="the killed one's folder")
        assert not left.exists()
        assert kept.exists()
        assert foreign.exists()
    finally:
        for process in (dead, living):
            process.communicate("")


def test_files_of_multiprocessing_are_in_the_workers_folder_and_users_are_not(
    tmp_path: Path,
) -> None:
    program = (
        "import billiard.util, multiprocessing.util, tempfile;"
        "from workers.identity import fresh, keep_temporary;"
        "folder = fresh({}).folder; keep_temporary(folder);"
        "print(folder, multiprocessing.util.get_temp_dir(), billiard.util.get_temp_dir(),"
        " tempfile.mkdtemp(), sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    folder, theirs, celerys, users = map(Path, done.stdout.split())
    assert theirs.parent == celerys.parent == folder
    assert users.parent == tmp_path
