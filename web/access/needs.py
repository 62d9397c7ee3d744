"""What a route asks of whoever calls it, declared at its endpoint function and nowhere else.

The guard reads it; a function without a declaration is closed to everybody.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from flask import Flask

from orchestrator.models.access.permissions import Permission

View = TypeVar("View", bound=Callable[..., Any])
#: Where a declaration is kept on a view; wrappers made with `functools.wraps` carry it on.
_NEED = "zq_need"


@dataclass(frozen=True, slots=True)
class Need:
    """A route's demand."""

    #: None: any principal may, whatever its roles; it concerns only itself.
    permission: Permission | None
    #: The view narrows by itself, to the workflows on which a grant gives the permission.
    narrowed: bool = False


def needs(permission: Permission, *, narrowed: bool = False) -> Callable[[View], View]:
    """Declare the permission of an endpoint function.

    Where the path names a workflow or a run, grants on that workflow count too, without a word
    here. With `narrowed`, a principal with grants alone is let in and the view must look at them.
    """
    return _declare(Need(permission, narrowed))


def signed_in() -> Callable[[View], View]:
    """Declare that any principal may call an endpoint function."""
    return _declare(Need(None))


def _declare(need: Need) -> Callable[[View], View]:
    def declare(view: View) -> View:
        setattr(view, _NEED, need)
        return view

    return declare


#: Views of others' making, which cannot be decorated where they are written.
_OTHERS = {
    "prometheus_metrics": Need(Permission.METRICS_READ),
    "api-docs.openapi_json": Need(None),
}


def need_of(app: Flask, endpoint: str) -> Need | None:
    """Return what an endpoint demands; None where nothing is declared."""
    found = _OTHERS.get(endpoint) or getattr(app.view_functions.get(endpoint), _NEED, None)
    return found if isinstance(found, Need) else None
