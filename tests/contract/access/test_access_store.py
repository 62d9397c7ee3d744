"""The record of users and sessions: memory and Postgres keep and find the same."""

from __future__ import annotations

import threading
import traceback
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import psycopg2
import pytest
from sqlalchemy import update
from sqlalchemy.exc import DBAPIError

from orchestrator.adapters.postgres.access.access import PostgresAccess
from orchestrator.adapters.postgres.access.tables import users as user_rows
from orchestrator.adapters.postgres.connections.pool import Pool
from orchestrator.errors import NameTaken
from orchestrator.models.access.permissions import Principal, PrincipalKind
from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.ports.access import (
    AccessStore,
    Identity,
    UserState,
)
from orchestrator.ports.acting import Acting, acting_as
from tests.contract.access_rows import NOW, a_key, a_session, a_tenant, a_token, a_user, anywhere
from tests.factories import new_id


def test_a_user_is_kept_and_found_in_its_tenant_only(store: AccessStore) -> None:
    mine, other = a_tenant(store), a_tenant(store)
    user = a_user(store, mine, "editor", "own", password="$argon2id$x")
    with anywhere(store) as work:
        assert work.users.get_user(mine, user.id) == user
        assert work.users.get_user(mine, user.id, lock=True) == user
        assert work.users.get_user(other, user.id) is None
        assert work.users.by_email(user.email) == (user, "$argon2id$x")
        assert work.users.by_email("nobody@example.org") is None
        assert not work.users.change(replace(user, tenant_id=other, name="Eve"))
        assert not work.users.delete(other, user.id)
        assert work.users.get_user(mine, user.id) == user


def test_an_address_is_taken_all_over_the_installation(store: AccessStore) -> None:
    user = a_user(store, a_tenant(store))
    with anywhere(store) as work:
        with pytest.raises(NameTaken):
            work.users.add_user(replace(user, id=new_id(), tenant_id=DEFAULT_TENANT), None)
        # The transaction goes on.
        assert work.users.by_email(user.email) == (user, None)


def test_users_come_in_pages(store: AccessStore) -> None:
    tenant_id = a_tenant(store)
    users = [a_user(store, tenant_id) for _ in range(5)]
    with anywhere(store) as work:
        first = work.users.page(tenant_id, after=None, limit=3)
        second = work.users.page(tenant_id, after=first[-1].id, limit=3)
    assert first + second == sorted(users, key=lambda user: user.id)


def test_a_change_keeps_what_it_does_not_name(store: AccessStore) -> None:
    user = a_user(store, a_tenant(store), "owner", password="hash")
    later = NOW + timedelta(seconds=5)
    changed = replace(
        user, name="Bea", roles=("viewer",), state=UserState.DISABLED, valid_from=later,
        updated_at=later, email="not@changed.org", signed_in_at=later,
    )  # fmt: skip
    with anywhere(store) as work:
        assert work.users.change(changed)
        assert work.users.get_user(user.tenant_id, user.id) == replace(
            changed, email=user.email, signed_in_at=None
        )
        work.users.signed_in(user.id, later)
        work.users.set_password(user.id, "another")
        found = work.users.by_email(user.email)
        assert found is not None
        assert (found[0].signed_in_at, found[1]) == (later, "another")


def test_only_an_active_user_with_the_checked_password_is_held(store: AccessStore) -> None:
    user = a_user(store, a_tenant(store), password="hash")
    with anywhere(store) as work:
        assert work.users.hold(user.id, verified=None) == user
        assert work.users.hold(user.id, verified="hash") == user
        assert work.users.hold(user.id, verified="older hash") is None
        assert work.users.hold(new_id(), verified=None) is None
        work.users.change(replace(user, state=UserState.DISABLED))
        assert work.users.hold(user.id, verified="hash") is None


def test_owners_are_active_and_of_one_tenant(store: AccessStore) -> None:
    tenant_id = a_tenant(store)
    one, two = (a_user(store, tenant_id, "owner") for _ in range(2))
    away = a_user(store, tenant_id, "owner")
    a_user(store, tenant_id, "admin")
    a_user(store, a_tenant(store), "owner")
    with anywhere(store) as work:
        work.users.change(replace(away, state=UserState.DISABLED))
        assert work.users.owners(tenant_id) == sorted([one.id, two.id])


def test_with_a_user_goes_all_that_is_its_own(store: AccessStore) -> None:
    user = a_user(store, a_tenant(store))
    session = a_session(store, user)
    identity = Identity(
        issuer="https://id.example.org", subject=str(uuid4()), tenant_id=user.tenant_id,
        user_id=user.id, created_at=NOW,
    )  # fmt: skip
    token = a_token(user)
    with anywhere(store) as work:
        work.identities.add_identity(identity)
        work.tokens.add_token(token)
        assert work.users.delete(user.tenant_id, user.id)
        assert not work.users.delete(user.tenant_id, user.id)
        assert work.sessions.get_session(session.id) is None
        assert work.identities.find(identity.issuer, identity.subject) is None
        assert work.tokens.find(token.digest, NOW) is None


def test_an_identity_belongs_to_one_user(store: AccessStore) -> None:
    one, two = (a_user(store, a_tenant(store)) for _ in range(2))
    identity = Identity(
        issuer="https://id.example.org", subject=str(uuid4()), tenant_id=one.tenant_id,
        user_id=one.id, created_at=NOW,
    )  # fmt: skip
    with anywhere(store) as work:
        work.identities.add_identity(identity)
        with pytest.raises(NameTaken):
            work.identities.add_identity(replace(identity, user_id=two.id, tenant_id=two.tenant_id))
        assert work.identities.find(identity.issuer, identity.subject) == identity
        assert work.identities.find("https://else.example.org", identity.subject) is None
        assert work.identities.of_user(one.id) == [identity]
        assert work.identities.of_user(two.id) == []


def test_a_session_comes_with_its_user(store: AccessStore) -> None:
    user = a_user(store, a_tenant(store), "viewer", password="hash")
    session = a_session(store, user)
    with anywhere(store) as work:
        assert work.sessions.get_session(session.id) == (session, user)
        assert work.sessions.get_session(session.id, lock=True) == (session, user)
        assert work.sessions.get_session(new_id()) is None


def test_a_session_rotates_and_ends_once(store: AccessStore) -> None:
    user = a_user(store, a_tenant(store))
    session = a_session(store, user)
    later = NOW + timedelta(minutes=1)
    rotated = replace(
        session, refresh=b"1", generation=1, used_at=later, expires_at=later + timedelta(days=1)
    )
    with anywhere(store) as work:
        work.sessions.rotate(rotated)
        assert work.sessions.get_session(session.id) == (rotated, user)
        assert work.sessions.revoke(session.id, reason="reuse", at=later)
        assert not work.sessions.revoke(session.id, reason="sign_out", at=NOW)
        assert work.sessions.get_session(session.id) == (
            replace(rotated, revoked_at=later, reason="reuse"),
            user,
        )
        assert not work.sessions.revoke(new_id(), reason="reuse", at=NOW)


def test_all_open_sessions_of_a_user_end_together(store: AccessStore) -> None:
    tenant_id = a_tenant(store)
    user, other = (a_user(store, tenant_id) for _ in range(2))
    one, two, theirs = (a_session(store, u) for u in (user, user, other))
    ended = a_session(store, user, revoked_at=NOW, reason="sign_out")
    expired = a_session(store, user, expires_at=NOW)
    with anywhere(store) as work:
        assert work.sessions.of_user(user.id, NOW) == [two, one]
        revoked = work.sessions.revoke_of_user(user.id, reason="password", at=NOW)
        assert set(revoked) == {one.id, two.id, expired.id}
        assert work.sessions.of_user(user.id, NOW) == []
        assert work.sessions.of_user(other.id, NOW) == [theirs]
        found = work.sessions.get_session(ended.id)
        assert found is not None
        assert found[0].reason == "sign_out"


def test_old_sessions_are_removed(store: AccessStore) -> None:
    tenant_id = a_tenant(store)
    user, other = (a_user(store, tenant_id) for _ in range(2))
    old, theirs = (a_session(store, u, expires_at=NOW - timedelta(days=40)) for u in (user, other))
    young = a_session(store, user)
    with anywhere(store) as work:
        work.sessions.prune(user.id, NOW - timedelta(days=30))
        assert work.sessions.get_session(old.id) is None
        assert work.sessions.get_session(young.id) is not None
        assert work.sessions.get_session(theirs.id) is not None


def test_whoever_acts_sees_its_own_tenant_and_nobody_else_sees_any(pool: Pool) -> None:
    store = PostgresAccess(pool)
    mine, other = a_tenant(store), a_tenant(store)
    users = {home: a_user(store, home) for home in (mine, other)}
    keys = {home: a_key(store, home) for home in (mine, other)}
    actor = Principal(id=new_id(), kind=PrincipalKind.USER, name="a", tenant_id=mine)
    with acting_as(Acting(principal=actor)), store.begin() as work:
        assert work.users.by_email(users[mine].email) is not None
        assert work.users.by_email(users[other].email) is None
        assert work.users.get_user(other, users[other].id) is None
        assert work.api_keys.by_prefix(keys[other].prefix) is None
        assert [tenant.id for tenant in work.tenants.page(after=None, limit=99)] == [mine]
        work.users.set_password(users[other].id, "mine now")
        work.sessions.revoke_of_user(users[other].id, reason="", at=NOW)
    with store.begin() as work:
        assert work.users.by_email(users[mine].email) is None
        assert work.tenants.page(after=None, limit=99) == []
    with anywhere(store) as work:
        assert work.users.by_email(users[other].email) == (users[other], None)


def test_an_error_of_the_record_quotes_nothing_of_what_is_kept(pool: Pool) -> None:
    """Not what was to be stored, nor the row that Postgres adds, nor the text of the statement."""
    store, kept = PostgresAccess(pool), new_id().hex
    user = a_user(store, a_tenant(store), password=kept)
    unnamed = update(user_rows).where(user_rows.c.id == user.id)
    with pytest.raises(DBAPIError) as of_row, pool.as_access() as connection:
        connection.execute(unnamed.values(name=None))
    with pytest.raises(DBAPIError) as of_values, pool.as_access() as connection:
        connection.execute(unnamed.values(state="none", password=kept))
    with pytest.raises(psycopg2.Error) as of_text, pool.cursor(as_access=True) as cursor:
        cursor.execute("SELECT no_column, %s FROM users", (kept,))
    words = ("null value in column", "violates check constraint", "no_column")
    for one, word in zip((of_row, of_values, of_text), words, strict=True):
        assert word in str(one.value)
        assert kept not in "".join(traceback.format_exception(one.value))


def test_two_owners_cannot_leave_at_the_same_time(pool: Pool) -> None:
    store = PostgresAccess(pool)
    tenant_id = a_tenant(store)
    one, two = (a_user(store, tenant_id, "owner") for _ in range(2))
    seen: list[list[UUID]] = []
    begun = threading.Event()

    def leave() -> None:
        begun.set()
        with anywhere(store) as work:
            seen.append(work.users.owners(tenant_id))

    with anywhere(store) as work:
        assert work.users.owners(tenant_id) == sorted([one.id, two.id])
        other = threading.Thread(target=leave)
        other.start()
        begun.wait(5)
        work.users.change(replace(one, roles=()))
    other.join(10)
    assert seen == [[two.id]]
