"""Who somebody is at GitHub, in the names of OpenID Connect's claims. Sends nothing by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

#: Groups that are read: more than anybody maps to roles.
_MOST = 100


def account(api: str, ask: Callable[[str], Any]) -> dict[str, Any]:
    """Return the claims of whoever's token `ask` sends.

    The subject is the number of the account: names change hands. The address is the primary one,
    when GitHub has verified it. Groups are `organisation` and `organisation/team`; without the
    scope `read:org`, or where an organisation keeps applications out, there are none.
    KeyError, TypeError or ValueError when GitHub does not answer as it says it does.
    """
    user = ask(f"{api}/user")
    if not isinstance(user["id"], int) or isinstance(user["id"], bool):
        raise TypeError("an account's id is a number")
    mails = _listed(ask(f"{api}/user/emails"))
    primary = next((one for one in mails if one.get("primary") is True), {})
    organisations = _listed(ask(f"{api}/user/orgs?per_page={_MOST}"))
    teams = _listed(ask(f"{api}/user/teams?per_page={_MOST}"))
    groups = [one["login"] for one in organisations]
    groups += [f"{one['organization']['login']}/{one['slug']}" for one in teams]
    return {
        "sub": str(user["id"]),
        "name": user.get("name") or user.get("login"),
        "email": primary.get("email"),
        "email_verified": primary.get("verified") is True,
        "groups": groups,
    }


def _listed(found: Any) -> list[dict[str, Any]]:
    """Return a list as it is; what is refused is answered with an object that says why."""
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
