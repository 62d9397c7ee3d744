"""The shapes of quotas."""

from __future__ import annotations

from marshmallow import Schema, fields, validate

from orchestrator.models.quota import LARGEST, Quota
from web.schemas.fields import Count

_WORDS = {
    Quota.RUNS_PER_MINUTE: "Runs started in a minute.",
    Quota.CONCURRENT_TASKS: "Tasks that are queued or running.",
    Quota.STORAGE_BYTES: "Bytes of artifacts.",
    Quota.RECORD_BYTES: "Bytes of inputs, outputs, log lines, definitions and variables.",
    Quota.SOCKETS: "Open WebSockets.",
    Quota.SCHEDULES: "Schedules.",
    Quota.WORKFLOWS: "Workflows that are not archived.",
    Quota.SECRETS: "Secrets.",
}


class QuotaSchema(Schema):
    """One quota of a tenant."""

    name = fields.String(metadata={"enum": [str(name) for name in Quota]})
    limit = fields.Integer(metadata={"description": "What is in force; 0: no limit."})
    default = fields.Boolean(
        metadata={"description": "True: the installation's own value, not the tenant's."}
    )
    used = fields.Integer(metadata={"description": "The present use."})


class QuotaList(Schema):
    """Every quota of a tenant."""

    items = fields.List(fields.Nested(QuotaSchema))
    next_cursor = fields.String(allow_none=True, metadata={"description": "Always null."})


#: New values by name; null goes back to the default. What is not named stays.
QuotaBody = Schema.from_dict(
    {
        str(name): Count(
            allow_none=True,
            validate=validate.Range(0, LARGEST),
            metadata={
                "description": f"{words} 0: no limit; null: the default.",
                "minimum": 0,
                "maximum": LARGEST,
            },
        )
        for name, words in _WORDS.items()
    },
    name="QuotaBody",
)
