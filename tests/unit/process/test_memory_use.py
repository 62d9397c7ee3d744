"""Whatever is started here shares few heaps and much memory, unless somebody wants it otherwise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.cli.up.launch import Launch, environment
from orchestrator.process import forks
from orchestrator.settings import Settings, Start, Web

NAME = "MALLOC_ARENA_MAX"


def test_children_are_told_to_share_two_heaps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(NAME, raising=False)
    assert environment(Settings(), "key")[NAME] == "2"


def test_what_somebody_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "8")
    assert environment(Settings(), "key")[NAME] == "8"


@pytest.mark.skipif(not forks.POSSIBLE, reason="copies are made on Linux only")
@pytest.mark.parametrize(
    ("changed", "copied"),
    [
        ({}, {"web": True, "worker-1": True, "scheduler": True}),
        ({"start": Start(copies=False)}, {"web": False, "worker-1": False, "scheduler": False}),
        # They count together, which must be known before metrics are imported.
        ({"web": Web(processes=2)}, {"web": False, "worker-1": True, "scheduler": True}),
    ],
)
def test_what_begins_as_a_copy(
    tmp_path: Path, changed: dict[str, object], copied: dict[str, bool]
) -> None:
    settings = replace(Settings(home=tmp_path), **changed)  # type: ignore[arg-type]
    launch = Launch(settings, workers=1, report=lambda _name, _line: None)
    groups = launch._children(settings)
    assert {child.name: child.copied for group in groups for child in group} == copied
