"""`zq runs artifacts` and the client's calls behind it: what a run left behind."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from orchestrator.client.errors import ApiError
from orchestrator.client.http import Client
from orchestrator.models.ids import DEFAULT_TENANT
from tests.api.conftest import KEY, ONE
from tests.cli.place import Place

BYTES = bytes(range(256))


@pytest.fixture
def run_id(place: Place) -> str:
    found, _ = place.core.engine.execute(DEFAULT_TENANT, ONE)
    return str(found)


def test_files_are_listed_and_fetched(place: Place, run_id: str, tmp_path: Path) -> None:
    assert place.zq("runs", "artifacts", run_id) == ""
    assert "no files" in place.errors
    put = place.core.artifacts.put
    put(UUID(run_id), "all.bin", BYTES, "application/octet-stream", "a")
    put(UUID(run_id), "rows.csv", b"1,2\n", "text/csv", "a")
    table = place.zq("runs", "artifacts", run_id).splitlines()
    assert [line.split() for line in table] == [
        ["NAME", "TYPE", "BYTES", "NODE"],
        ["all.bin", "application/octet-stream", "256", "a"],
        ["rows.csv", "text/csv", "4", "a"],
    ]
    assert [a["size_bytes"] for a in place.told("runs", "artifacts", run_id)] == [256, 4]
    assert place.zq("runs", "artifacts", run_id, "rows.csv") == "1,2\n"
    file = tmp_path / "fetched"
    assert place.zq("runs", "artifacts", run_id, "all.bin", "--to", str(file)) == ""
    assert file.read_bytes() == BYTES
    with Client(place.url, KEY) as client:
        assert client.artifact(run_id, "all.bin") == BYTES
        assert [a["name"] for a in client.artifacts(run_id)] == ["all.bin", "rows.csv"]
        with pytest.raises(ApiError, match="nothing at this path"):
            client.artifact(run_id, "../rows.csv")


def test_what_cannot_be_fetched_leaves_no_file(place: Place, run_id: str, tmp_path: Path) -> None:
    file = tmp_path / "fetched"
    place.zq("runs", "artifacts", run_id, "none", "--to", str(file), code=1)
    assert "no artifact" in place.errors
    assert not file.exists()
    place.zq("runs", "artifacts", run_id, "--to", str(file), code=2)
    put = place.core.artifacts.put
    put(UUID(run_id), "a", b"1", "text/plain", "a")
    place.zq("runs", "artifacts", run_id, "a", "--to", str(tmp_path / "no" / "folder"), code=1)
    assert "no/folder" in place.errors
