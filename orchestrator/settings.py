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
    # A secret stays out of tracebacks and logs too.
    return field(
        default=default, repr=not secret, metadata={"doc": doc, "secret": secret, "low": low}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    url: str = knob("", "Postgres URL; empty: embedded Postgres in the home folder", secret=True)
    pool_size: int = knob(10, "connections a process keeps for requests", low=1)
    statement_timeout_s: float = knob(30.0, "longest statement, seconds", low=0.1)
    connect_timeout_s: int = knob(5, "longest wait for a connection, seconds", low=1)
    small_moves: bool = knob(
        True, "settle few tasks row by row, and start a known workflow in one round trip"
    )
    kept_plans: bool = knob(True, "plan a move's statements once a connection; off: each time")
    kept_connection: bool = knob(True, "a pool child keeps its connection between two statements")


@dataclass(frozen=True, slots=True, kw_only=True)
class Redis:
    url: str = knob("", "Redis URL of channels; empty: embedded server", secret=True)
    prefix: str = knob("zq:", "prefix of every key and channel, one per installation")
    timeout_s: float = knob(2.0, "longest wait for Redis in a request or task, seconds", low=0.1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    url: str = knob(
        "", "URL of the Redis that Celery sends through; empty: the Redis URL", secret=True
    )
    window: int = knob(
        1000, "most announcements per queue in Redis; the rest waits in Postgres", low=1
    )
    linger_s: float = knob(
        0.01, "seconds for which notifications and chord parts are gathered; 0: sent at once", low=0
    )
    pipelined: bool = knob(True, "messages of one move go to Redis in one round trip")
    finish_always: bool = knob(
        False, "a chord sends its body also when the run has ended with its last settle"
    )
    flower_events: bool = knob(True, "workers send Celery events, as Flower needs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    admin_key: str = knob(
        "", "the admin API key; empty: made and kept in the home folder", secret=True
    )
    secret_key: str = knob(
        "",
        "signs tokens and seals secrets, 32 or more random bytes, the same for all processes;"
        " empty: made and kept in the home folder, with embedded servers only",
        secret=True,
    )
    secret_keys_old: str = knob(
        "", "comma-separated former secret keys, still good for what they signed", secret=True
    )
    access_s: float = knob(600.0, "seconds an access token is good for", low=30)
    refresh_s: float = knob(2_592_000.0, "longest life of a session, seconds", low=60)
    session_idle_s: float = knob(
        604_800.0, "seconds a session lives without being refreshed", low=60
    )
    lockout_attempts: int = knob(
        10, "failed sign-ins of one account within the window until it is locked", low=1
    )
    lockout_address_attempts: int = knob(
        50, "failed sign-ins from one address within the window until it is locked", low=1
    )
    lockout_s: float = knob(900.0, "that window, and how long a lock lasts, seconds", low=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Oidc:
    providers: str = knob(
        "", "JSON list of providers that people sign in at, see docs/sign-in.md", secret=True
    )
    public_url: str = knob(
        "", "where browsers reach the API, as https://zq.example.org; empty: as each request says"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Web:
    host: str = knob("127.0.0.1", "address to listen on")
    port: int = knob(8080, "port to listen on", low=0)
    processes: int = knob(1, "gunicorn processes", low=1)
    threads: int = knob(8, "threads for requests in each process", low=1)
    sockets: int = knob(
        64,
        "sockets each process holds, a quarter of them for newcomers; the next one gets 503",
        low=1,
    )
    max_body_bytes: int = knob(8 * 1024 * 1024, "largest request body, bytes", low=1024)
    origins: str = knob("", "comma-separated origins that browsers may call from")
    trusted_proxies: str = knob(
        "", "comma-separated networks of proxies whose X-Forwarded-For and -Proto are believed"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    slots: int = knob(2, "tasks at a time: pool children, or threads", low=1)
    pool: str = knob(
        "prefork", "prefork: a child process a slot; threads: one process, for nodes that wait"
    )
    queues: str = knob("default", "comma-separated queues to consume")
    modules: str = knob("", "comma-separated modules that register python functions")
    beat_s: float = knob(3.0, "seconds between signs of life", low=0.2)
    lease_s: float = knob(10.0, "seconds without a sign of life until work is lost", low=1)
    grace_s: float = knob(3.0, "seconds between asking a handler to stop and killing it", low=0.1)
    silent_s: float = knob(60.0, "seconds a busy child without a claim may not move on", low=1)
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
    reads: str = knob("6000/minute", "requests that read, of each user or key; 0: no limit")
    writes: str = knob("1200/minute", "requests that change something, of each user or key")
    starts: str = knob("6000/minute", "requests that start runs, of each user or key")
    sockets: str = knob("600/minute", "sockets opened, of each user or key")
    sign_in: str = knob("30/minute", "sign-ins and refreshes, of each address")
    anonymous: str = knob("600/minute", "requests without a valid credential, of each address")
    admin_factor: int = knob(100, "how many times as much the admin key may do", low=1)
    connections: int = knob(256, "connections of each address to a web process; 0: no limit", low=0)
    sockets_each: int = knob(48, "open sockets of each user or key; 0: no limit", low=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotas:
    runs_per_minute: int = knob(0, "runs a tenant may start in a minute; 0: no limit", low=0)
    concurrent_tasks: int = knob(0, "queued and running tasks of a tenant; 0: no limit", low=0)
    storage_bytes: int = knob(0, "bytes of a tenant's artifacts; 0: no limit", low=0)
    record_bytes: int = knob(
        0,
        "bytes of a tenant's inputs, outputs, logs and definitions; 0: no limit",
        low=0,
    )
    sockets: int = knob(0, "open sockets of a tenant; 0: no limit", low=0)
    schedules: int = knob(0, "schedules of a tenant; 0: no limit", low=0)
    workflows: int = knob(0, "workflows of a tenant that are not archived; 0: no limit", low=0)
    secrets: int = knob(0, "secrets of a tenant; 0: no limit", low=0)


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
    health_port: int = knob(0, "port of the scheduler's health page; 0: none", low=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Egress:
    allow: str = knob(
        "",
        "comma-separated addresses, networks and hosts, each with :port if wanted, that are not"
        " public and may be called all the same",
    )
    proxy: str = knob("", "HTTP proxy that all outgoing requests go through", secret=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    backend: str = knob("database", "where secrets are kept: database, env, files or vault")
    keys: str = knob(
        "",
        "comma-separated master keys of 32 or more characters, the newest first; empty: one derived"
        " from ZQ_AUTH__SECRET_KEY, which always opens what it has sealed",
        secret=True,
    )
    env_prefix: str = knob("ZQ_SECRET_VALUE_", "env: how the names of variables begin")
    dir: str = knob("", "files: the folder with a file for each secret")
    vault_url: str = knob("", "vault: its address, such as https://vault.example.org:8200")
    vault_mount: str = knob("secret", "vault: where the KV engine, version 2, is mounted")
    vault_path: str = knob("zq", "vault: the path in the engine, above a folder for each tenant")
    vault_token: str = knob("", "vault: the token", secret=True)
    vault_token_path: str = knob("", "vault: a file with the token, read at each look-up")
    vault_namespace: str = knob("", "vault: the namespace, where there are any")
    vault_ca: str = knob("", "vault: a file with the certificate authority of its address")


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    allow_open_servers: bool = knob(
        False, "start although Postgres or Redis has a public address and no password"
    )
    copies: bool = knob(True, "on Linux the processes of `zq up` begin as copies of it")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All sections. Build it with `load()`; tests use `replace`."""

    home: Path = Path(".zq")
    log_level: str = "INFO"
    #: Whose own variables win over those of all environments.
    environment: str = ""
    database: Database = Database()
    redis: Redis = Redis()
    broker: Broker = Broker()
    auth: Auth = Auth()
    oidc: Oidc = Oidc()
    web: Web = Web()
    worker: Worker = Worker()
    limits: Limits = Limits()
    quotas: Quotas = Quotas()
    artifacts: Artifacts = Artifacts()
    upkeep: Upkeep = Upkeep()
    egress: Egress = Egress()
    start: Start = Start()
    secrets: Secrets = Secrets()
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
    f.name: f.default
    for f in fields(Settings)
    if f.name not in {"home", "log_level", "environment", "origins"}
}


#: Settings of what is still to come: they are read, and shown nowhere.
NOT_YET = frozenset({"ZQ_QUOTAS__SCHEDULES"})


def names() -> dict[str, tuple[str, Any]]:
    """Return every setting: ZQ_ name -> (its one-line description, its default)."""
    known: dict[str, tuple[str, Any]] = {
        "ZQ_HOME": ("folder of everything embedded", ".zq"),
        "ZQ_LOG_LEVEL": ("DEBUG, INFO, WARNING or ERROR", "INFO"),
        "ZQ_ENVIRONMENT": ("whose variables hold here, such as staging; empty: those of all", ""),
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
    return {"home": ".zq", "log_level": "INFO", "environment": ""}


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
    values = _secret_values(known)
    for name in os.environ:
        if not name.startswith("ZQ_") or name.removesuffix("_FILE") in known:
            continue
        if values and name.startswith(values):
            continue
        near = difflib.get_close_matches(name.removesuffix("_FILE"), known, 1)
        hint = f"; did you mean {near[0]}?" if near else "; `zq config show` lists them"
        raise SettingsError(f"unknown setting {name}{hint}")


def _secret_values(known: Mapping[str, object]) -> str:
    """Return how variables begin that are secrets, not settings; empty where none are."""
    if os.environ.get("ZQ_SECRETS__BACKEND", "").strip() != "env":
        return ""
    prefix = os.environ.get("ZQ_SECRETS__ENV_PREFIX", "").strip() or Secrets().env_prefix
    if any(name.startswith(prefix) for name in known):
        raise SettingsError(f"ZQ_SECRETS__ENV_PREFIX {prefix} is how settings begin; take another")
    return prefix
