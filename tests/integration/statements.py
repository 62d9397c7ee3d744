"""Hears what the API's connections run, word for word, in order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from orchestrator.adapters.postgres.connections import pool as pools
from orchestrator.adapters.postgres.connections.row_security import Role, TenantCursor, connecting


class _Hearing(TenantCursor):
    """Notes each statement before it is run."""

    heard: list[str]

    def execute(self, query: Any, vars: Any = None) -> None:  # noqa: A002
        self.heard.append(self.mogrify(query, vars).decode())
        super().execute(query, vars)


@contextmanager
def hearing() -> Iterator[list[str]]:
    """Hear every connection of the role `zq_api` that is made within the block."""
    heard: list[str] = []
    factory = type("Hearing", (_Hearing,), {"heard": heard})

    def listening(role: Role) -> dict[str, Any]:
        made = connecting(role)
        return {**made, "cursor_factory": factory} if role is Role.API else made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pools, "connecting", listening)
        yield heard
