"""Upkeep removes the artifacts of old runs, and never those that a live run may still read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from orchestrator.adapters.artifacts.folder import FolderArtifacts
from orchestrator.adapters.artifacts.objects import ObjectArtifacts
from orchestrator.adapters.memory.dispatch import MemoryDispatcher
from orchestrator.adapters.memory.runtime import MemoryArtifacts, SettableClock
from orchestrator.adapters.memory.store import MemoryStore
from orchestrator.bootstrap.core import artifacts
from orchestrator.errors import ServiceUnavailable, SettingsError
from orchestrator.models.ids import lowest_uuid7
from orchestrator.services.runs.engine import WorkflowEngine
from orchestrator.services.runs.upkeep import Upkeep
from orchestrator.settings import Artifacts as ArtifactsSettings
from orchestrator.settings import Settings, Worker
from orchestrator.settings import Upkeep as UpkeepSettings
from tests.contract.player import Player
from tests.factories import chain
from tests.waiting import wait_for

NOW = datetime(2026, 6, 1, tzinfo=UTC)


class Rig:
    """A memory store and artifacts, with an upkeep over them."""

    def __init__(self, kept: MemoryArtifacts | None = None, keep_days: int = 30) -> None:
        self.clock = SettableClock(NOW)
        self.store = MemoryStore(self.clock)
        self.kept = kept or MemoryArtifacts()
        dispatcher = MemoryDispatcher()
        engine = WorkflowEngine(self.store, dispatcher, (), self.clock, self.kept)
        self.upkeep = Upkeep(
            self.store, engine, dispatcher, self.clock, UpkeepSettings(), Worker(),
            artifacts=self.kept, keep_days=keep_days,
        )  # fmt: skip

    def put(self, age_days: float) -> UUID:
        """Leave an artifact of a run of this age."""
        run_id = lowest_uuid7(NOW - timedelta(days=age_days))
        self.kept.put(run_id, "a", b"", "text/plain", "n")
        return run_id

    def there(self, run_id: UUID) -> bool:
        """Whether a run's artifact is still there."""
        return bool(self.kept.list(run_id))


def test_old_ones_go_at_once_and_then_hourly() -> None:
    rig = Rig()
    old, young = rig.put(31), rig.put(29)
    rig.upkeep.round()
    wait_for(lambda: not rig.there(old))
    assert rig.there(young)
    rig.clock.advance(2 * 86_400)
    rig.upkeep.round()
    wait_for(lambda: not rig.there(young))


def test_nothing_goes_that_a_live_run_may_read() -> None:
    rig = Rig()
    origin, oldest, older = rig.put(50), rig.put(60), rig.put(40)
    # An ended run of long ago gave its outputs to one that is still at work.
    Player(rig.store, chain(1), id=origin).do("n0")
    live = Player(rig.store, chain(1), origin_run_id=origin)
    rig.upkeep.round()
    wait_for(lambda: not rig.there(oldest))
    assert (rig.there(origin), rig.there(older)) == (True, True)
    live.do("n0")
    rig.clock.advance(3601)
    rig.upkeep.round()
    wait_for(lambda: not rig.there(origin) and not rig.there(older))


def test_a_store_that_is_away_delays_nothing_and_is_tried_again() -> None:
    class Away(MemoryArtifacts):
        asked = 0

        def prune(self, before: datetime) -> int:
            self.asked += 1
            if self.asked == 1:
                raise ServiceUnavailable("the bucket is away")
            return super().prune(before)

    kept = Away()
    rig = Rig(kept)
    old = rig.put(31)
    rig.upkeep.round()
    wait_for(lambda: kept.asked == 1)
    assert rig.there(old)
    # A thread that has just raised may not be over yet; the hour is.
    wait_for(lambda: rig.upkeep.round() and rig.clock.advance(3601) is None and not rig.there(old))


def test_zero_days_keep_them_for_ever() -> None:
    class Never(MemoryArtifacts):
        def prune(self, before: datetime) -> int:
            raise AssertionError(before)

    rig = Rig(Never(), keep_days=0)
    old = rig.put(9_000)
    rig.upkeep.round()
    assert rig.there(old)


def test_a_folder_of_runs_loses_only_runs(tmp_path: Path) -> None:
    kept = FolderArtifacts(tmp_path, largest=100)
    old = lowest_uuid7(NOW - timedelta(days=31))
    kept.put(old, "a", b"1", "text/plain", "n")
    (tmp_path / "notes").mkdir()
    (tmp_path / "00000000-0000-4000-8000-000000000000").mkdir()
    link = tmp_path / str(lowest_uuid7(NOW - timedelta(days=32)))
    link.symlink_to(tmp_path / "notes")
    assert kept.prune(NOW - timedelta(days=30)) == 1
    assert not (tmp_path / str(old)).exists()
    assert len(list(tmp_path.iterdir())) == 3


def test_where_artifacts_are_kept(tmp_path: Path) -> None:
    def place(**chosen: str) -> object:
        return artifacts(Settings(home=tmp_path, artifacts=ArtifactsSettings(**chosen)))

    run_id = lowest_uuid7(NOW)
    for name, chosen in {
        "artifacts": {},
        "by dir": {"dir": str(tmp_path / "by dir")},
        "by url": {"url": (tmp_path / "by url").as_uri()},
    }.items():
        kept = place(**chosen)
        assert isinstance(kept, FolderArtifacts)
        kept.put(run_id, "a", b"1", "text/plain", "n")
        assert (tmp_path / name / str(run_id) / "a").read_bytes() == b"1"
    assert isinstance(place(url="memory://artifacts"), ObjectArtifacts)
    for wrong in ({"url": "file://"}, {"url": "memory://a", "dir": "b"}, {"url": "nonsense"}):
        with pytest.raises(SettingsError, match="ZQ_ARTIFACTS__URL"):
            place(**wrong)
