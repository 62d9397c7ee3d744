"""A check for Schemathesis: its own `use_after_free`, but for what stays after a DELETE."""

from __future__ import annotations

import re
from typing import Any

import schemathesis
from schemathesis.specs.openapi.checks import use_after_free

#: A revoked key and an archived workflow stay to be looked at.
_STAYS = re.compile(r"GET /api/v1/(api-keys|workflows)/\{\w+\}(/|$)")


@schemathesis.check
def gone_after_free(ctx: Any, response: Any, case: Any) -> bool | None:
    """Fail where what was deleted is still read."""
    if _STAYS.match(case.operation.label):
        return None
    return use_after_free(ctx, response, case)
