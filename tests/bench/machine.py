"""Where and with what it was measured."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import psutil

from orchestrator import __version__
from tests.bench.figures import spread
from tests.bench.servers import OURS, Servers

_PACKAGES = (
    "celery",
    "kombu",
    "redis",
    "hiredis",
    "psycopg2-binary",
    "sqlalchemy",
    "flask",
    "gunicorn",
)


def described(servers: Servers) -> dict[str, str]:
    """Return what a reader must know of the machine, its servers and its load before the start."""
    commits = spread(servers.commit_ms())
    info: Mapping[str, object] = servers.redis(OURS).info("server")  # type: ignore[assignment]
    kind = "Valkey" if "valkey_version" in info else "Redis"
    cores = psutil.cpu_count() or 1
    return {
        "Processor": f"{_model()}, {cores} cores",
        "Memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "System": f"{platform.system()} {platform.release()}, data on {_file_system(servers.home)}",
        "A small commit": f"{commits.median:.2f} ms [{commits.low:.2f}–{commits.high:.2f}]",
        "Load before the start": f"{os.getloadavg()[0]:.2f}",
        "Postgres": ", ".join(
            [servers.show("server_version").split()[0]]
            + [f"{name} {servers.show(name)}" for name in ("fsync", "synchronous_commit")]
        ),
        kind: str(info.get("valkey_version", info.get("redis_version"))),
        "Python": platform.python_version(),
        "Packages": ", ".join(f"{name} {version(name)}" for name in _PACKAGES),
        "ZQAutoNXG": __version__,
    }


def _model() -> str:
    try:
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.machine()


def _file_system(folder: Path) -> str:
    """Return the kind of file system that holds a folder: in memory, a flush would cost nothing."""
    parts = [p for p in psutil.disk_partitions(all=True) if folder.is_relative_to(p.mountpoint)]
    return max(parts, key=lambda p: len(p.mountpoint)).fstype if parts else "an unknown file system"
