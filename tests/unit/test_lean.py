"""Whatever is started here shares few heaps, unless somebody wants it otherwise."""

from __future__ import annotations

import pytest

from orchestrator.cli.launch import environment
from orchestrator.settings import Settings

NAME = "MALLOC_ARENA_MAX"


def test_children_are_told_to_share_two_heaps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(NAME, raising=False)
    assert environment(Settings(), "key")[NAME] == "2"


def test_what_somebody_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "8")
    assert environment(Settings(), "key")[NAME] == "8"
