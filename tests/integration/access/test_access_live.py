"""Access on Postgres and Redis, as two web processes share it: ends, races, and Redis away."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import psycopg2
import pytest

from orchestrator.adapters.memory.dispatch import MemoryDispatcher
from orchestrator.adapters.memory.runtime import MemoryArtifacts
from orchestrator.bootstrap import core as bootstrap
from orchestrator.bootstrap.access import access
from orchestrator.bootstrap.core import Core
from orchestrator.errors import Conflict, NotFound, TooManyAttempts, Unauthorized
from orchestrator.models.access.permissions import ADMIN, Permission, Principal
from orchestrator.ports.acting import Acting, acting_as
from orchestrator.services.access.sign_in.sessions import SignedIn
from orchestrator.settings import Auth, Database, Redis, Settings
from tests.conftest import Databases
from tests.factories import SECRET_KEY, quick_passwords
from tests.waiting import wait_for

PASSWORD = "correct horse battery"
HERE: dict[str, Any] = {"address": "192.0.2.7", "agent": "a browser"}
#: What the issue allows an end to take, seconds.
EVERYWHERE_S = 30.0


def a_core(settings: Settings) -> Core:
    return bootstrap.build(
        settings, role="zq_api", dispatcher=MemoryDispatcher(), artifacts=MemoryArtifacts(),
        passwords=quick_passwords(),
    )  # fmt: skip


@pytest.fixture(scope="module")
def settings(databases: Databases, redis_server_url: str) -> Settings:
    return Settings(
        auth=Auth(admin_key="an-admin-key-of-tests", secret_key=SECRET_KEY),
        database=Database(url=databases.migrated()),
        redis=Redis(url=redis_server_url, prefix=f"zq-{uuid4().hex}:", timeout_s=1.0),
    )


@pytest.fixture(scope="module")
def cores(settings: Settings) -> Iterator[tuple[Core, Core]]:
    """Two processes of one installation, as far as access knows."""
    pair = a_core(settings), a_core(settings)
    yield pair
    for core in pair:
        core.store.close()


@pytest.fixture
def core(cores: tuple[Core, Core]) -> Core:
    return cores[0]


@pytest.fixture
def other(cores: tuple[Core, Core]) -> Core:
    return cores[1]


def acting(principal: Principal, action: str | None = "tests.act") -> Any:
    """Work as a request of a principal does."""
    return acting_as(Acting(principal=principal, action=action, request_id="r"))


def a_user(core: Core, *roles: str) -> str:
    """Make a user as an administrator's request does; return its address."""
    email = f"{uuid4()}@example.org"
    with acting(ADMIN):
        core.access.users.create(ADMIN, email=email, roles=roles, password=PASSWORD)
    return email


def signed_in(core: Core, *roles: str) -> SignedIn:
    return core.access.sign_in(a_user(core, *roles), PASSWORD, **HERE)


def is_void(core: Core, one: SignedIn) -> bool:
    try:
        core.access.principal_of(one.access_token, "")
    except Unauthorized:
        return True
    return False


def at_once(work: Callable[[int], Any], times: int) -> list[Any]:
    """Do it in as many threads at the same moment; return what came of each."""
    start, outcomes = threading.Barrier(times), []

    def one(number: int) -> None:
        start.wait()
        try:
            outcomes.append(work(number))
        except Exception as error:
            outcomes.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return outcomes


def test_who_signs_in_here_is_known_there(core: Core, other: Core) -> None:
    one = signed_in(core, "editor")
    assert other.access.principal_of(one.access_token, "") == one.principal
    assert other.access.refresh(one.refresh_token, **HERE).principal == one.principal
    assert other.access.csrf_fits(
        one.principal.session_id,  # type: ignore[arg-type]
        core.access.csrf_token(one.principal.session_id),  # type: ignore[arg-type]
    )
    assert other.access.take_ticket(core.access.ticket(one.principal)) == one.principal
    with pytest.raises(Unauthorized):
        core.access.principal_of(one.access_token[:-2], "")


@pytest.mark.parametrize("how", ["sign_out", "password", "role", "delete", "all_sessions"])
def test_an_end_here_is_an_end_there(core: Core, other: Core, how: str) -> None:
    one = signed_in(core, "editor")
    assert not is_void(other, one)
    users, user_id = core.access.users, one.principal.id
    with acting(one.principal if how in ("sign_out", "password") else ADMIN):
        match how:
            case "sign_out":
                core.access.sign_out(one.principal)
            case "password":
                users.set_password(one.principal, PASSWORD, "another fine password", address="")
            case "role":
                users.change(ADMIN, user_id, roles=["viewer"])
            case "delete":
                users.delete(ADMIN, user_id)
            case _:
                assert users.revoke_sessions(ADMIN, user_id) == 1
    assert is_void(core, one)
    # With Redis it takes a second, without it 15; both are less than what is allowed.
    wait_for(lambda: is_void(other, one), timeout_s=EVERYWHERE_S, what="the end over there")
    with pytest.raises(Unauthorized):
        other.access.refresh(one.refresh_token, **HERE)


def test_a_revoked_key_is_void_there_too(core: Core, other: Core) -> None:
    with acting(ADMIN):
        key, text = core.access.keys.create(ADMIN, name="ci", roles=["viewer"])
    principal = other.access.principal_of(text, "")
    with acting(ADMIN):
        core.access.keys.revoke(ADMIN, key.id)

    def void() -> bool:
        try:
            other.access.still(principal)
        except Unauthorized:
            return True
        return False

    wait_for(void, timeout_s=EVERYWHERE_S, what="the end of the key over there")
    with pytest.raises(Unauthorized):
        core.access.principal_of(text, "")


def test_of_many_refreshes_at_once_none_forks_and_none_is_taken_for_theft(
    core: Core, other: Core
) -> None:
    one = signed_in(core, "viewer")
    got = at_once(
        lambda n: (core, other)[n % 2].access.refresh(one.refresh_token, **HERE).refresh_token, 8
    )
    assert len(set(got)) == 1
    assert isinstance(got[0], str)
    assert not is_void(core, one)
    assert core.access.refresh(got[0], **HERE).refresh_token not in (one.refresh_token, got[0])


def test_a_stolen_token_ends_the_session_in_the_record(core: Core, other: Core) -> None:
    one = signed_in(core, "viewer")
    newest = one
    for _ in range(2):
        newest = core.access.refresh(newest.refresh_token, **HERE)
    for one_access in (other.access, core.access):
        with pytest.raises(Unauthorized):
            one_access.refresh(one.refresh_token, **HERE)
    with pytest.raises(Unauthorized):
        core.access.refresh(newest.refresh_token, **HERE)
    assert is_void(other, newest)
    wait_for(lambda: is_void(core, newest), timeout_s=EVERYWHERE_S, what="the end over there")


def test_an_invitation_is_redeemed_once_by_whoever_is_first(core: Core, other: Core) -> None:
    with acting(ADMIN):
        invited = core.access.users.invite(ADMIN, email=f"{uuid4()}@example.org", roles=["viewer"])
    words = [f"a fine password {number}" for number in range(4)]
    outcomes = at_once(
        lambda n: (core, other)[n % 2].access.users.redeem(invited.token, words[n]), 4
    )
    assert sum(isinstance(one, Unauthorized) for one in outcomes) == 3
    opened = [word for word in words if _opens(core, invited.user.email, word)]
    assert len(opened) == 1


def _opens(core: Core, email: str, password: str) -> bool:
    try:
        core.access.sign_in(email, password, **HERE)
    except Unauthorized:
        return False
    return True


def test_two_owners_cannot_remove_each_other(core: Core, other: Core) -> None:
    with acting(ADMIN):
        tenant_id = core.access.tenants.create(ADMIN, name=f"tenant {uuid4()}").id
        emails = [f"{uuid4()}@example.org" for _ in range(2)]
        for email in emails:
            core.access.users.create(
                ADMIN, email=email, roles=["owner"], password=PASSWORD, tenant_id=tenant_id
            )
    owners = [core.access.sign_in(email, PASSWORD, **HERE).principal for email in emails]

    def remove(number: int) -> None:
        with acting(owners[number]):
            (core, other)[number].access.users.delete(owners[number], owners[1 - number].id)

    outcomes = at_once(remove, 2)
    assert sum(isinstance(one, Conflict | NotFound) for one in outcomes) == 1, outcomes
    assert outcomes.count(None) == 1


def test_a_tenants_owner_sees_and_reaches_nothing_of_another(
    core: Core, settings: Settings
) -> None:
    with acting(ADMIN):
        tenant_id = core.access.tenants.create(ADMIN, name=f"tenant {uuid4()}").id
        email = f"{uuid4()}@example.org"
        invited = core.access.users.invite(ADMIN, email=email, roles=["owner"], tenant_id=tenant_id)
        foreign, _ = core.access.keys.create(ADMIN, name="theirs", roles=["viewer"])
    core.access.users.redeem(invited.token, PASSWORD)
    eve = core.access.sign_in(email, PASSWORD, **HERE).principal
    mallory = signed_in(core, "viewer").principal
    assert eve.tenant_id == tenant_id
    assert not eve.may(Permission.TENANTS_WRITE)
    with acting(eve):
        assert [user.id for user in core.access.users.page(eve)] == [eve.id]
        assert core.access.keys.page(eve) == []
        assert core.access.tenants.own(eve).id == tenant_id
        for touch in (
            lambda: core.access.users.get(eve, mallory.id),
            lambda: core.access.keys.revoke(eve, foreign.id),
        ):
            with pytest.raises(NotFound):
                touch()
        # Row security holds although the query names the other tenant.
        forged = replace(eve, tenant_id=ADMIN.tenant_id, permissions=frozenset(Permission))
        assert core.access.keys.page(forged) == []
        with pytest.raises(NotFound):
            core.access.users.delete(forged, mallory.id)


def test_failed_sign_ins_are_counted_together(core: Core, other: Core, settings: Settings) -> None:
    email = a_user(core, "viewer")

    def attempt(number: int) -> None:
        address = f"198.51.100.{number}"
        (core, other)[number % 2].access.sign_in(email, "a guess", address=address, agent="")

    outcomes = at_once(attempt, 24)
    most = settings.auth.lockout_attempts
    assert sum(isinstance(one, Unauthorized) for one in outcomes) == most, outcomes
    assert sum(isinstance(one, TooManyAttempts) for one in outcomes) == 24 - most
    for process in (core, other):
        with pytest.raises(TooManyAttempts):
            process.access.sign_in(email, PASSWORD, address="203.0.113.1", agent="")


def test_while_redis_is_away_the_record_decides(core: Core, settings: Settings) -> None:
    away = a_core(replace(settings, redis=Redis(url="redis://127.0.0.1:1/0", timeout_s=0.2)))
    try:
        one = away.access.sign_in(a_user(core, "viewer"), PASSWORD, **HERE)
        assert away.access.principal_of(one.access_token, "") == one.principal
        again = away.access.refresh(one.refresh_token, **HERE)
        core.access.sign_out(one.principal)
        assert is_void(a_core_like(away), again)
        away.access.sign_out(again.principal)
        assert is_void(away, again)
        email = a_user(core, "viewer")
        outcomes = [_refusal(away, email) for _ in range(settings.auth.lockout_attempts + 1)]
        assert outcomes == [Unauthorized] * settings.auth.lockout_attempts + [TooManyAttempts]
    finally:
        away.store.close()


def a_core_like(core: Core) -> Core:
    """Return another process with the same settings and connections."""
    return replace(
        core,
        enter=lambda: access(
            core.settings, core.store, core.clock, {"passwords": quick_passwords()}
        ),
    )


def _refusal(core: Core, email: str) -> type[Exception]:
    try:
        core.access.sign_in(email, "a guess", **HERE)
    except (Unauthorized, TooManyAttempts) as error:
        return type(error)
    raise AssertionError("it was let in")


def test_what_happened_is_in_the_audit_log_of_its_tenant(core: Core, settings: Settings) -> None:
    one = signed_in(core, "viewer")
    with pytest.raises(Unauthorized):
        core.access.sign_in(one.principal.name, "a guess", **HERE)
    core.access.sign_out(one.principal)
    connection = psycopg2.connect(settings.database.url)
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT action FROM audit_log WHERE principal = %s ORDER BY no", (one.principal.name,)
        )
        assert [row[0] for row in cursor.fetchall()] == [
            "auth.sign_in", "auth.sign_in_failed", "auth.sign_out",
        ]  # fmt: skip
        cursor.execute(
            "SELECT resource, before, after IS NOT NULL FROM audit_log"
            " WHERE resource_id = %s AND resource = 'user'",
            (str(one.principal.id),),
        )
        assert cursor.fetchall() == [("user", None, True)]
    connection.close()
    assert core.auditing.verify(one.principal.tenant_id).valid
