"""`zq runs retry` at another version, and with another input."""

from __future__ import annotations

from uuid import UUID

from tests.api.runs.test_retry_versions import failed_at_c, second
from tests.cli.place import Place


def test_it_says_which_version_runs_and_that_a_newer_one_is_there(place: Place) -> None:
    workflow_id, run_id = failed_at_c(place.api)
    place.zq("runs", "retry", str(run_id))
    assert "--version" not in place.errors
    second(place.api, workflow_id, description="changed")
    place.zq("runs", "retry", str(run_id))
    assert "it runs version 1; version 2 is there: --version latest" in place.errors
    place.zq("runs", "retry", str(run_id), "--from", "b")
    assert "--version latest" in place.errors
    for version in ("latest", "2"):
        new = place.told("runs", "retry", str(run_id), "--version", version)[0]["new_run_id"]
        assert place.told("runs", "get", new)["version"] == 2
    words = ("--workflow", "versions", "--state", "failed", "--version", "latest", "--yes")
    (item,) = place.told("runs", "retry", *words)
    assert place.told("runs", "get", item["new_run_id"])["version"] == 2
    for bad in ("0", "newest", "-1", "²"):
        place.zq("runs", "retry", str(run_id), "--version", bad, code=2)


def test_another_input_replaces_values_one_by_one(place: Place) -> None:
    _, run_id = failed_at_c(place.api)
    (row,) = place.told("runs", "retry", str(run_id), "-i", "day=7")
    assert place.told("runs", "get", row["new_run_id"])["input"] == {"day": 7}
    assert place.api.core.store.reads.input(UUID(row["new_run_id"])) == {"day": 7}


def test_it_says_where_nothing_is_taken_over(place: Place) -> None:
    _, run_id = failed_at_c(place.api)
    place.zq("runs", "retry", str(run_id), "--from", "a")
    assert "nothing is taken over: all of version 1 runs again" in place.errors
