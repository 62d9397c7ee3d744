"""The composition root of processes that have servers: which adapters answer which ports."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.adapters.artifacts.folder import FolderArtifacts
from orchestrator.adapters.celery.app import make_celery
from orchestrator.adapters.celery.dispatch import CeleryDispatcher
from orchestrator.adapters.celery.outbox import Outbox
from orchestrator.adapters.postgres.store import PostgresStore
from orchestrator.adapters.redis.channel import RedisChannel
from orchestrator.adapters.redis.sockets import RedisSockets
from orchestrator.adapters.secrets.box import AesSecretBox
from orchestrator.bootstrap.resolving import resolve
from orchestrator.errors import SettingsError
from orchestrator.models.access.secret_keys import SecretKeys
from orchestrator.models.quota import Quota
from orchestrator.models.secret import ENVIRONMENT
from orchestrator.ports.dispatch import Dispatcher
from orchestrator.ports.live import Channel, Observer
from orchestrator.ports.quotas import SocketLeases
from orchestrator.ports.runtime import Artifacts, Clock
from orchestrator.ports.secrets import SecretBackend
from orchestrator.ports.store import Record
from orchestrator.services.artifacts import CountedArtifacts
from orchestrator.services.auditing import Auditing
from orchestrator.services.definitions.workflows import Workflows
from orchestrator.services.quotas import Quotas
from orchestrator.services.runs.announcing import Pace
from orchestrator.services.runs.engine import WorkflowEngine
from orchestrator.services.runs.explaining import Explaining
from orchestrator.services.runs.rerunning import Rerunning
from orchestrator.services.runs.steering import Steering
from orchestrator.services.runs.upkeep import Upkeep
from orchestrator.services.secrets.secrets import SealedSecrets, Secrets
from orchestrator.services.secrets.variables import Variables
from orchestrator.settings import Settings

if TYPE_CHECKING:
    from celery import Celery
    from prometheus_client import Histogram

    from orchestrator.services.access.facade import Access


class SystemClock:
    """The machine's clock, in UTC."""

    def now(self) -> datetime:
        """See `ports.runtime.Clock`."""
        return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """Everything a process needs, built once and handed down."""

    settings: Settings
    store: Record
    #: How long its operations take, where that is measured.
    store_seconds: Histogram | None
    dispatcher: Dispatcher
    channel: Channel
    artifacts: Artifacts
    clock: Clock
    engine: WorkflowEngine
    quotas: Quotas
    sockets: SocketLeases
    workflows: Workflows
    steering: Steering
    rerunning: Rerunning
    explaining: Explaining
    upkeep: Upkeep
    #: Sends within so many seconds what is gathered; for a process that is about to end.
    flush: Callable[[float], None]
    auditing: Auditing
    secrets: Secrets
    variables: Variables
    #: Gives `access`; made by the first who asks, since workers and schedulers never do.
    enter: Callable[[], Access]

    @property
    def access(self) -> Access:
        """Who may come in."""
        return self.enter()


def celery(settings: Settings) -> Celery:
    """Return the Celery application of these settings."""
    return make_celery(resolve(settings))


def artifacts(settings: Settings) -> Artifacts:
    """Return the place of artifacts. SettingsError for a URL that names none."""
    url, largest = settings.artifacts.url, settings.limits.artifact_bytes
    if url and settings.artifacts.dir:
        raise SettingsError("set ZQ_ARTIFACTS__URL or ZQ_ARTIFACTS__DIR, not both")
    if url and not url.startswith("file://"):
        # Only here: an object store's client is a large import.
        from orchestrator.adapters.artifacts.objects import ObjectArtifacts

        return ObjectArtifacts(url, largest=largest)
    if not settings.artifacts_dir.name:
        raise SettingsError(f"ZQ_ARTIFACTS__URL {url} names no folder: file:///srv/artifacts does")
    return FolderArtifacts(settings.artifacts_dir, largest=largest)


def channel_keys(settings: Settings) -> list[bytes]:
    """Return what events on channels are signed with. SettingsError without a secret key."""
    keys = SecretKeys(settings.auth.secret_key, settings.auth.secret_keys_old)
    return [each.key for each in keys.derive("channel")]


def socket_leases(settings: Settings) -> SocketLeases:
    """Return the counter of open sockets."""
    redis = settings.redis
    return RedisSockets(redis.url, prefix=redis.prefix, timeout_s=redis.timeout_s)


def rate_windows(settings: Settings, *, strict: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    """Return where requests are counted, as the package `limits` takes it: a URI and its options.

    Requests of the `strict` classes are counted by the process itself while Redis is away.
    """
    # Only here: it is of no use to workers, and not small.
    from orchestrator.adapters.redis.limiter import SCHEME

    redis = settings.redis
    return f"{SCHEME}://", {
        "url": redis.url, "prefix": redis.prefix, "timeout_s": redis.timeout_s,
        "processes": settings.web.processes, "strict": strict,
    }  # fmt: skip


def secrets(settings: Settings, store: Record, quotas: Quotas) -> Secrets:
    """Return the secrets of an installation, wherever they are kept; SettingsError."""
    given = [key for key in map(str.strip, settings.secrets.keys.split(",")) if key]
    if short := sum(len(key) < 32 for key in given):
        raise SettingsError(f"ZQ_SECRETS__KEYS: {short} of them shorter than 32 characters")
    auth = settings.auth
    former = [key for key in map(str.strip, auth.secret_keys_old.split(",")) if key]
    own = [auth.secret_key] if auth.secret_key else []
    sealed = SealedSecrets(
        store.secrets, AesSecretBox([*given, *own, *former]), quotas.admit_secret
    )
    if settings.secrets.backend == "database":
        return Secrets(sealed, writable=sealed, sealed=sealed)
    return Secrets(_outside(settings), writable=None, sealed=sealed)


def variables(settings: Settings, store: Record, quotas: Quotas | None = None) -> Variables:
    """Return the variables of an installation; SettingsError for what can be no environment."""
    if settings.environment and not ENVIRONMENT.match(settings.environment):
        raise SettingsError("ZQ_ENVIRONMENT holds at most 32 of a-z 0-9 _ -")
    return Variables(store.variables, settings.environment, quotas)


def _outside(settings: Settings) -> SecretBackend:
    # Only here: Vault's client is a large import.
    from orchestrator.adapters.secrets.backends import (
        EnvironmentSecrets,
        FileSecrets,
        VaultSecrets,
    )

    chosen = settings.secrets
    match chosen.backend:
        case "env":
            return EnvironmentSecrets(chosen.env_prefix)
        case "files" if chosen.dir:
            return FileSecrets(Path(chosen.dir))
        case "vault" if chosen.vault_url:
            return VaultSecrets(
                chosen.vault_url, mount=chosen.vault_mount, path=chosen.vault_path,
                token=chosen.vault_token, token_path=chosen.vault_token_path,
                namespace=chosen.vault_namespace, ca=chosen.vault_ca,
            )  # fmt: skip
        case "files" | "vault":
            missing = "DIR" if chosen.backend == "files" else "VAULT_URL"
            raise SettingsError(
                f"ZQ_SECRETS__BACKEND is {chosen.backend}: set ZQ_SECRETS__{missing} too"
            )
    raise SettingsError(
        f"ZQ_SECRETS__BACKEND is {chosen.backend!r}; it is database, env, files or vault"
    )


@contextmanager
def secrets_beside(settings: Settings) -> Iterator[Secrets]:
    """Open the secrets of all tenants beside the database: nothing else needs to run."""
    settings = resolve(settings)
    store = PostgresStore(settings.database.url, pool_size=1)
    try:
        yield secrets(settings, store, Quotas(store, {}, SystemClock()))
    finally:
        store.close()


def _access(
    settings: Settings, store: PostgresStore, clock: Clock, replace: Mapping[str, Any]
) -> Access:
    # Only here: passwords and tokens come with large libraries.
    from orchestrator.bootstrap.access import access

    return access(settings, store, clock, replace)


@contextmanager
def access_beside(settings: Settings) -> Iterator[Access]:
    """Open who may come in beside the database, as the API has it: no API needs to run."""
    core = build(settings, pool_size=1, role="zq_api")
    try:
        yield core.access
    finally:
        core.store.close()


@contextmanager
def audit_log(url: str) -> Iterator[Auditing]:
    """Open the audit log of all tenants beside the database: nothing else needs to run."""
    store = PostgresStore(url, pool_size=1)
    try:
        yield Auditing(store.audit)
    finally:
        store.close()


def build(
    settings: Settings,
    *,
    pool_size: int | None = None,
    observers: Sequence[Observer] = (),
    role: str = "zq_engine",
    keep: bool = False,
    works: bool = True,
    measured: bool = False,
    **replace: Any,
) -> Core:
    """Wire a process. `replace` takes ready-made parts by their name in `Core` (tests do).

    `role` is what Postgres takes it for: with `zq_api` a thread sees the rows of the tenant on
    whose behalf it acts, and none while it acts on nobody's; see `docs/tenants.md`. With
    `keep` the main thread keeps its connection, as suits one that says one statement after another.
    Without `works` nothing that a definition says is evaluated at the end of a run: workers are
    asked to.
    `measured`: this process exports how long the operations of its store take.
    """
    clock = replace.get("clock") or SystemClock()
    settings = settings if "store" in replace else resolve(settings)
    # Every process needs one sooner or later: it must not turn out in the middle of a run.
    SecretKeys(settings.auth.secret_key, settings.auth.secret_keys_old)
    database = settings.database
    store = replace.get("store") or PostgresStore(
        database.url,
        pool_size=pool_size or database.pool_size,
        statement_timeout_s=database.statement_timeout_s,
        connect_timeout_s=database.connect_timeout_s,
        role=role,
        small_moves=database.small_moves,
        kept_plans=database.kept_plans,
        keep=keep and database.kept_connection,
    )
    record, store_seconds = store, None
    if measured:
        # Only here: of no use to a process that exports nothing.
        from orchestrator.bootstrap import timing

        store_seconds = timing.store_seconds()
        store = timing.timed(store, store_seconds)
    channel = replace.get("channel") or RedisChannel(
        settings.redis.url,
        prefix=settings.redis.prefix,
        timeout_s=settings.redis.timeout_s,
        keys=channel_keys(settings),
    )
    dispatcher = replace.get("dispatcher") or CeleryDispatcher(
        replace.get("celery") or make_celery(settings),
        finish_always=settings.broker.finish_always,
        pipelined=settings.broker.pipelined,
    )
    outbox = None
    if settings.broker.linger_s and not replace.keys() & {"channel", "dispatcher"}:
        outbox = Outbox(dispatcher, channel, linger_s=settings.broker.linger_s)
    defaults = {name: getattr(settings.quotas, name) for name in Quota}
    quotas = Quotas(store, defaults, clock)
    kept = CountedArtifacts(replace.get("artifacts") or artifacts(settings), store.reads, quotas)
    engine = WorkflowEngine(
        store,
        outbox or dispatcher,
        (outbox or channel, *observers),
        clock,
        kept,
        window=settings.broker.window,
        input_bytes=settings.limits.input_bytes,
        pace=Pace(settings.worker.together),
        quotas=quotas,
        quick_starts=database.small_moves,
        works=works,
    )
    return Core(
        settings=settings,
        store=store,
        store_seconds=store_seconds,
        dispatcher=dispatcher,
        channel=channel,
        artifacts=kept,
        clock=clock,
        engine=engine,
        quotas=quotas,
        sockets=replace.get("sockets") or socket_leases(settings),
        workflows=Workflows(store, clock, quotas),
        steering=Steering(store, engine, output_bytes=settings.limits.output_bytes),
        rerunning=Rerunning(store, engine, clock, kept, input_bytes=settings.limits.input_bytes),
        explaining=Explaining(store, engine),
        flush=(outbox or dispatcher).flush,
        auditing=Auditing(store.audit),
        secrets=secrets(settings, store, quotas),
        variables=variables(settings, store, quotas),
        enter=cache(lambda: _access(settings, record, clock, replace)),
        upkeep=Upkeep(
            store,
            engine,
            dispatcher,
            clock,
            settings.upkeep,
            settings.worker,
            artifacts=kept,
            keep_days=settings.artifacts.keep_days,
        ),
    )
