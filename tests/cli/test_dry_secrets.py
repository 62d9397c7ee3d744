"""`zq run FILE --dry` with secrets and variables from files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLOW = """
name: dry
nodes:
  show: {type: transform, config: {expression: "secrets.token + ' ' + vars.region"}}
"""


def dry(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    (folder / "flow.yaml").write_text(FLOW)
    return subprocess.run(
        [sys.executable, "-m", "orchestrator.cli", "run", "flow.yaml", *words],
        cwd=folder, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}, timeout=60,
        text=True, capture_output=True, check=False,
    )  # fmt: skip


def test_values_come_from_files_and_are_masked(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("token: swordfish-42\n")
    (tmp_path / "v.json").write_text('{"region": "eu"}')
    files = ("--secrets-file", "s.yaml", "--vars-file", "v.json")
    done = dry(tmp_path, "--dry", *files)
    assert done.returncode == 0, done
    assert '"*** eu"' in done.stdout
    assert "swordfish" not in done.stdout + done.stderr
    assert dry(tmp_path, *files).returncode == 2


@pytest.mark.parametrize("content", ["- a\n- b\n", "token: 5\n", "token: [\n"])
def test_a_file_that_holds_no_secrets_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "s.yaml").write_text(content)
    done = dry(tmp_path, "--dry", "--secrets-file", "s.yaml")
    assert done.returncode == 2
    assert "s.yaml" in done.stderr


def test_without_them_the_names_are_unknown(tmp_path: Path) -> None:
    done = dry(tmp_path, "--dry")
    assert done.returncode == 1
    assert "there is no secret token" in done.stdout + done.stderr
