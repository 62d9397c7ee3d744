"""compose.yaml is valid by the specification, asks for every secret, and speaks our settings."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from orchestrator import settings

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, Any] = COMPOSE["services"]
SCHEMA = json.loads((Path(__file__).parent / "data/compose-spec.json").read_text())
#: It runs once and ends.
WITHOUT_HEALTHCHECK = {"migrate"}


def problems(compose: object) -> list[str]:
    found = jsonschema_rs.Draft7Validator(SCHEMA).iter_errors(compose)
    return [f"{list(error.instance_path)}: {error.message}" for error in found]


def test_it_follows_the_compose_specification() -> None:
    assert problems(COMPOSE) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"services": {"api": {"imagee": "x"}}},
        {"services": {"api": {"depends_on": {"db": {"condition": "ready"}}}}},
        {"services": {"api": {"healthcheck": {"test": 7}}}},
    ],
)
def test_the_schema_finds_mistakes(wrong: object) -> None:
    assert problems(wrong) != []


def test_the_promised_services_are_there() -> None:
    assert set(SERVICES) == {
        "postgres", "redis", "migrate", "api", "worker", "scheduler", "flower",
    }  # fmt: skip


def test_services_that_stay_have_a_healthcheck() -> None:
    assert {name for name in SERVICES if "healthcheck" not in SERVICES[name]} == WITHOUT_HEALTHCHECK


def test_dependencies_exist_and_can_become_true() -> None:
    for service in SERVICES.values():
        for name, needs in service.get("depends_on", {}).items():
            if needs["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[name]
            if needs["condition"] == "service_completed_successfully":
                assert SERVICES[name]["restart"] == "no"


def test_ports_are_published_on_loopback_only() -> None:
    for name, service in SERVICES.items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name


def test_secrets_are_asked_for_never_written_down() -> None:
    for line in TEXT.splitlines():
        if re.search(r"^\s+\w*(PASSWORD|KEY|AUTH|URL)\w*: ", line):
            assert re.search(r"\$\{\w+:\?[^}]+\}", line), line


def test_settings_and_commands_are_ours() -> None:
    known = settings.names()
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert set(re.findall(r"\bZQ_[A-Z_]+", TEXT + dockerfile)) <= set(known)


def test_no_container_runs_as_root_or_writes_its_own_files() -> None:
    assert re.search(r"^USER zq$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    for name in SERVICES.keys() - {"postgres", "redis"}:
        assert SERVICES[name]["read_only"] is True
        assert SERVICES[name]["cap_drop"] == ["ALL"]
