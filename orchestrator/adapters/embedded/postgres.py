"""The embedded Postgres: its data folder, its settings, its start.

Every commit is flushed to disk: this is the record. Never upgrades a folder between major versions.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from pathlib import Path
from uuid import uuid4

import psycopg2
from psycopg2 import sql

from orchestrator.adapters.embedded import identity
from orchestrator.adapters.embedded.binaries import postgres_major
from orchestrator.adapters.embedded.identity import Identity
from orchestrator.adapters.embedded.process import (
    ServerProcess,
    free_port,
    recorded_pid,
    spawn,
    stop_orphan,
    within,
)
from orchestrator.errors import EmbeddedUnavailable
from orchestrator.process.private_files import (
    fits_socket,
    password,
    private_folder,
    write_private,
)

USER = DATABASE = "zq"
#: Fast shutdown, then immediate (recovers at the next start), then no more asking.
STOP_SIGNALS = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0))
#: Recovery after a crash reads up to `max_wal_size` of log, on whatever disk there is.
START_S = 180.0
RESTARTABLE = re.compile(r"Address already in use|pre-existing shared memory block")

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "wal_compression": "on",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "15min",
    "password_encryption": "scram-sha-256",
    "unix_socket_permissions": "0700",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    "logging_collector": "off",
}


class PostgresServer:
    """One Postgres below `home/postgres`; call `start` only while holding the home's lock."""

    def __init__(self, home: Path, postgres_bin: Path) -> None:
        self._home = home
        self._bin = postgres_bin
        self._record = home / "postgres.json"
        self._process: ServerProcess | None = None

    def start(self, wanted_port: int | None) -> tuple[int, str]:
        """Return (port, URL) of a server that accepts connections and has our database."""
        stop_orphan(self._record, STOP_SIGNALS)
        folder, who = self._settle()
        data = folder / "data"
        secret = password(folder / "password")
        self._check_major(data)
        if not data.exists():
            self._create(data, secret, who)
        self._drop_stale_pid_file(data)
        # Its lock files name dead pids too; our own home's lock is what keeps others out.
        for left in (folder / "run").iterdir():
            left.unlink()
        port = self._run(data, who, wanted_port, secret)
        return port, f"postgresql://{USER}:{secret}@127.0.0.1:{port}/{DATABASE}"

    def alive(self) -> bool:
        return self._process is not None and self._process.alive()

    def stop(self) -> None:
        if self._process:
            self._process.stop()
            self._process = None

    def _settle(self) -> tuple[Path, Identity]:
        """Decide who runs the server and where its data lives; both fit each other after this.

        As `nobody` the data must lie outside a private home: `home/postgres` is then a link to it.
        """
        link = self._home / "postgres"
        folder = private_folder(link) if not link.is_symlink() else link.resolve()
        private_folder(folder / "run")
        who = identity.choose(self._bin / "postgres", folder)
        if who.owner is None:
            identity.give(folder, who)
            return folder, who
        if not link.is_symlink() and not identity.open_to_others(self._home):
            outside = identity.shared_folder(f"zqautonxg-{uuid4().hex[:12]}")
            shutil.copytree(folder, outside / "postgres", symlinks=True)
            shutil.rmtree(folder)
            link.symlink_to(outside / "postgres")
            folder = link.resolve()
        private_folder(folder)
        identity.give(folder, who)
        if not who.can(self._bin / "postgres", folder):
            self._copy_server(folder.parent)
        return folder, who

    def _copy_server(self, outside: Path) -> None:
        """Copy the wheel's server, with the libraries beside it, to where `nobody` may read it."""
        package = self._bin.parent.parent
        target = outside / "server"
        shutil.rmtree(target, ignore_errors=True)
        for part in (package, package.with_name(f"{package.name}.libs")):
            if part.is_dir():
                shutil.copytree(part, target / part.name, symlinks=True)
        for path in (target, *target.rglob("*")):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
        for program in (target / package.name / self._bin.relative_to(package)).iterdir():
            program.chmod(0o755)
        self._bin = target / package.name / self._bin.relative_to(package)

    def _check_major(self, data: Path) -> None:
        version = data / "PG_VERSION"
        if not version.exists():
            return
        has, runs = version.read_text().strip(), postgres_major(self._bin)
        if has != runs:
            raise EmbeddedUnavailable(
                f"{data} was made by PostgreSQL {has}, but the server here is {runs}. Start it "
                f"once with version {has} and `pg_dump` it, or move the folder away to begin empty."
            )

    def _create(self, data: Path, secret: str, who: Identity) -> None:
        """Make the data folder in one step: a killed `initdb` leaves nothing that looks ready."""
        new, pwfile = data.with_name("data.new"), data.with_name("pwfile")
        shutil.rmtree(new, ignore_errors=True)
        write_private(pwfile, secret)
        identity.give(pwfile, who)
        access: list[str | Path] = [
            "--username",
            USER,
            "--auth",
            "scram-sha-256",
            "--pwfile",
            pwfile,
        ]
        text = ["--encoding", "UTF8", "--locale", "C", "--no-instructions"]
        command = who.command([self._bin / "initdb", "-D", new, *access, *text], 0)
        try:
            done = subprocess.run(
                command,
                check=False,
                capture_output=True,
                text=True,
                cwd="/",
                umask=0o077,
                timeout=START_S,
            )
        finally:
            pwfile.unlink()
        if done.returncode != 0:
            raise EmbeddedUnavailable(f"initdb failed: {(done.stderr or done.stdout).strip()}")
        new.rename(data)

    def _drop_stale_pid_file(self, data: Path) -> None:
        """Remove a pid file whose pid is a zombie or somebody else; Postgres would believe it.

        A free pid is left for Postgres to judge: it also looks for children that still run.
        """
        pid_file = data / "postmaster.pid"
        try:
            pid = int(pid_file.read_text().split()[0])
        except (FileNotFoundError, ValueError, IndexError):
            return
        program = f"/proc/{pid}/cmdline"
        try:
            others = str(data).encode() not in Path(program).read_bytes()
        except OSError:
            others = False
        if others and recorded_pid(self._record) != pid:
            pid_file.unlink()

    def _run(self, data: Path, who: Identity, wanted_port: int | None, secret: str) -> int:
        log = self._home / "log" / "postgres.log"
        for left_s in within(START_S):
            port = free_port(wanted_port)
            offset = log.stat().st_size if log.exists() else 0
            process = self._process = spawn(
                "Postgres",
                self._command(data, port),
                identity=who,
                log=log,
                record=self._record,
                stop_signals=STOP_SIGNALS,
            )
            if self._accepts(port, secret, left_s):
                return port
            said = log.read_text(errors="replace")[offset:]
            if process.alive() or not RESTARTABLE.search(said):
                break
        why = "did not answer in time" if process.alive() else "ended at once"
        self.stop()
        raise process.failure(why)

    def _command(self, data: Path, port: int) -> list[str | Path]:
        sockets = data.with_name("run")
        fits = fits_socket(sockets, ".s.PGSQL.65535.lock")
        settings = SETTINGS | {"unix_socket_directories": f'"{sockets}"' if fits else ""}
        command: list[str | Path] = [self._bin / "postgres", "-D", data, "-p", str(port)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        return command

    def _accepts(self, port: int, secret: str, patience_s: float) -> bool:
        """Wait until our database is there to connect to; False if the server ended or hangs."""
        for _ in within(patience_s):
            try:
                connection = psycopg2.connect(
                    host="127.0.0.1",
                    port=port,
                    user=USER,
                    password=secret,
                    dbname="postgres",
                    connect_timeout=5,
                )
            except psycopg2.OperationalError:
                if not self.alive():
                    return False
                continue
            try:
                _create_database(connection)
            finally:
                connection.close()
            return True
        return False


def _create_database(connection: psycopg2.extensions.connection) -> None:
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
        if cursor.fetchone() is None:
            cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
