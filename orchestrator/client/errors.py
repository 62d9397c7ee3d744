"""What a client raises: nobody answers, or the server refuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.errors import ZQError


class ServerUnreachable(ZQError):
    """No server answers."""

    code = "unreachable"


class ApiError(ZQError):
    """The server refused; `code` of the instance is the problem's stable code."""

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        detail = str(body.get("detail") or body.get("title") or f"the server answered {status}")
        super().__init__(detail)
        self.status = status
        self.problem_code = str(body.get("code", "error"))
        self.problems: tuple[dict[str, Any], ...] = tuple(body.get("problems") or ())
