"""The part of the composition root that only processes need which let people in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.adapters.postgres.access.access import PostgresAccess
from orchestrator.adapters.postgres.store import PostgresStore
from orchestrator.adapters.redis.sessions import RedisSessions
from orchestrator.errors import SettingsError
from orchestrator.models.access.identity_provider import read_providers
from orchestrator.ports.identity_provider import ProviderClient
from orchestrator.ports.runtime import Clock
from orchestrator.services.access.facade import Access
from orchestrator.services.access.wiring import Parts, wire
from orchestrator.services.auditing import Auditing
from orchestrator.settings import Settings


def access(
    settings: Settings, store: PostgresStore, clock: Clock, replace: Mapping[str, Any]
) -> Access:
    """Return who may come in; SettingsError without a secret key, or with one that others know.

    `replace` may have ready-made `passwords`.
    """
    redis = settings.redis
    providers = read_providers(settings.oidc.providers)
    public = settings.oidc.public_url
    if public and not public.startswith(("https://", "http://")):
        raise SettingsError("ZQ_OIDC__PUBLIC_URL is no address; write https://zq.example.org")
    parts = Parts(
        store=PostgresAccess(store.pool),
        cache=RedisSessions(redis.url, prefix=redis.prefix, timeout_s=redis.timeout_s),
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
