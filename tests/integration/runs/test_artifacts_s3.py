"""Artifacts in S3 as a deployment has them: written by pool children, read by the API."""

from __future__ import annotations

from pathlib import Path

import httpx

from orchestrator.bootstrap.core import artifacts
from orchestrator.settings import Artifacts, Settings
from tests.integration.live import living
from tests.integration.serving import serving
from tests.s3_server import bucket


def test_workers_write_and_read_them_and_the_api_hands_them_out(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    with bucket() as (url, environment), living(database_url, redis_url, tmp_path) as live:
        place = f"{url}/zq"
        live.environment |= {**environment, "ZQ_ARTIFACTS__URL": place}
        live.worker()
        large = "x" * 300_000
        nodes = [
            live.calling("big", "test.note", args={"value": large}),
            live.calling(
                "reader", "test.note", args={"value": "{{ size(nodes.big.output.value) }}"}
            ),
        ]
        run_id = live.start(nodes, ["big>reader"])
        assert live.ended(run_id).output == {"reader": {"value": 300_000}}
        kept = artifacts(Settings(artifacts=Artifacts(url=place)))
        (name,) = [a.name for a in kept.list(run_id)]
        assert name == "output-0-1.json"
        prefix = live.settings.redis.prefix
        with (
            serving(database_url, redis_url, REDIS__PREFIX=prefix, ARTIFACTS__URL=place) as web,
            httpx.Client(
                base_url=f"{web.url}/api/v1/runs/{run_id}/artifacts",
                headers=web.headers,
                trust_env=False,
            ) as client,
        ):
            listed = client.get("").raise_for_status().json()["items"]
            assert [(a["name"], a["content_type"], a["node_id"]) for a in listed] == [
                (name, "application/json", "big")
            ]
            found = client.get(f"/{name}").raise_for_status()
            assert found.json() == {"value": large}
            assert found.headers["Content-Type"] == "application/json"
            assert found.headers["Content-Disposition"].startswith("attachment")
            assert client.get("/none").status_code == 404
        assert not list(live.settings.home.glob("artifacts/*"))
