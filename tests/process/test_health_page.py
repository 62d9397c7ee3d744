"""A health page: 200 while something has happened lately, else 503; and upkeep that tells of it."""

from __future__ import annotations

import httpx
import pytest

from orchestrator.adapters.embedded.process import free_port
from orchestrator.errors import StoreUnavailable
from orchestrator.process import health_page
from orchestrator.process.stop_signal import StopSignal
from tests.unit.runs.test_upkeep import Rig


def test_it_answers_by_what_has_happened_lately() -> None:
    fresh = health_page.Fresh(60)
    port = health_page.serve("127.0.0.1", free_port(), fresh.is_fresh)
    url = f"http://127.0.0.1:{port}/readyz"
    assert (httpx.get(url).status_code, httpx.get(url).json()) == (503, {"alive": False})
    fresh.touch()
    assert (httpx.get(url).status_code, httpx.get(url).json()) == (200, {"alive": True})


def test_what_happened_too_long_ago_is_not_fresh() -> None:
    fresh = health_page.Fresh(0.0)
    fresh.touch()
    assert not fresh.is_fresh()


def test_no_port_is_no_page() -> None:
    assert health_page.serve("127.0.0.1", 0, lambda: True) == 0


@pytest.mark.parametrize("away", [False, True])
def test_upkeep_tells_of_rounds_that_came_to_their_end(
    monkeypatch: pytest.MonkeyPatch, away: bool
) -> None:
    rig, stop, told = Rig(), StopSignal(), list[int]()

    def listen(_timeout_s: float, _stop: int) -> bool:
        stop.set()
        return False

    def next_due_s(_lease_s: float | None = None) -> float | None:
        if away:
            stop.set()
            raise StoreUnavailable
        return None

    monkeypatch.setattr(rig.store, "listen", listen)
    monkeypatch.setattr(rig.store.fleet, "next_due_s", next_due_s)
    if away:
        monkeypatch.setattr(rig.upkeep, "round", next_due_s)
    rig.upkeep.run_forever(stop, alive=lambda: told.append(1))
    assert len(told) == (0 if away else 2)
