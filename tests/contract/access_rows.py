"""Rows of access for contract tests, and how to reach all tenants' at once."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from orchestrator.ports.access import (
    AccessStore,
    AccessWork,
    ApiKey,
    OneTimeToken,
    Purpose,
    Session,
    Tenant,
    User,
    UserState,
)
from tests.factories import new_id

NOW = datetime(2026, 5, 4, 12, 30, 15, 123456, tzinfo=UTC)


def anywhere(store: AccessStore) -> AbstractContextManager[AccessWork]:
    return store.begin(any_tenant=True)


def a_tenant(store: AccessStore) -> UUID:
    tenant = Tenant(id=new_id(), name=f"tenant {uuid4()}", created_at=NOW)
    with anywhere(store) as work:
        work.tenants.add_tenant(tenant)
    return tenant.id


def a_user(store: AccessStore, tenant_id: UUID, *roles: str, password: str | None = None) -> User:
    user = User(
        id=new_id(), tenant_id=tenant_id, email=f"{uuid4()}@example.org", name="Ada",
        roles=roles, state=UserState.ACTIVE, valid_from=NOW, created_at=NOW, updated_at=NOW,
        has_password=password is not None,
    )  # fmt: skip
    with anywhere(store) as work:
        work.users.add_user(user, password)
    return user


def a_session(store: AccessStore, user: User, **more: object) -> Session:
    session = Session(
        id=new_id(), tenant_id=user.tenant_id, user_id=user.id, refresh=b"0", generation=0,
        address="192.0.2.1", agent="test", created_at=NOW, used_at=NOW,
        expires_at=NOW + timedelta(days=1),
    )  # fmt: skip
    session = replace(session, **more)  # type: ignore[arg-type]
    with anywhere(store) as work:
        work.sessions.add_session(session)
    return session


def a_key(store: AccessStore, tenant_id: UUID, **more: object) -> ApiKey:
    key = ApiKey(
        id=new_id(), tenant_id=tenant_id, name="ci", prefix=f"k{uuid4().hex[:11]}",
        roles=("editor",), scopes=None, created_by=None, rotated_to=None,
        created_at=NOW, expires_at=None,
    )  # fmt: skip
    key = replace(key, **more)  # type: ignore[arg-type]
    with anywhere(store) as work:
        work.api_keys.add_key(key, b"digest of " + key.prefix.encode())
    return key


def a_token(user: User, purpose: Purpose = Purpose.INVITATION) -> OneTimeToken:
    return OneTimeToken(
        digest=uuid4().bytes, tenant_id=user.tenant_id, user_id=user.id, purpose=purpose,
        created_at=NOW, expires_at=NOW + timedelta(days=7),
    )  # fmt: skip
