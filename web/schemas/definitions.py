"""How a definition is sent and shown, for the API document: its own shape and what is around it."""

from __future__ import annotations

from marshmallow import INCLUDE, Schema, fields

from orchestrator.models.definitions.saved import WorkflowStatus
from orchestrator.services.definitions.reading import WorkflowSchema


class DefinitionBody(WorkflowSchema):
    """A definition as it is sent. The service reads it; this only documents it."""

    status = fields.Enum(WorkflowStatus, by_value=True)


class DefinitionDraft(Schema):
    """A definition, right or wrong."""

    class Meta:
        """Takes whatever is an object."""

        unknown = INCLUDE


class WorkflowDocument(DefinitionBody):
    """A definition with what is stored around it."""

    id = fields.UUID()
    version = fields.Integer()
    created_at = fields.String(metadata={"format": "date-time"})
    updated_at = fields.String(metadata={"format": "date-time"})
