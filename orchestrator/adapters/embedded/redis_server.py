"""The embedded Redis (Valkey from the wheel, or a Redis on the PATH): its file, its start.

Holds hints, queues and counters only. What it forgets in a crash (up to a second) Postgres knows.
"""

from __future__ import annotations

import signal
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from orchestrator.adapters.embedded import identity
from orchestrator.adapters.embedded.process import (
    ServerProcess,
    free_port,
    spawn,
    stop_orphan,
    within,
)
from orchestrator.process.private_files import (
    fits_socket,
    password,
    private_folder,
    write_private,
)

STOP_SIGNALS = ((signal.SIGTERM, 15.0), (signal.SIGKILL, 10.0))
START_S = 60.0

SETTINGS = """\
bind 127.0.0.1
protected-mode yes
port {port}
requirepass {secret}
dir "{data}"
daemonize no
appendonly yes
appendfsync everysec
aof-load-truncated yes
maxmemory-policy noeviction
save ""
"""


class RedisServer:
    """One Redis below `home/redis`; call `start` only while holding the home's lock."""

    def __init__(self, home: Path, redis_server: Path) -> None:
        self._home = home
        self._binary = redis_server
        self._record = home / "redis.json"
        self._process: ServerProcess | None = None

    def start(self, wanted_port: int | None) -> tuple[int, str]:
        """Return (port, URL) of a server that answers and has read its data."""
        stop_orphan(self._record, STOP_SIGNALS)
        folder = private_folder(self._home / "redis")
        secret = password(self._home / "redis.password")
        port = self._run(folder, secret, wanted_port)
        return port, f"redis://:{secret}@127.0.0.1:{port}/0"

    def alive(self) -> bool:
        return self._process is not None and self._process.alive()

    def stop(self) -> None:
        if self._process:
            self._process.stop()
            self._process = None

    def _run(self, folder: Path, secret: str, wanted_port: int | None) -> int:
        log = self._home / "log" / "redis.log"
        for left_s in within(START_S):
            port = free_port(wanted_port)
            offset = log.stat().st_size if log.exists() else 0
            process = self._process = spawn(
                "Redis",
                [self._binary, self._write_settings(folder, port, secret)],
                identity=identity.itself(),
                log=log,
                record=self._record,
                stop_signals=STOP_SIGNALS,
            )
            if self._answers(port, secret, left_s):
                return port
            said = log.read_text(errors="replace")[offset:]
            if process.alive() or "in use" not in said:
                break
        why = "did not answer in time" if process.alive() else "ended at once"
        self.stop()
        raise process.failure(
            f"{why}; it holds no record, so moving {folder} away loses nothing that Postgres has"
        )

    def _write_settings(self, folder: Path, port: int, secret: str) -> Path:
        """Write the settings to a private file; a password on the command line is public."""
        text = SETTINGS.format(port=port, secret=secret, data=folder)
        unix = folder / "redis.sock"
        if fits_socket(folder, unix.name):
            text += f'unixsocket "{unix}"\nunixsocketperm 700\n'
        path = folder / "redis.conf"
        write_private(path, text)
        return path

    def _answers(self, port: int, secret: str, patience_s: float) -> bool:
        """Wait until the server has loaded its data; False if it ended or hangs."""
        client = redis.Redis(
            host="127.0.0.1",
            port=port,
            password=secret,
            socket_timeout=5,
            socket_connect_timeout=5,
            retry=Retry(NoBackoff(), 0),
        )
        with client:
            for _ in within(patience_s):
                try:
                    return bool(client.ping())
                except (redis.ConnectionError, redis.TimeoutError):
                    if not self.alive():
                        return False
        return False
