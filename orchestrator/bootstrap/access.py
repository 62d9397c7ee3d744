"""The part of the composition root that only processes need which let people in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.adapters.memory.access import MemoryAccess
from orchestrator.adapters.memory.access_cache import MemoryAccessCache
from orchestrator.adapters.memory.audit import MemoryAudit
from orchestrator.adapters.postgres.access.access import PostgresAccess
from orchestrator.adapters.postgres.store import PostgresStore
from orchestrator.adapters.redis.sessions import RedisSessions
from orchestrator.errors import SettingsError
from orchestrator.models.access.identity_provider import read_providers
from orchestrator.ports.access import AccessCache, AccessStore
from orchestrator.ports.identity_provider import ProviderClient
from orchestrator.ports.runtime import Clock
from orchestrator.ports.store import Store
from orchestrator.services.access.facade import Access
from orchestrator.services.access.wiring import Parts, wire
from orchestrator.services.auditing import Auditing
from orchestrator.settings import Settings


def access(settings: Settings, store: Store, clock: Clock, replace: Mapping[str, Any]) -> Access:
    """Return who may come in; SettingsError without a secret key, or with one that others know.

    Beside a store in memory its record is in memory too, and without Redis what processes tell
    each other. `replace` may have ready-made `access_store`, `access_cache` and `passwords`.
    """
    redis, audit = settings.redis, store.audit
    providers = read_providers(settings.oidc.providers)
    public = settings.oidc.public_url
    if public and not public.startswith(("https://", "http://")):
        raise SettingsError("ZQ_OIDC__PUBLIC_URL is no address; write https://zq.example.org")
    record: AccessStore = MemoryAccess(audit if isinstance(audit, MemoryAudit) else None)
    cache: AccessCache = MemoryAccessCache(clock)
    if isinstance(store, PostgresStore):
        record = PostgresAccess(store.pool)
    if redis.url:
        cache = RedisSessions(redis.url, prefix=redis.prefix, timeout_s=redis.timeout_s)
    parts = Parts(
        store=replace.get("access_store") or record,
        cache=replace.get("access_cache") or cache,
        workflows=store,
        clock=clock,
        passwords=replace.get("passwords"),
        auditing=Auditing(store.audit),
        providers=providers,
        provider_client=_provider_client(settings, clock) if providers else None,
    )
    return wire(settings.auth, parts)


def _provider_client(settings: Settings, clock: Clock) -> ProviderClient:
    # Only here: most installations have no provider, and its libraries are large.
    from orchestrator.adapters.http.client import egress
    from orchestrator.adapters.http.oidc import OidcClient

    return OidcClient(egress(settings), clock)
