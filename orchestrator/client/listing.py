"""Lists of the API, whole: every page of one, for verbs that print all there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.client.http import Client

_PAGE = 200


def every(client: Client, path: str, **query: str) -> list[dict[str, Any]]:
    """Return the items of all pages of a list."""
    items: list[dict[str, Any]] = []
    params: dict[str, Any] = {"limit": _PAGE, **query}
    while True:
        page = client.request("GET", path, params=params).json()
        items += page["items"]
        if not page.get("next_cursor"):
            return items
        params["cursor"] = page["next_cursor"]
