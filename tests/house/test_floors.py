"""No version that may be installed has a hole that was known when its floor was set."""

from __future__ import annotations

import pytest
from packaging.version import Version

from tests.house.test_packaging import everything_declared, pins

#: By package: the first version without the hole, and its number. What is newest in `make audit`
#: comes here with the floor that it raises.
MENDED = {
    "authlib": [
        ("1.6.4", "CVE-2025-59420"), ("1.6.5", "CVE-2025-61920"), ("1.6.6", "CVE-2025-68158"),
    ],
    "celery": [("5.2.2", "CVE-2021-23727")],
    "cryptography": [("42.0.4", "CVE-2024-26130"), ("44.0.1", "CVE-2024-12797")],
    "flask": [("3.1.1", "CVE-2025-47278"), ("3.1.3", "CVE-2026-27205")],
    "flask-cors": [("4.0.2", "CVE-2024-6221"), ("6.0.0", "CVE-2024-6866")],
    "flower": [("1.2.0", "CVE-2022-30034")],
    "gunicorn": [("22.0.0", "CVE-2024-1135"), ("23.0.0", "CVE-2024-6827")],
    # By the h11 that it asks for.
    "httpcore": [("1.0.9", "CVE-2025-43859")],
    "httpx": [("0.23.0", "CVE-2021-41945")],
    "joserfc": [("1.4.2", "CVE-2025-65015")],
    "marshmallow": [("4.1.2", "CVE-2025-68480")],
    "orjson": [("3.9.15", "CVE-2024-27454"), ("3.11.6", "CVE-2025-67221")],
    "psutil": [("5.6.6", "CVE-2019-18874")],
    # By the libpq in its wheels.
    "psycopg2-binary": [("2.9.11", "CVE-2025-1094")],
    "pyyaml": [("5.4", "CVE-2020-14343")],
    "redis": [("4.5.5", "CVE-2023-28859")],
    "sqlalchemy": [("1.3.0", "CVE-2019-7164")],
    "webargs": [("5.5.3", "CVE-2020-7965")],
    "werkzeug": [
        ("3.0.3", "CVE-2024-34069"), ("3.0.6", "CVE-2024-49767"), ("3.1.4", "CVE-2025-66221"),
        ("3.1.5", "CVE-2026-21860"), ("3.1.6", "CVE-2026-27199"),
    ],
}  # fmt: skip


def floor(name: str) -> Version:
    found = [s.version for s in everything_declared()[name].specifier if s.operator in (">=", "==")]
    assert len(found) == 1, f"{name} has no floor"
    return Version(found[0])


@pytest.mark.parametrize("name", MENDED)
def test_no_floor_lets_a_known_hole_in(name: str) -> None:
    for mended, number in MENDED[name]:
        assert floor(name) >= Version(mended), f"{name} below {mended} has {number}"
        assert Version(pins()[name]) >= Version(mended), number


def test_every_dependency_has_a_floor() -> None:
    for name in everything_declared():
        assert floor(name)
