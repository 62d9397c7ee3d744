"""The tables of access: users, sessions, keys, roles, grants, secrets, variables, quotas, audit.

Every credential is kept as a digest, every secret sealed: what is here opens nothing.
"""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from orchestrator.adapters.postgres.tables import NOW, Moment, identifier, metadata


def _tenant() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["tenant_id"], ["tenants.id"])


def _made() -> Column[object]:
    return Column("created_at", Moment, nullable=False, server_default=NOW)


users = Table(
    "users",
    metadata,
    identifier("id", key=True),
    identifier("tenant_id"),
    # Lower case, NFKC; unique over the installation, so that signing in needs no tenant.
    Column("email", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False, server_default=""),
    # argon2id; NULL for users who sign in elsewhere only.
    Column("password", Text),
    Column("roles", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("state", Text, nullable=False, server_default="active"),
    # Credentials older than this are void: a new password, another role.
    Column("valid_from", Moment, nullable=False, server_default=NOW),
    _made(),
    Column("updated_at", Moment, nullable=False, server_default=NOW),
    Column("signed_in_at", Moment),
    _tenant(),
    CheckConstraint("state IN ('active', 'disabled')", name="state"),
    Index("ix_users_tenant", "tenant_id", "id"),
)

identities = Table(
    "identities",
    metadata,
    # Who vouches (the provider's issuer), and its name for the user.
    Column("issuer", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    identifier("tenant_id"),
    identifier("user_id"),
    _made(),
    _tenant(),
    ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
    Index("ix_identities_user", "user_id"),
)

sessions = Table(
    "sessions",
    metadata,
    identifier("id", key=True),
    identifier("tenant_id"),
    identifier("user_id"),
    # SHA-256 of the newest refresh token; an older one of this session is a stolen one.
    Column("refresh", LargeBinary, nullable=False),
    Column("generation", Integer, nullable=False, server_default=text("0")),
    Column("address", Text, nullable=False, server_default=""),
    Column("agent", Text, nullable=False, server_default=""),
    _made(),
    Column("used_at", Moment, nullable=False, server_default=NOW),
    Column("expires_at", Moment, nullable=False),
    Column("revoked_at", Moment),
    Column("reason", Text),
    _tenant(),
    ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
    Index("ix_sessions_user", "user_id"),
    Index("ix_sessions_expires_at", "expires_at"),
)

api_keys = Table(
    "api_keys",
    metadata,
    identifier("id", key=True),
    identifier("tenant_id"),
    Column("name", Text, nullable=False),
    # The readable part, by which it is found; the secret part is kept as SHA-256.
    Column("prefix", Text, nullable=False, unique=True),
    Column("digest", LargeBinary, nullable=False),
    Column("roles", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    # Narrows its roles to these permissions; NULL: all of them.
    Column("scopes", ARRAY(Text)),
    identifier("created_by", optional=True),
    # The key that follows this one; until `expires_at` both work.
    identifier("rotated_to", optional=True),
    _made(),
    Column("expires_at", Moment),
    Column("used_at", Moment),
    Column("revoked_at", Moment),
    _tenant(),
    Index("ix_api_keys_tenant", "tenant_id", "id"),
)

roles = Table(
    "roles",
    metadata,
    identifier("tenant_id", key=True),
    Column("name", Text, primary_key=True),
    Column("description", Text, nullable=False, server_default=""),
    Column("permissions", ARRAY(Text), nullable=False),
    _made(),
    Column("updated_at", Moment, nullable=False, server_default=NOW),
    _tenant(),
)

workflow_grants = Table(
    "workflow_grants",
    metadata,
    identifier("workflow_id", key=True),
    # A user or an API key.
    identifier("principal_id", key=True),
    identifier("tenant_id"),
    Column("role", Text, nullable=False),
    _made(),
    ForeignKeyConstraint(["workflow_id"], ["workflows.id"], ondelete="CASCADE"),
    Index("ix_workflow_grants_principal", "tenant_id", "principal_id"),
)

secrets = Table(
    "secrets",
    metadata,
    identifier("tenant_id", key=True),
    Column("name", Text, primary_key=True),
    # The value under a data key of its own, and that key under the master key of this id.
    Column("sealed", LargeBinary, nullable=False),
    Column("data_key", LargeBinary, nullable=False),
    Column("master_key_id", Text, nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    Column("version", Integer, nullable=False, server_default=text("1")),
    _made(),
    Column("updated_at", Moment, nullable=False, server_default=NOW),
    _tenant(),
)

variables = Table(
    "variables",
    metadata,
    identifier("tenant_id", key=True),
    # Empty: of every environment; a value of the process's own environment wins over it.
    Column("environment", Text, primary_key=True, server_default=""),
    Column("name", Text, primary_key=True),
    Column("value", JSONB, nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    _made(),
    Column("updated_at", Moment, nullable=False, server_default=NOW),
    _tenant(),
)

quotas = Table(
    "quotas",
    metadata,
    identifier("tenant_id", key=True),
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
    Column("updated_at", Moment, nullable=False, server_default=NOW),
    _tenant(),
    CheckConstraint("value >= 0", name="value"),
)

artifact_usage = Table(
    "artifact_usage",
    metadata,
    identifier("tenant_id", key=True),
    Column("bytes", BigInteger, nullable=False, server_default=text("0")),
    # Of the record itself: inputs, outputs, log lines, definitions, variables.
    Column("record_bytes", BigInteger, nullable=False, server_default=text("0")),
    _tenant(),
    CheckConstraint("bytes >= 0", name="bytes"),
)

audit_log = Table(
    "audit_log",
    metadata,
    identifier("tenant_id", key=True),
    Column("no", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Moment, nullable=False),
    identifier("principal_id", optional=True),
    Column("principal_kind", Text, nullable=False),
    Column("principal", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("resource", Text, nullable=False, server_default=""),
    Column("resource_id", Text, nullable=False, server_default=""),
    Column("before", Text),
    Column("after", Text),
    # Why, such as the reason of a refused sign-in.
    Column("detail", Text, nullable=False, server_default=""),
    Column("address", Text, nullable=False, server_default=""),
    Column("request_id", Text, nullable=False, server_default=""),
    # SHA-256 over the digest of the entry before and everything above.
    Column("digest", LargeBinary, nullable=False),
    _tenant(),
    Index("ix_audit_log_at", "tenant_id", "at"),
    Index("ix_audit_log_resource", "tenant_id", "resource_id", "no"),
)

audit_heads = Table(
    "audit_heads",
    metadata,
    # The last entry of each tenant: a chain cut at its end shows too.
    identifier("tenant_id", key=True),
    Column("no", BigInteger, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    _tenant(),
)

one_time_tokens = Table(
    "one_time_tokens",
    metadata,
    # SHA-256 of an invitation or a password reset.
    Column("digest", LargeBinary, primary_key=True),
    identifier("tenant_id"),
    identifier("user_id"),
    Column("purpose", Text, nullable=False),
    _made(),
    Column("expires_at", Moment, nullable=False),
    Column("used_at", Moment),
    _tenant(),
    ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
    CheckConstraint("purpose IN ('invitation', 'reset')", name="purpose"),
    Index("ix_one_time_tokens_expires_at", "expires_at"),
)
