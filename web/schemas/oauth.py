"""The shapes of signing in at a provider, and of tokens for machines (RFC 6749)."""

from __future__ import annotations

import re
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate

#: A path of this server: no `//host`, no `/\\host`, nothing that browsers leave out or turn round.
_LOCAL = re.compile(r"/(?![/\\])[!-\[\]-~]{0,499}")


def _local(text: str) -> bool:
    if not _LOCAL.fullmatch(text):
        raise ValidationError("write a path of this server, such as /ui/")
    return True


def _said(**more: Any) -> fields.String:
    # How long a provider makes it is its own affair; the server bounds the line of a request.
    return fields.String(load_default="", **more)


class StartQuery(Schema):
    """Where to go after signing in."""

    next = fields.String(
        load_default="/",
        validate=_local,
        metadata={"description": "A path of this server, where the browser is sent in the end."},
    )
    mode = fields.String(
        load_default="cookie",
        validate=validate.OneOf(("cookie", "bearer")),
        metadata={"description": "cookie: tokens in cookies; bearer: tokens in the last answer."},
    )


class CallbackQuery(Schema):
    """What a provider sends back with the browser. What else it sends is not looked at."""

    state = _said(metadata={"description": "As it was sent to the provider; good once."})
    code = _said(metadata={"description": "What is traded for tokens."})
    error = _said(metadata={"description": "Why the provider lets nobody in."})
    iss = _said(metadata={"description": "Who the provider says it is (RFC 9207)."})


class ProviderSchema(Schema):
    """A provider, for a page to sign in."""

    name = fields.String()
    issuer = fields.String()
    start = fields.String(metadata={"description": "The path that a browser opens."})


class ProviderList(Schema):
    """All providers."""

    items = fields.List(fields.Nested(ProviderSchema))
    next_cursor = fields.String(allow_none=True)


class TokenForm(Schema):
    """A client's credentials. They may come in an Authorization header (Basic) instead."""

    grant_type = fields.String(required=True, metadata={"enum": ["client_credentials"]})
    client_id = fields.String(metadata={"description": "The prefix of an API key."})
    client_secret = fields.String(metadata={"description": "The rest, after the second `_`."})
    scope = fields.String(
        metadata={"description": "Permissions with blanks between them; none: all of the key's."}
    )


class TokenSchema(Schema):
    """A token for a machine."""

    access_token = fields.String()
    token_type = fields.String(metadata={"enum": ["Bearer"]})
    expires_in = fields.Integer(metadata={"description": "Seconds."})
    scope = fields.String(metadata={"description": "What it may do."})


class TokenErrorSchema(Schema):
    """Why there is no token, as RFC 6749 has it."""

    error = fields.String(
        metadata={
            "enum": ["invalid_request", "invalid_client", "unsupported_grant_type", "invalid_scope"]
        }
    )
    error_description = fields.String()
