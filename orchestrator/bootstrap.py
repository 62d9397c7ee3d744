"""The composition root: the only module that names both services and adapters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from orchestrator.adapters.artifacts import FolderArtifacts
from orchestrator.adapters.celery_app import make_celery
from orchestrator.adapters.celery_dispatch import CeleryDispatcher
from orchestrator.adapters.embedded import running
from orchestrator.adapters.postgres.store import PostgresStore
from orchestrator.adapters.redis_channel import RedisChannel
from orchestrator.errors import SettingsError
from orchestrator.ports.dispatch import Dispatcher
from orchestrator.ports.live import Channel, Observer
from orchestrator.ports.runtime import Artifacts, Clock
from orchestrator.ports.store import Store
from orchestrator.services.announcing import Pace
from orchestrator.services.explaining import Explaining
from orchestrator.services.steering import Steering
from orchestrator.services.upkeep import Upkeep
from orchestrator.services.workflow_engine import WorkflowEngine
from orchestrator.services.workflows import Workflows
from orchestrator.settings import Settings

if TYPE_CHECKING:
    from celery import Celery


class SystemClock:
    """The machine's clock, in UTC."""

    def now(self) -> datetime:
        """See `ports.runtime.Clock`."""
        return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """Everything a process needs, built once and handed down."""

    settings: Settings
    store: Store
    dispatcher: Dispatcher
    channel: Channel
    artifacts: Artifacts
    clock: Clock
    engine: WorkflowEngine
    workflows: Workflows
    steering: Steering
    explaining: Explaining
    upkeep: Upkeep


def resolve(settings: Settings) -> Settings:
    """Fill in the URLs of this machine's running embedded servers where none are given.

    SettingsError when they are neither given nor running.
    """
    if not settings.embedded:
        return settings
    found = running(settings.home)
    if found is None:
        raise SettingsError(
            f"no ZQ_DATABASE__URL and ZQ_REDIS__URL, and no embedded servers run in"
            f" {settings.home}: start them with `zq up`, or set both"
        )
    return settings.with_urls(found.database_url, found.redis_url)


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
        from orchestrator.adapters.object_artifacts import ObjectArtifacts

        return ObjectArtifacts(url, largest=largest)
    if not settings.artifacts_dir.name:
        raise SettingsError(f"ZQ_ARTIFACTS__URL {url} names no folder: file:///srv/artifacts does")
    return FolderArtifacts(settings.artifacts_dir, largest=largest)


def build(
    settings: Settings,
    *,
    pool_size: int | None = None,
    observers: Sequence[Observer] = (),
    **replace: Any,
) -> Core:
    """Wire a process. `replace` takes ready-made parts by their name in `Core` (tests do)."""
    clock = replace.get("clock") or SystemClock()
    settings = settings if "store" in replace else resolve(settings)
    database = settings.database
    store = replace.get("store") or PostgresStore(
        database.url,
        pool_size=pool_size or database.pool_size,
        statement_timeout_s=database.statement_timeout_s,
        connect_timeout_s=database.connect_timeout_s,
    )
    channel = replace.get("channel") or RedisChannel(
        settings.redis.url, prefix=settings.redis.prefix, timeout_s=settings.redis.timeout_s
    )
    dispatcher = replace.get("dispatcher") or CeleryDispatcher(
        replace.get("celery") or make_celery(settings)
    )
    engine = WorkflowEngine(
        store,
        dispatcher,
        (channel, *observers),
        clock,
        window=settings.broker.window,
        input_bytes=settings.limits.input_bytes,
        pace=Pace(settings.worker.together),
    )
    kept = replace.get("artifacts") or artifacts(settings)
    return Core(
        settings=settings,
        store=store,
        dispatcher=dispatcher,
        channel=channel,
        artifacts=kept,
        clock=clock,
        engine=engine,
        workflows=Workflows(store, clock),
        steering=Steering(store, engine, clock),
        explaining=Explaining(store, engine),
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
