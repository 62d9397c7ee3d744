"""What every `ports.runtime.Artifacts` promises, in a folder and in memory."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from orchestrator.adapters.artifacts import FolderArtifacts
from orchestrator.adapters.memory.runtime import MemoryArtifacts
from orchestrator.errors import HandlerError, NotFound
from orchestrator.ports.runtime import Artifact, Artifacts

RUN = UUID("01890000-0000-7000-8000-000000000001")
OTHER = UUID("01890000-0000-7000-8000-000000000002")
BAD_NAMES = [
    "", ".", "..", ".hidden", "../a", "a/b", "/etc/passwd", "a\\b", "a b", "a\n", "a\0", "ü",
    "%2e%2e", "x" * 129,
]  # fmt: skip


@pytest.fixture(params=["folder", "memory"])
def artifacts(request: pytest.FixtureRequest, tmp_path: Path) -> Artifacts:
    if request.param == "memory":
        return MemoryArtifacts()
    return FolderArtifacts(tmp_path / "artifacts", largest=1_000_000)


def test_what_was_put_comes_back(artifacts: Artifacts) -> None:
    put = artifacts.put(RUN, "chart.svg", b"<svg/>", "image/svg+xml", "report")
    expected = Artifact(
        name="chart.svg", content_type="image/svg+xml", size_bytes=6, node_id="report"
    )
    assert put == expected
    assert artifacts.get(RUN, "chart.svg") == (expected, b"<svg/>")


def test_the_same_name_again_replaces_it(artifacts: Artifacts) -> None:
    artifacts.put(RUN, "a", b"long old one", "text/plain", "first")
    artifacts.put(RUN, "a", b"new", "text/plain; charset=utf-8", "second")
    found, data = artifacts.get(RUN, "a")
    assert (found.size_bytes, found.content_type, found.node_id, data) == (
        3,
        "text/plain; charset=utf-8",
        "second",
        b"new",
    )
    assert len(artifacts.list(RUN)) == 1


def test_they_are_listed_by_name_each_run_its_own(artifacts: Artifacts) -> None:
    for name in ("b", "a", "_", "0.json", "x" * 128):
        artifacts.put(RUN, name, name.encode(), "text/plain", "n")
    artifacts.put(OTHER, "c", b"", "text/plain", "n")
    assert [a.name for a in artifacts.list(RUN)] == ["0.json", "_", "a", "b", "x" * 128]
    assert [(a.name, a.size_bytes) for a in artifacts.list(OTHER)] == [("c", 0)]


def test_what_is_not_there_is_not_found(artifacts: Artifacts) -> None:
    with pytest.raises(NotFound):
        artifacts.get(RUN, "a")
    artifacts.put(RUN, "a", b"", "text/plain", "n")
    for run_id, name in ((RUN, "b"), (OTHER, "a")):
        with pytest.raises(NotFound):
            artifacts.get(run_id, name)
    assert artifacts.list(OTHER) == []


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_could_lead_elsewhere(artifacts: Artifacts, name: str) -> None:
    with pytest.raises(HandlerError) as caught:
        artifacts.put(RUN, name, b"", "text/plain", "n")
    assert (caught.value.error_code, caught.value.retryable) == ("bad_artifact_name", False)
    with pytest.raises(NotFound):
        artifacts.get(RUN, name)
    assert artifacts.list(RUN) == []
