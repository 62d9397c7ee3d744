"""`zq quota`: what it refuses before it asks a server, and that it asks the right one."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.cli import main

TENANT = "00000000-0000-7000-8000-000000000001"


@pytest.fixture(autouse=True)
def in_an_empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZQ_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ZQ_WEB__PORT", "1")


@pytest.mark.parametrize(
    "pair",
    ["workflow=3", "workflows", "workflows=", "workflows=-1", "workflows=1.5", "workflows=many",
     "workflows=٣", "workflows=9007199254740992", "=3"],
)  # fmt: skip
def test_what_is_no_quota_is_refused_here(pair: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quota", "set", TENANT, pair]) == 2
    assert "workflows" in capsys.readouterr().err


def test_what_is_one_needs_a_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quota", "set", TENANT, "workflows=9007199254740991", "secrets=default"]) == 1
    assert "no server answers" in capsys.readouterr().err
    assert main(["quota", "list"]) == 1
