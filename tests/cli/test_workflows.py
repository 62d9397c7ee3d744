"""`zq apply` with files as the source: a workflow keeps its identity and its status."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.place import Place

ONE = "name: one\nnodes: {a: noop}\n"
TWO = "name: two\nstatus: draft\nnodes: {a: noop}\n"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder of two definitions, one of them a draft."""
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "one.yaml").write_text(ONE)
    (folder / "two.yaml").write_text(TWO)
    return folder


def listed(place: Place, *words: str) -> dict[str, dict[str, Any]]:
    return {w["name"]: w for w in place.told("workflow", "list", *words)}


def test_a_file_that_was_pruned_and_restored_is_the_same_workflow(
    place: Place, files: Path
) -> None:
    apply = ("apply", "-f", str(files))
    made = {row["name"]: row for row in place.told(*apply)}
    (files / "one.yaml").unlink()
    said = place.zq(*apply, "--prune", "--yes")
    one = made["one"]["id"]
    assert f"one: archived, version 2; `zq workflow activate {one}` undoes it" in said
    assert f"  one  version 1  {one}" in place.errors
    assert set(listed(place)) == {"two"}
    assert listed(place, "--status", "archived")["one"]["id"] == one
    (files / "one.yaml").write_text(ONE)
    for did, version in (("activated", 3), ("unchanged", 3)):
        row = next(row for row in place.told(*apply) if row["name"] == "one")
        assert row == {"name": "one", "did": did, "version": version, "id": one}
    assert listed(place)["one"]["status"] == "published"


def test_a_status_goes_with_the_file_and_back(place: Place, files: Path, tmp_path: Path) -> None:
    place.zq("apply", "-f", str(files))
    assert {n: w["status"] for n, w in listed(place).items()} == {
        "one": "published",
        "two": "draft",
    }
    assert set(listed(place, "--status", "draft", "--status", "archived")) == {"two"}
    out = tmp_path / "out"
    place.zq("workflow", "export", "--to", str(out))
    assert "status: draft" in (out / "two.yaml").read_text()
    assert "status" not in (out / "one.yaml").read_text()
    said = place.zq("workflow", "export", "--to", str(files))
    assert said.count("unchanged") == 2
    place.zq("workflow", "activate", "two")
    assert f"{files / 'two.yaml'}: changed" in place.zq("workflow", "export", "--to", str(files))
    # Without a status in its file, a workflow stays what it is.
    (files / "two.yaml").write_text(TWO)
    place.zq("apply", "-f", str(files))
    (files / "two.yaml").write_text(TWO.replace("status: draft\n", ""))
    assert {row["did"] for row in place.told("apply", "-f", str(files))} == {"unchanged"}
    assert listed(place)["two"]["status"] == "draft"


def test_a_wrong_status_is_told_with_its_line(place: Place, files: Path) -> None:
    (files / "two.yaml").write_text(TWO.replace("draft", "drafty"))
    place.zq("apply", "-f", str(files), code=1)
    assert "two.yaml:2: status: the status must be one of: draft" in place.errors
    place.zq("validate", str(files / "two.yaml"), code=1)
    assert listed(place) == {}


def test_a_draft_in_a_file_runs_dry(place: Place, files: Path) -> None:
    assert "succeeded" in place.zq("run", str(files / "two.yaml"), "--dry")


def test_a_run_that_the_command_line_starts_says_so(place: Place, files: Path) -> None:
    place.zq("apply", "-f", str(files))
    assert place.told("run", "one", "--tag", "mine")["trigger"] == "manual"


def test_exported_files_keep_the_names_of_all_scripts(place: Place, tmp_path: Path) -> None:
    names = ["Grüße", "日報", "a: b, c", "漢" * 120, "x" * 120]
    for number, name in enumerate(names):
        file = tmp_path / f"{number}.yaml"
        file.write_text(f"name: {name!r}\nnodes: {{a: noop}}\n")
        place.zq("apply", "-f", str(file))
    folder = tmp_path / "out"
    place.zq("workflow", "export", "--to", str(folder))
    written = {file.name for file in folder.iterdir()}
    assert {"Grüße.yaml", "日報.yaml", "a-b-c.yaml"} < written
    assert len(written) == len(names)
    assert all("position" not in file.read_text() for file in folder.iterdir())
    again = place.zq("workflow", "export", "--to", str(folder)).splitlines()
    assert all(line.endswith(": unchanged") for line in again)
