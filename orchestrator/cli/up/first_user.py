"""The first user: made beside the database while no API runs, and the hint that there is none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ZQError

if TYPE_CHECKING:
    from orchestrator.client.documents import UserDoc

HINT = "nobody has an account yet: `zq user create EMAIL --admin` makes the first one"


def make_beside(body: Mapping[str, Any]) -> UserDoc:
    """Store a user as the admin key would; return it as the API shows it.

    SettingsError where no servers are known or run, or the secret key is missing.
    """
    from orchestrator.bootstrap import core as bootstrap
    from orchestrator.models.access.permissions import ADMIN
    from orchestrator.models.runs.event import rfc3339
    from orchestrator.ports.acting import Acting, acting_as
    from orchestrator.settings import load

    with bootstrap.access_beside(load()) as access:
        with acting_as(Acting(principal=ADMIN, action="users.create_user")):
            user = access.users.create(ADMIN, **body)
    return {
        "id": str(user.id),
        "email": user.email,
        "name": user.name,
        "roles": list(user.roles),
        "state": str(user.state),
        "has_password": user.has_password,
        "created_at": rfc3339(user.created_at),
        "updated_at": rfc3339(user.updated_at),
        "signed_in_at": None,
    }


def hint(url: str, key: str) -> str | None:
    """Return a line for who has just started a server without users; None where there are some."""
    from orchestrator.client.http import Client

    try:
        with Client(url, key) as client:
            users = client.users.list(limit=1)
    except ZQError:
        return None
    return None if users else HINT
