"""Every knob of the product: read once from ZQ_SECTION__NAME (or ..._FILE), then frozen.

An unknown ZQ_ name fails at boot with a suggestion: a typo must not silently mean the default.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from environs import EnvError, FileAwareEnv

from orchestrator.errors import SettingsError


def knob(default: Any, doc: str, *, secret: bool = False, low: float | None = None) -> Any:
    """Declare a setting: its default, one line with the unit, and whether to hide its value."""
    return field(default=default, metadata={"doc": doc, "secret": secret, "low": low})


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    url: str = knob("", "Postgres URL; empty: embedded Postgres in the home folder", secret=True)
    pool_size: int = knob(10, "connections a process keeps for requests", low=1)
    statement_timeout_s: float = knob(30.0, "longest statement, seconds", low=0.1)
    connect_timeout_s: int = knob(5, "longest wait for a connection, seconds", low=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Redis:
    url: str = knob("", "Redis URL of channels; empty: embedded server", secret=True)
    prefix: str = knob("zq:", "prefix of every key and channel, one per installation")
    timeout_s: float = knob(2.0, "longest wait for Redis in a request or task, seconds", low=0.1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    url: str = knob("", "Celery broker URL; empty: the Redis URL", secret=True)
    window: int = knob(
        1000, "most announcements per queue in Redis; the rest waits in Postgres", low=1
    )
    flower_events: bool = knob(True, "workers send Celery events, as Flower needs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    admin_key: str = knob(
        "", "the admin API key; empty: made and kept in the home folder", secret=True
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Web:
    host: str = knob("127.0.0.1", "address to listen on")
    port: int = knob(8080, "port to listen on", low=0)
    processes: int = knob(1, "gunicorn processes", low=1)
    threads: int = knob(8, "threads for requests in each process", low=1)
    sockets: int = knob(64, "sockets each process holds; the next one gets 503", low=1)
    max_body_bytes: int = knob(8 * 1024 * 1024, "largest request body, bytes", low=1024)
    origins: str = knob("", "comma-separated origins that browsers may call from")


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    slots: int = knob(2, "pool children, each runs one task at a time", low=1)
    queues: str = knob("default", "comma-separated queues to consume")
    modules: str = knob("", "comma-separated modules that register python functions")
    beat_s: float = knob(3.0, "seconds between signs of life", low=0.2)
    lease_s: float = knob(10.0, "seconds without a sign of life until work is lost", low=1)
    grace_s: float = knob(3.0, "seconds between asking a handler to stop and killing it", low=0.1)
    stop_s: float = knob(20.0, "seconds a stopping worker may take to finish its work", low=0.1)
    inline: int = knob(100, "tasks a child goes on with in place before it yields; 0: none", low=0)
    inline_s: float = knob(1.0, "seconds a child goes on in place before it yields", low=0)
    together: int = knob(25, "most short tasks that share a message and a commit; 1: none", low=1)
    hand_back_s: float = knob(
        0.02, "seconds until a message's unclaimed rest is handed back", low=0
    )
    health_port: int = knob(0, "port of the supervisor's health page; 0: none", low=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    output_bytes: int = knob(
        262_144, "largest output kept in Postgres; above, an artifact", low=1024
    )
    artifact_bytes: int = knob(16_777_216, "largest artifact or stored output", low=1024)
    log_line_bytes: int = knob(16_384, "longest log line, bytes; the rest is cut", low=64)
    input_bytes: int = knob(1_048_576, "largest input of a run, bytes", low=1024)


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifacts:
    dir: str = knob("", "folder of artifacts, shared by API and workers; empty: in the home folder")
    url: str = knob("", "where they are kept instead: s3://bucket/prefix, file:///folder or alike")
    keep_days: int = knob(30, "days until a run's artifacts are removed; 0: never", low=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upkeep:
    every_s: float = knob(1.0, "seconds between rounds while a run is live", low=0.05)
    rest_s: float = knob(60.0, "longest sleep while nothing is live, seconds", low=1)
    unclaimed_s: float = knob(6.0, "seconds until an unclaimed attempt is announced again", low=0.2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All sections. Build it with `load()`; tests use `replace`."""

    home: Path = Path(".zq")
    log_level: str = "INFO"
    database: Database = Database()
    redis: Redis = Redis()
    broker: Broker = Broker()
    auth: Auth = Auth()
    web: Web = Web()
    worker: Worker = Worker()
    limits: Limits = Limits()
    artifacts: Artifacts = Artifacts()
    upkeep: Upkeep = Upkeep()
    #: Where each value that is not a default came from, by ZQ_ name.
    origins: Mapping[str, str] = field(default_factory=dict)

    @property
    def embedded(self) -> bool:
        """True when this machine's own servers are to be used for Postgres or Redis."""
        return not (self.database.url and self.redis.url)

    @property
    def artifacts_dir(self) -> Path:
        """Where artifacts are kept, unless `artifacts.url` names an object store."""
        if self.artifacts.url.startswith("file://"):
            return Path(unquote(urlsplit(self.artifacts.url).path))
        return Path(self.artifacts.dir) if self.artifacts.dir else self.home / "artifacts"

    def with_urls(self, database_url: str, redis_url: str) -> Settings:
        """Return the settings with the missing server URLs filled in; given ones stay."""
        return replace(
            self,
            database=replace(self.database, url=self.database.url or database_url),
            redis=replace(self.redis, url=self.redis.url or redis_url),
        )


SECTIONS: dict[str, Any] = {
    f.name: f.default for f in fields(Settings) if f.name not in {"home", "log_level", "origins"}
}


def names() -> dict[str, tuple[str, Any]]:
    """Return every setting: ZQ_ name -> (its one-line description, its default)."""
    known: dict[str, tuple[str, Any]] = {
        "ZQ_HOME": ("folder of everything embedded", ".zq"),
        "ZQ_LOG_LEVEL": ("DEBUG, INFO, WARNING or ERROR", "INFO"),
    }
    for section, default in SECTIONS.items():
        for f in fields(default):
            known[f"ZQ_{section}__{f.name}".upper()] = (f.metadata["doc"], f.default)
    return known


def load() -> Settings:
    """Read the environment once. SettingsError names the variable and what is wrong with it."""
    known = names()
    _refuse_unknown(known)
    env = FileAwareEnv(strip_whitespace=True)
    values: dict[str, Any] = {
        name: _one(env, name.upper(), default, None) for name, default in _plain().items()
    }
    for section, default in SECTIONS.items():
        found = {
            f.name: _one(env, f"{section}__{f.name}".upper(), f.default, f.metadata["low"])
            for f in fields(default)
        }
        values[section] = replace(default, **found)
    origins = {
        name: f"{name}_FILE" if f"{name}_FILE" in os.environ else "environment"
        for name in known
        if name in os.environ or f"{name}_FILE" in os.environ
    }
    return Settings(**{**values, "home": Path(values["home"]).expanduser()}, origins=origins)


def _plain() -> dict[str, str]:
    return {"home": ".zq", "log_level": "INFO"}


def _one(env: FileAwareEnv, name: str, default: Any, low: float | None) -> Any:
    readers: dict[type, Callable[..., Any]] = {bool: env.bool, int: env.int, float: env.float}
    read = readers.get(type(default), env.str)
    try:
        value = read(f"ZQ_{name}", default)
    except (EnvError, ValueError) as error:
        raise SettingsError(f"ZQ_{name}: {error}") from None
    if low is not None and value < low:
        raise SettingsError(f"ZQ_{name} is {value}; it must be at least {low}")
    return value


def _refuse_unknown(known: Mapping[str, object]) -> None:
    for name in os.environ:
        if not name.startswith("ZQ_") or name.removesuffix("_FILE") in known:
            continue
        near = difflib.get_close_matches(name.removesuffix("_FILE"), known, 1)
        hint = f"; did you mean {near[0]}?" if near else "; `zq config show` lists them"
        raise SettingsError(f"unknown setting {name}{hint}")
