"""What settings leave open, found on this machine: running embedded servers, the home's secret key.

Apart from `bootstrap.core`, so that a process which only starts others need not import what
they use.
"""

from __future__ import annotations

from dataclasses import replace

from orchestrator.errors import SettingsError
from orchestrator.settings import Settings


def resolve(settings: Settings) -> Settings:
    """Fill in the URLs of this machine's running embedded servers where none are given, and with
    them the secret key of their home.

    SettingsError when they are neither given nor running.
    """
    if not settings.embedded:
        return settings
    # Only here: a deployment with servers of its own never asks.
    from orchestrator.adapters.embedded import running

    found = running(settings.home)
    if found is None:
        raise SettingsError(
            f"no ZQ_DATABASE__URL and ZQ_REDIS__URL, and no embedded servers run in"
            f" {settings.home}: start them with `zq up`, or set both"
        )
    kept = settings.home / "secret.key"
    if not settings.auth.secret_key and kept.is_file():
        auth = replace(settings.auth, secret_key=kept.read_text(encoding="utf-8").strip())
        settings = replace(settings, auth=auth)
    return settings.with_urls(found.database_url, found.redis_url)
