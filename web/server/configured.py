"""The web server's settings, complete and safe, read once before there are processes.

Imports nothing of the application: the process that only starts the others reads them too.
"""

from __future__ import annotations

from dataclasses import replace

from orchestrator import settings
from orchestrator.bootstrap.resolving import resolve
from orchestrator.models.access.secret_keys import SecretKeys
from orchestrator.process import start_check
from orchestrator.process.start_check import check_key
from orchestrator.settings import Settings


def load_settings() -> Settings:
    """Read the settings and find what they leave open: running servers, and the kept admin key.

    SettingsError when something is still missing, or would leave the door open.
    """
    found = settings.load()
    kept = found.home / "admin.key"
    if not found.auth.admin_key and kept.is_file():
        key = kept.read_text(encoding="utf-8").strip()
        found = replace(found, auth=replace(found.auth, admin_key=key))
    check_key(found.auth.admin_key)
    start_check.refuse_unsafe(found)
    found = resolve(found)
    # Here, before there are processes: each would fail by itself, with all it has to say.
    SecretKeys(found.auth.secret_key, found.auth.secret_keys_old)
    return found
