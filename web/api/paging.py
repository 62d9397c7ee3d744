"""A page of a list: what is there, and where the next page begins."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


def page(found: Iterable[T], limit: int, place: Callable[[T], str]) -> dict[str, Any]:
    """Return a page of what was asked for with `limit + 1` things; `place` is a thing's cursor.

    The thing beyond the page only shows that there are more.
    """
    items = list(found)
    more = place(items[limit - 1]) if len(items) > limit else None
    return {"items": items[:limit], "next_cursor": more}
