"""One file with all of an embedded installation: the database, the artifacts, the secret key.

A tar of `manifest.json`, `zq.dump` (pg_dump's own format), `secret.key` and `artifacts/`. The
counts of rows in the manifest are of the very snapshot that was dumped.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg2
from psycopg2 import sql
from sqlalchemy.engine import make_url

from orchestrator import __version__
from orchestrator.adapters.embedded.binaries import find_binaries
from orchestrator.adapters.postgres.migrate import head, migrate
from orchestrator.errors import ServiceUnavailable, ZQError
from orchestrator.process.home import SECRET_FILE
from orchestrator.process.private_files import private_folder, write_private
from orchestrator.settings import Settings

#: Roles belong to the server: a dump names them, and does not bring them.
ROLES = ("zq_api", "zq_engine", "zq_access")
MANIFEST, DUMP, ARTIFACTS = "manifest.json", "zq.dump", "artifacts"


class NotRestored(ZQError):
    """The file cannot be restored here."""

    code = "not_restored"


def save(settings: Settings, file: Path) -> dict[str, Any]:
    """Write the archive of a running installation to `file`, in one step; return its manifest."""
    with TemporaryDirectory(dir=private_folder(settings.home)) as folder:
        dump = Path(folder) / DUMP
        manifest = _dumped(settings.database.url, dump)
        key = settings.home / SECRET_FILE
        manifest["secret_key"] = key.exists()
        manifest["artifacts"] = _has_folder(settings)
        new = file.with_name(f"{file.name}.new")
        with (
            os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out,
            tarfile.open(fileobj=out, mode="w|") as tar,
        ):
            told = json.dumps(manifest, indent=1).encode()
            entry = tarfile.TarInfo(MANIFEST)
            entry.size = len(told)
            tar.addfile(entry, io.BytesIO(told))
            tar.add(dump, DUMP)
            if manifest["secret_key"]:
                tar.add(key, SECRET_FILE)
            # After the database: a file that no row names is harmless, the other way is not.
            if manifest["artifacts"]:
                tar.add(settings.artifacts_dir, ARTIFACTS)
        new.replace(file)
    return manifest


def bring_back(settings: Settings, file: Path) -> dict[str, Any]:
    """Restore an archive into an installation with an empty database; return its manifest.

    NotRestored when it is none, is of a newer release, or something is there already.
    """
    with TemporaryDirectory(dir=private_folder(settings.home)) as folder:
        manifest = _unpacked(file, Path(folder))
        if str(manifest["revision"]) > head():
            raise NotRestored(
                f"it is of revision {manifest['revision']}, this release knows {head()}:"
                f" restore it with release {manifest['version']} or a newer one"
            )
        key = _key(settings, Path(folder) / SECRET_FILE)
        _restored(settings.database.url, Path(folder) / DUMP, manifest)
        if key and not (settings.home / SECRET_FILE).exists():
            write_private(settings.home / SECRET_FILE, key)
        kept = Path(folder) / ARTIFACTS
        if manifest["artifacts"] and kept.exists():
            target = settings.artifacts_dir
            for path in kept.rglob("*"):
                if path.is_file():
                    place = target / path.relative_to(kept)
                    private_folder(place.parent)
                    path.replace(place)
    migrate(settings.database.url)
    return manifest


def _has_folder(settings: Settings) -> bool:
    url = settings.artifacts.url
    return (not url or url.startswith("file://")) and settings.artifacts_dir.is_dir()


def _key(settings: Settings, file: Path) -> str:
    key = file.read_text().strip() if file.exists() else ""
    here = settings.home / SECRET_FILE
    if key and here.exists() and here.read_text().strip() != key:
        raise NotRestored(f"{here} is another secret key than the archive's: move it away first")
    return key


def _unpacked(file: Path, folder: Path) -> dict[str, Any]:
    try:
        with tarfile.open(file) as tar:
            tar.extractall(folder, filter="data")
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    except (OSError, tarfile.TarError, ValueError) as error:
        raise NotRestored(f"{file} is no archive of `zq backup`: {error}") from error
    return manifest


def _dumped(url: str, dump: Path) -> dict[str, Any]:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        cursor.execute("SELECT pg_export_snapshot()")
        (snapshot,) = cursor.fetchone() or ("",)
        cursor.execute("SELECT version_num FROM alembic_version")
        (revision,) = cursor.fetchone() or ("",)
        rows = _counts(cursor)
        _run(url, "pg_dump", "--format=custom", f"--snapshot={snapshot}", f"--file={dump}")
    return {
        "version": __version__, "revision": revision,
        "at": datetime.now(UTC).isoformat(timespec="seconds"), "rows": rows,
    }  # fmt: skip


def _restored(url: str, dump: Path, manifest: dict[str, Any]) -> None:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        if _counts(cursor):
            raise NotRestored("the database is not empty: restore into a new ZQ_HOME")
        for role in ROLES:
            cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,))
            if cursor.fetchone() is None:
                cursor.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(role)))
        _run(url, "pg_restore", "--single-transaction", "--exit-on-error", str(dump))
        found = _counts(cursor)
        if found != manifest["rows"]:
            other = sorted(t for t in found.keys() | manifest["rows"].keys()
                           if found.get(t) != manifest["rows"].get(t))  # fmt: skip
            raise NotRestored(f"other numbers of rows than were saved, in {', '.join(other)}")


def _counts(cursor: Any) -> dict[str, int]:
    """Return how many rows each table has; partitions count for their parents."""
    cursor.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace"
        " AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY relname"
    )
    found = {}
    for (name,) in cursor.fetchall():
        cursor.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(name)))
        found[name] = int(cursor.fetchone()[0])
    return found


def _run(url: str, program: str, *words: str) -> None:
    """Run one of Postgres's own programs beside the embedded server; ServiceUnavailable."""
    env = _environment(url)
    command = [str(find_binaries().postgres_bin / program), "--dbname", env["PGDATABASE"], *words]
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ServiceUnavailable(f"there is no {program} beside Postgres: {error}") from error
    if done.returncode:
        raise ServiceUnavailable(f"{program} failed: {done.stderr.strip()[-2000:]}")


def _environment(url: str) -> dict[str, str]:
    """Return an environment with the address: a password on the command line is public."""
    to = make_url(url)
    return {
        "PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C",
        "PGHOST": to.host or "", "PGPORT": str(to.port or 5432), "PGUSER": to.username or "",
        "PGPASSWORD": str(to.password or ""), "PGDATABASE": to.database or "",
    }  # fmt: skip
