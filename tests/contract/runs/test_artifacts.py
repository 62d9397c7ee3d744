"""What every `ports.runtime.Artifacts` promises: a folder, memory, fsspec's memory, and S3."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from orchestrator.adapters.artifacts.folder import FolderArtifacts
from orchestrator.adapters.artifacts.objects import ObjectArtifacts
from orchestrator.adapters.memory.runtime import MemoryArtifacts
from orchestrator.errors import HandlerError, NotFound, ServiceUnavailable, SettingsError
from orchestrator.models.ids import lowest_uuid7, time_of
from orchestrator.ports.runtime import Artifact, Artifacts
from tests.s3_server import bucket

RUN = UUID("01890000-0000-7000-8000-000000000001")
OTHER = UUID("01890000-0000-7000-8000-000000000002")
BAD_NAMES = [
    "", ".", "..", ".hidden", "../a", "a/b", "/etc/passwd", "a\\b", "a b", "a\n", "a\0", "ü",
    "%2e%2e", "x" * 129,
]  # fmt: skip


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    """A bucket on an S3 server of this file's own."""
    with bucket() as (url, _):
        yield url


@pytest.fixture(params=["folder", "memory", "fsspec", "s3"])
def artifacts(request: pytest.FixtureRequest, tmp_path: Path) -> Artifacts:
    if request.param == "memory":
        return MemoryArtifacts()
    if request.param == "folder":
        return FolderArtifacts(tmp_path / "artifacts", largest=1_000_000)
    place = "memory:/" if request.param == "fsspec" else request.getfixturevalue("s3_url")
    return ObjectArtifacts(f"{place}/{uuid4()}/deep", largest=1_000_000)


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


def test_a_large_one_and_an_empty_one(artifacts: Artifacts) -> None:
    large = bytes(range(256)) * 3900
    artifacts.put(RUN, "large.bin", large, "application/octet-stream", "n")
    artifacts.put(RUN, "empty", b"", "text/plain", "n")
    assert artifacts.get(RUN, "large.bin")[1] == large
    assert artifacts.get(RUN, "empty")[1] == b""
    assert [a.size_bytes for a in artifacts.list(RUN)] == [0, len(large)]


def test_a_copy_stays_when_the_first_one_goes_and_a_discarded_run_has_none(
    artifacts: Artifacts,
) -> None:
    artifacts.put(RUN, "a", b"1", "text/plain", "n")
    copied = artifacts.copy(RUN, "a", OTHER)
    assert copied == Artifact(name="a", content_type="text/plain", size_bytes=1, node_id="n")
    artifacts.discard(RUN)
    assert artifacts.list(RUN) == []
    assert artifacts.get(OTHER, "a") == (copied, b"1")
    artifacts.discard(RUN)
    for missing in ((RUN, "a"), (OTHER, "b")):
        with pytest.raises(NotFound):
            artifacts.copy(*missing, OTHER)
    assert [a.name for a in artifacts.list(OTHER)] == ["a"]


def test_pruning_takes_old_runs_whole_and_no_other(artifacts: Artifacts) -> None:
    assert artifacts.prune(datetime.now(UTC)) == 0
    began = datetime(2026, 3, 1, tzinfo=UTC)
    runs = [lowest_uuid7(began + timedelta(days=day)) for day in (0, 1, 40)]
    for run_id in runs:
        artifacts.put(run_id, "a", b"1", "text/plain", "n")
        artifacts.put(run_id, "b", b"2", "text/csv", "n")
    assert artifacts.prune(time_of(runs[0])) == 0
    assert artifacts.prune(time_of(runs[2])) == 2
    assert [len(artifacts.list(run_id)) for run_id in runs] == [0, 0, 2]
    assert artifacts.prune(time_of(runs[2])) == 0
    with pytest.raises(NotFound):
        artifacts.get(runs[0], "a")
    assert artifacts.get(runs[2], "b")[0].content_type == "text/csv"


def test_a_store_that_is_away_is_unavailable_and_a_strange_one_a_wrong_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key-of-tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-tests")
    away = ObjectArtifacts("s3://artifacts", largest=100)
    with pytest.raises(ServiceUnavailable, match="s3://artifacts"):
        away.list(RUN)
    with pytest.raises(SettingsError, match="ZQ_ARTIFACTS__URL"):
        ObjectArtifacts("carrier-pigeon://loft", largest=100)
