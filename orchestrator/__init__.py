"""ZQAutoNXG: a durable workflow orchestrator native to Celery.

from orchestrator import Workflow, connect, node
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.client.building import Workflow as Workflow
    from orchestrator.client.building import node as node
    from orchestrator.client.connecting import connect as connect

from orchestrator.process.own_packages import install as _install

__version__ = "0.1.0"
__all__ = ["Workflow", "__version__", "connect", "node"]

_install()

#: Where each public name is defined; it is imported when it is asked for.
_HOMES = {"Workflow": "client.building", "node": "client.building", "connect": "client.connecting"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"orchestrator.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
