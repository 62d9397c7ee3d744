"""`zq backup` while runs are open, and `zq restore` into a new home, where they go on."""

from __future__ import annotations

import tarfile
from pathlib import Path

import httpx

from orchestrator.adapters.embedded.process import free_port
from tests.integration.zq_process import Zq
from tests.waiting import wait_for

FLOW = {
    "name": "rest",
    "nodes": [
        {"id": "rest", "type": "wait", "data": {"config": {"seconds": 8}}},
        {"id": "end", "type": "noop"},
    ],
    "edges": [{"id": "e", "source": "rest", "target": "end"}],
}


def _client(zq: Zq) -> httpx.Client:
    key = (zq.home / "admin.key").read_text().strip()
    url = f"http://127.0.0.1:{zq.env['ZQ_WEB__PORT']}/api/v1"
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=20)


def test_a_backup_of_a_living_home_is_restored_into_a_new_one(tmp_path: Path) -> None:
    first, second = (Zq(tmp_path / name / "home", free_port()) for name in ("one", "two"))
    for zq in (first, second):
        zq.home.parent.mkdir()
    file = tmp_path / "zq.tar"
    with first.up(), _client(first) as client:
        run_id = client.post("/workflows/execute", json={"definition": FLOW}).json()["id"]
        kept = first.home / "artifacts" / run_id / "kept.txt"
        kept.parent.mkdir(parents=True)
        kept.write_text("of the run")
        wait_for(
            lambda: client.get(f"/runs/{run_id}").json()["counts"].get("waiting"),
            what="an open run",
        )
        saved = first.run("backup", str(file))
        assert saved.returncode == 0, saved.stderr
        assert "1 runs and 1 workflows" in saved.stdout
        refused = first.run("restore", str(file))
        assert refused.returncode == 1
        assert client.get(f"/runs/{run_id}").json()["finished_at"] is None
    assert file.stat().st_mode & 0o077 == 0
    with tarfile.open(file) as tar:
        assert {"manifest.json", "zq.dump", "secret.key"} <= set(tar.getnames())
    restored = second.run("restore", str(file))
    assert restored.returncode == 0, restored.stderr
    assert "restored 1 runs" in restored.stdout
    again = second.run("restore", str(file))
    assert (again.returncode, "not empty" in again.stderr) == (1, True)
    for name in ("secret.key", f"artifacts/{run_id}/kept.txt"):
        assert (second.home / name).read_text() == (first.home / name).read_text()
    with second.up(), _client(second) as client:
        found = wait_for(
            lambda: (run := client.get(f"/runs/{run_id}").json())["finished_at"] and run,
            timeout_s=60,
            what="the end of the run that was open",
        )
        assert found["state"] == "succeeded"


def test_what_is_no_backup_is_not_restored(tmp_path: Path) -> None:
    zq = Zq(tmp_path / "home", free_port())
    (tmp_path / "other.tar").write_bytes(b"not a tar")
    done = zq.run("restore", str(tmp_path / "other.tar"))
    assert (done.returncode, "is no archive" in done.stderr) == (1, True)
    zq.env["ZQ_DATABASE__URL"] = "postgresql://zq@127.0.0.1:1/zq"
    done = zq.run("backup", str(tmp_path / "zq.tar"))
    assert (done.returncode, "pg_dump" in done.stderr) == (1, True)
