"""Variables: plain JSON values by name, for one environment or for all. Nothing here is secret."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson

from orchestrator.errors import InvalidDefinition, NotFound, Problem
from orchestrator.models.secret import ENVIRONMENT, MAX_VARIABLE_BYTES, NAME, Variable
from orchestrator.ports.secrets import VariableRows
from orchestrator.services.quotas import Quotas
from orchestrator.services.secrets.secrets import name_problems


class Variables:
    """The use cases. `environment` is this process's own: its values win over those of all."""

    def __init__(self, rows: VariableRows, environment: str, quotas: Quotas | None = None) -> None:
        self._rows = rows
        self._environment = environment
        self._quotas = quotas

    def list(
        self,
        tenant_id: UUID,
        *,
        environment: str | None = None,
        after: tuple[str, str] | None = None,
        limit: int,
    ) -> Sequence[Variable]:
        """Return variables by name and environment; None: of every environment."""
        return self._rows.list(tenant_id, environment=environment, after=after, limit=limit)

    def get(self, tenant_id: UUID, name: str, *, environment: str = "") -> Variable:
        """Return a variable of exactly this environment; NotFound."""
        found = None
        if NAME.match(name):
            found = self._rows.get(tenant_id, environment, name)
        return found or _missing(name, environment)

    def put(
        self,
        tenant_id: UUID,
        name: str,
        value: Any,
        *,
        environment: str = "",
        description: str | None = None,
    ) -> tuple[Variable, bool]:
        """Set a variable; return it and whether it is new. InvalidDefinition."""
        problems = name_problems(name)
        if environment and not ENVIRONMENT.match(environment):
            text = "must hold at most 32 of a-z 0-9 _ - and start with a letter or digit"
            problems.append(Problem("environment", "bad_name", text))
        size = len(orjson.dumps(value))
        if size > MAX_VARIABLE_BYTES:
            text = f"the value is larger than {MAX_VARIABLE_BYTES} bytes of JSON"
            problems.append(Problem("value", "bad_value", text))
        if problems:
            raise InvalidDefinition(problems, "This cannot be a variable.")
        if self._quotas is not None:
            self._quotas.admit_record(tenant_id)
        size -= self._size(tenant_id, environment, name)
        stored = self._rows.put(tenant_id, environment, name, value, description)
        self._count(tenant_id, size)
        return stored

    def _size(self, tenant_id: UUID, environment: str, name: str) -> int:
        """Return the bytes of a variable as it is stored."""
        found = self._rows.get(tenant_id, environment, name)
        return 0 if found is None else len(orjson.dumps(found.value))

    def _count(self, tenant_id: UUID, count: int) -> None:
        if self._quotas is not None:
            self._quotas.count_record(tenant_id, count)

    def remove(self, tenant_id: UUID, name: str, *, environment: str = "") -> None:
        """Remove a variable of exactly this environment; NotFound."""
        size = self._size(tenant_id, environment, name) if NAME.match(name) else 0
        if not NAME.match(name) or not self._rows.remove(tenant_id, environment, name):
            _missing(name, environment)
        self._count(tenant_id, -size)

    def values(self, tenant_id: UUID, names: Sequence[str]) -> Mapping[str, Any]:
        """Return the values that hold in this process's environment."""
        return self._rows.values(tenant_id, self._environment, names)


def _missing(name: str, environment: str) -> Any:
    where = f" of environment {environment[:32]!r}" if environment else ""
    raise NotFound(f"there is no variable {name[:64]!r}{where}")
