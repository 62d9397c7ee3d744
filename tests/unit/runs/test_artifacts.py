"""FolderArtifacts where it differs from any other: files, links, modes, crashes."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from uuid import UUID

import pytest

from orchestrator.adapters.artifacts.folder import FolderArtifacts
from orchestrator.errors import HandlerError, NotFound, TooLarge

RUN = UUID("01890000-0000-7000-8000-000000000001")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "artifacts"


@pytest.fixture
def artifacts(folder: Path) -> FolderArtifacts:
    return FolderArtifacts(folder, largest=100)


def test_nothing_is_made_before_the_first_artifact(
    artifacts: FolderArtifacts, folder: Path
) -> None:
    assert artifacts.list(RUN) == []
    assert not folder.exists()


def test_only_the_owner_may_look(artifacts: FolderArtifacts, folder: Path) -> None:
    artifacts.put(RUN, "a.csv", b"1", "text/csv", "n")
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (folder, *folder.rglob("*"))}
    assert modes == {"artifacts": 0o700, str(RUN): 0o700, "a.csv": 0o600, ".a.csv.json": 0o600}


def test_larger_than_allowed_is_refused_and_leaves_nothing(artifacts: FolderArtifacts) -> None:
    artifacts.put(RUN, "fits", b"x" * 100, "text/plain", "n")
    with pytest.raises(TooLarge, match="ZQ_LIMITS__ARTIFACT_BYTES"):
        artifacts.put(RUN, "big", b"x" * 101, "text/plain", "n")
    assert [a.name for a in artifacts.list(RUN)] == ["fits"]


@pytest.mark.parametrize("kind", ["", "html", "text/html\r\nX: y", "text/", "a/b; c", "é/b"])
def test_a_content_type_that_could_break_a_header_is_refused(
    artifacts: FolderArtifacts, kind: str
) -> None:
    with pytest.raises(HandlerError) as caught:
        artifacts.put(RUN, "a", b"", kind, "n")
    assert caught.value.error_code == "bad_artifact_type"


def test_links_pipes_and_folders_are_no_artifacts(
    artifacts: FolderArtifacts, folder: Path, tmp_path: Path
) -> None:
    artifacts.put(RUN, "real", b"1", "text/plain", "n")
    (tmp_path / "secret").write_text("secret")
    inside = folder / str(RUN)
    (inside / "link").symlink_to(tmp_path / "secret")
    (inside / "folder").mkdir()
    os.mkfifo(inside / "pipe")
    assert [a.name for a in artifacts.list(RUN)] == ["real"]
    for name in ("link", "folder", "pipe"):
        with pytest.raises(NotFound):
            artifacts.get(RUN, name)


def test_a_link_is_replaced_not_followed(
    artifacts: FolderArtifacts, folder: Path, tmp_path: Path
) -> None:
    artifacts.put(RUN, "real", b"1", "text/plain", "n")
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (folder / str(RUN) / "link").symlink_to(victim)
    artifacts.put(RUN, "link", b"2", "text/plain", "n")
    assert victim.read_text() == "untouched"
    assert artifacts.get(RUN, "link")[1] == b"2"


def test_a_run_folder_that_is_a_link_leads_nowhere(
    artifacts: FolderArtifacts, folder: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a").write_text("secret")
    folder.mkdir(parents=True)
    (folder / str(RUN)).symlink_to(outside)
    assert artifacts.list(RUN) == []
    with pytest.raises(NotFound):
        artifacts.get(RUN, "a")
    with pytest.raises(FileNotFoundError):
        artifacts.put(RUN, "b", b"", "text/plain", "n")
    assert not (outside / "b").exists()


def test_a_write_that_fails_leaves_the_old_one(
    artifacts: FolderArtifacts, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifacts.put(RUN, "a", b"old", "text/plain", "n")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            artifacts.put(RUN, "a", b"new", "text/plain", "n")
    assert artifacts.get(RUN, "a")[1] == b"old"
    assert sorted(p.name for p in (folder / str(RUN)).iterdir()) == [".a.json", "a"]


@pytest.mark.parametrize("about", [None, "{broken"])
def test_without_its_description_only_the_type_is_lost(
    artifacts: FolderArtifacts, folder: Path, about: str | None
) -> None:
    artifacts.put(RUN, "a", b"1", "text/csv", "n")
    beside = folder / str(RUN) / ".a.json"
    beside.unlink() if about is None else beside.write_text(about)
    found, data = artifacts.get(RUN, "a")
    assert (found.content_type, found.node_id, data) == ("application/octet-stream", None, b"1")
