"""Row M4: what is installed is pinned, and has no hole that others know of."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from tests.integration.serving import ROOT

CONSTRAINTS = ROOT / "constraints.txt"


def test_m4_everything_is_pinned_to_one_version() -> None:
    lines = [line for line in CONSTRAINTS.read_text().splitlines() if line and line[0] != "#"]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line) for line in lines)
    names = [re.sub(r"[-_.]+", "-", line.partition("==")[0].lower()) for line in lines]
    assert len(set(names)) == len(names)


def test_m4_who_asks_for_advisories_does_so() -> None:
    """CI does not, see CONTRIBUTING.md; so these two must."""
    for target, word in (("audit", "pip-audit --requirement"), ("attack", "ZQ_ATTACK_MINUTES=5 ")):
        said = subprocess.run(
            ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, timeout=60,
            check=True,
        )  # fmt: skip
        assert word in said.stdout


@pytest.mark.skipif(
    "ZQ_ATTACK_MINUTES" not in os.environ,
    reason="asks the index; `make attack` and `make audit` do",
)
def test_m4_no_known_holes() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip_audit", "--requirement", str(CONSTRAINTS), "--no-deps",
         "--disable-pip", "--progress-spinner", "off", "--format", "json", "--timeout", "10"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    try:
        judged = json.loads(done.stdout)["dependencies"]
    except ValueError:
        pytest.skip(f"the service of advisories cannot be reached: {done.stderr[-300:]}")
    unknown = [each["name"] for each in judged if "skip_reason" in each]
    holes = {each["name"]: each["vulns"] for each in judged if each.get("vulns")}
    assert holes == {}
    if len(unknown) > len(judged) // 2:
        pytest.skip(f"the service knows nothing of {len(unknown)} of {len(judged)} packages")
