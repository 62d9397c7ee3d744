"""Sessions: tokens that rotate, a stolen one ends them, and an end reaches every process."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from orchestrator.errors import TooManyAttempts, Unauthorized
from orchestrator.models.access.permissions import ADMIN, Permission, PrincipalKind
from orchestrator.models.ids import DEFAULT_TENANT, uuid7
from orchestrator.ports.access import UserState
from orchestrator.services.access.facade import Access
from orchestrator.services.access.sign_in.sessions import SignedIn
from tests.factories import SECRET_KEY
from tests.integration.access_rig import ADDRESS, AGENT, PASSWORD, Rig
from tests.servers import Servers


@pytest.fixture
def rig(servers: Servers) -> Rig:
    return Rig(servers)


@pytest.fixture
def signed_in(rig: Rig) -> SignedIn:
    rig.user("editor")
    return rig.sign_in()


def refresh(access: Access, token: str) -> SignedIn:
    return access.refresh(token, address=ADDRESS, agent=AGENT)


def refused(access: Access, token: str) -> None:
    with pytest.raises(Unauthorized):
        refresh(access, token)


def void(access: Access, one: SignedIn) -> None:
    """Check that nothing of a sign-in opens anything."""
    with pytest.raises(Unauthorized):
        access.principal_of(one.access_token, ADDRESS)
    with pytest.raises(Unauthorized):
        access.still(one.principal)
    refused(access, one.refresh_token)


def session_of(one: SignedIn) -> UUID:
    assert one.principal.session_id is not None
    return one.principal.session_id


def test_a_refresh_gives_new_tokens_of_the_same_session(rig: Rig, signed_in: SignedIn) -> None:
    rig.clock.advance(300)
    second = refresh(rig.access, signed_in.refresh_token)
    assert second.refresh_token != signed_in.refresh_token
    assert second.access_token != signed_in.access_token
    assert session_of(second) == session_of(signed_in)
    assert second.principal.permissions == signed_in.principal.permissions
    rig.clock.advance(300)
    third = refresh(rig.access, second.refresh_token)
    assert rig.access.principal_of(third.access_token, ADDRESS) == signed_in.principal


def test_nothing_of_a_token_is_kept(rig: Rig, signed_in: SignedIn) -> None:
    kept = rig.servers.rows()
    assert signed_in.refresh_token[4:] not in kept
    assert signed_in.refresh_token not in repr(signed_in)
    assert signed_in.access_token not in repr(signed_in)
    assert PASSWORD not in kept


@pytest.mark.parametrize("generations", [1, 2, 5])
def test_a_used_token_ends_its_whole_session(
    rig: Rig, signed_in: SignedIn, generations: int
) -> None:
    newest = signed_in
    for _ in range(generations):
        rig.clock.advance(11)
        newest = refresh(rig.access, newest.refresh_token)
    rig.clock.advance(11)
    refused(rig.access, signed_in.refresh_token)
    void(rig.access, newest)
    void(rig.process(), newest)
    assert rig.told(DEFAULT_TENANT).count("auth.refresh_reused") == 1
    assert rig.session("reason") == "reuse"


def test_other_sessions_of_the_user_go_on(rig: Rig, signed_in: SignedIn) -> None:
    other = rig.sign_in()
    newest = refresh(rig.access, signed_in.refresh_token)
    rig.clock.advance(11)
    refused(rig.access, signed_in.refresh_token)
    void(rig.access, newest)
    assert rig.access.principal_of(other.access_token, ADDRESS).id == newest.principal.id


def test_two_tabs_that_refresh_at_once_get_the_same_token(rig: Rig, signed_in: SignedIn) -> None:
    one = refresh(rig.access, signed_in.refresh_token)
    rig.clock.advance(9)
    other = refresh(rig.process(), signed_in.refresh_token)
    assert other.refresh_token == one.refresh_token
    # The row of tokens has not forked: whoever is second next time is found out.
    rig.clock.advance(20)
    refresh(rig.access, one.refresh_token)
    rig.clock.advance(11)
    refused(rig.access, other.refresh_token)
    void(rig.access, one)


def test_the_grace_is_for_the_last_generation_alone(rig: Rig, signed_in: SignedIn) -> None:
    second = refresh(rig.access, signed_in.refresh_token)
    third = refresh(rig.access, second.refresh_token)
    refused(rig.access, signed_in.refresh_token)
    void(rig.access, third)


def test_a_grace_does_not_prolong_itself(rig: Rig, signed_in: SignedIn) -> None:
    refresh(rig.access, signed_in.refresh_token)
    for _ in range(2):
        rig.clock.advance(5)
        refresh(rig.access, signed_in.refresh_token)
    rig.clock.advance(1)
    refused(rig.access, signed_in.refresh_token)


@pytest.mark.parametrize(
    "bend",
    [
        lambda t: "", lambda t: t[:-1], lambda t: t + "A", lambda t: t.upper(), lambda t: t[4:],
        lambda t: "zqr_" + "A" * 70, lambda t: t[:-1] + ("B" if t[-1] != "B" else "C"),
        lambda t: t[:20] + ("A" if t[20] != "A" else "B") + t[21:], lambda t: f" {t}",
        lambda t: t + "\n", lambda t: "\ud800", lambda t: "zqr_" + "é" * 70, lambda t: "A" * 10**6,
    ],
)  # fmt: skip
def test_a_bent_token_is_refused_and_ends_nothing(
    rig: Rig, signed_in: SignedIn, bend: object
) -> None:
    refused(rig.access, bend(signed_in.refresh_token))  # type: ignore[operator]
    refresh(rig.access, signed_in.refresh_token)


def test_another_installations_token_ends_nothing(rig: Rig, signed_in: SignedIn) -> None:
    other = rig.process(secret_key="of-somebody-else-9f8e7d6c5b4a39281706")
    refused(other, signed_in.refresh_token)
    assert rig.access.still(signed_in.principal) == signed_in.principal


def test_tokens_survive_a_rotation_of_the_secret_key(rig: Rig, signed_in: SignedIn) -> None:
    rotated = rig.process(
        secret_key="the-next-1f2e3d4c5b6a79880716253443526170", secret_keys_old=SECRET_KEY
    )
    second = refresh(rotated, signed_in.refresh_token)
    rig.clock.advance(5)
    assert refresh(rotated, signed_in.refresh_token).refresh_token == second.refresh_token
    rig.clock.advance(60)
    refresh(rotated, second.refresh_token)


def test_an_access_token_is_no_refresh_token(rig: Rig, signed_in: SignedIn) -> None:
    refused(rig.access, signed_in.access_token)
    with pytest.raises(Unauthorized):
        rig.access.principal_of(signed_in.refresh_token, ADDRESS)


def test_a_session_that_is_left_alone_ends(rig: Rig, signed_in: SignedIn) -> None:
    rig.clock.advance(rig.auth.session_idle_s - 1)
    second = refresh(rig.access, signed_in.refresh_token)
    rig.clock.advance(rig.auth.session_idle_s)
    refused(rig.access, second.refresh_token)
    with pytest.raises(Unauthorized):
        rig.access.still(second.principal)


def test_no_session_lives_for_ever(servers: Servers) -> None:
    rig = Rig(servers, refresh_s=3600.0, session_idle_s=1000.0)
    rig.user("viewer")
    one = rig.sign_in()
    for _ in range(6):
        rig.clock.advance(599)
        one = refresh(rig.access, one.refresh_token)
    rig.clock.advance(6)
    refused(rig.access, one.refresh_token)
    void(rig.access, one)


def test_each_sign_in_is_a_session_of_its_own(rig: Rig, signed_in: SignedIn) -> None:
    again = rig.sign_in()
    assert session_of(again) != session_of(signed_in)
    assert [s.id for s in rig.access.users.sessions_of(ADMIN, again.principal.id)] == [
        session_of(again),
        session_of(signed_in),
    ]


def test_signing_out_ends_one_session_everywhere(rig: Rig, signed_in: SignedIn) -> None:
    other_process, other = rig.process(), rig.sign_in()
    other_process.principal_of(signed_in.access_token, ADDRESS)
    rig.access.sign_out(signed_in.principal)
    rig.access.sign_out(signed_in.principal)
    void(rig.access, signed_in)
    rig.clock.advance(1)
    void(other_process, signed_in)
    assert rig.access.still(other.principal) == other.principal
    assert rig.told(DEFAULT_TENANT).count("auth.sign_out") == 1


def test_without_the_cache_an_end_takes_15_seconds_at_most(rig: Rig, signed_in: SignedIn) -> None:
    rig.cache.away = True
    other_process = rig.process()
    other_process.principal_of(signed_in.access_token, ADDRESS)
    rig.clock.advance(5)
    rig.access.sign_out(signed_in.principal)
    void(rig.access, signed_in)
    rig.clock.advance(10)
    void(other_process, signed_in)


def test_a_cache_that_comes_back_hides_nothing(rig: Rig, signed_in: SignedIn) -> None:
    other_process = rig.process()
    rig.cache.away = True
    other_process.principal_of(signed_in.access_token, ADDRESS)
    rig.cache.away = False
    rig.access.sign_out(signed_in.principal)
    rig.clock.advance(1)
    void(other_process, signed_in)


def test_what_changes_while_somebody_is_read_is_seen(rig: Rig, signed_in: SignedIn) -> None:
    """The record is read, then another process revokes and marks, then the marks are read."""
    other_process = rig.process()
    marks = rig.cache.marks

    def late(ids: tuple[str, ...]) -> tuple[str, ...] | None:
        rig.cache.marks = marks  # type: ignore[method-assign, assignment]
        rig.access.sign_out(signed_in.principal)
        return marks(ids)

    rig.cache.marks = late  # type: ignore[method-assign, assignment]
    with pytest.raises(Unauthorized):
        other_process.principal_of(signed_in.access_token, ADDRESS)


def test_a_clock_that_goes_back_makes_nobody_live_longer(rig: Rig, signed_in: SignedIn) -> None:
    rig.cache.away = True
    other_process = rig.process()
    other_process.still(signed_in.principal)
    rig.access.sign_out(signed_in.principal)
    rig.clock.advance(-3)
    with pytest.raises(Unauthorized):
        other_process.still(signed_in.principal)


def test_another_password_ends_all_sessions(rig: Rig, signed_in: SignedIn) -> None:
    other_process, other = rig.process(), rig.sign_in()
    other_process.principal_of(other.access_token, ADDRESS)
    rig.access.users.set_password(
        signed_in.principal, PASSWORD, "another fine password", address=ADDRESS
    )
    rig.clock.advance(1)
    for access in (rig.access, other_process):
        void(access, signed_in)
        void(access, other)
    with pytest.raises(Unauthorized):
        rig.sign_in()
    assert rig.sign_in(password="another fine password").principal.id == signed_in.principal.id


def test_another_password_by_a_clock_ahead_ends_them_too(rig: Rig, signed_in: SignedIn) -> None:
    rig.clock.advance(3)
    rig.access.users.set_password(
        signed_in.principal, PASSWORD, "another fine password", address=ADDRESS
    )
    rig.clock.advance(-3)
    void(rig.access, signed_in)
    fresh = rig.sign_in(password="another fine password")
    assert rig.access.still(fresh.principal) == fresh.principal


def test_a_session_older_than_its_user_is_void_although_nobody_revoked_it(
    rig: Rig, signed_in: SignedIn
) -> None:
    user_id = signed_in.principal.id
    rig.clock.advance(15)
    set_back = "UPDATE users SET valid_from = %s WHERE id = %s"
    rig.servers.run(set_back, rig.clock.now(), user_id)
    void(rig.access, signed_in)


@pytest.mark.parametrize("how", ["password", "role", "disabled"])
def test_what_voids_sessions_says_since_when(rig: Rig, signed_in: SignedIn, how: str) -> None:
    user_id, users = signed_in.principal.id, rig.access.users
    rig.clock.advance(5)
    match how:
        case "password":
            users.set_password(signed_in.principal, PASSWORD, "another fine one", address=ADDRESS)
        case "role":
            users.change(ADMIN, user_id, roles=[])
        case _:
            users.change(ADMIN, user_id, state=UserState.DISABLED)
    assert users.get(ADMIN, user_id).valid_from == rig.clock.now()


def test_a_password_changed_during_a_sign_in_lets_nobody_in(rig: Rig) -> None:
    """The old password was checked, then it was changed, then the session is to be opened."""
    user = rig.user("editor")
    found = rig.password(user.id)
    rig.store_password(user.id, "another hash")
    with pytest.raises(Unauthorized):
        rig.access.sessions.open(user.id, address=ADDRESS, agent=AGENT, verified=found)
    assert rig.count("sessions") == 0


def test_a_role_taken_away_ends_the_sessions_that_had_it(rig: Rig, signed_in: SignedIn) -> None:
    other_process = rig.process()
    other_process.still(signed_in.principal)
    user_id = signed_in.principal.id
    rig.access.users.change(ADMIN, user_id, roles=["editor", "admin"])
    rig.clock.advance(1)
    more = other_process.still(signed_in.principal)
    assert more.may(Permission.USERS_WRITE)
    rig.access.users.change(ADMIN, user_id, roles=["viewer"])
    rig.clock.advance(1)
    void(other_process, signed_in)
    void(rig.access, signed_in)
    assert not rig.sign_in().principal.may(Permission.RUNS_START)


def test_a_disabled_user_is_out_and_stays_out(rig: Rig, signed_in: SignedIn) -> None:
    other_process = rig.process()
    other_process.still(signed_in.principal)
    user_id = signed_in.principal.id
    rig.access.users.change(ADMIN, user_id, state=UserState.DISABLED)
    rig.clock.advance(1)
    void(other_process, signed_in)
    with pytest.raises(Unauthorized):
        rig.sign_in()
    with pytest.raises(Unauthorized):
        rig.access.sessions.open(user_id, address=ADDRESS, agent=AGENT)
    rig.access.users.change(ADMIN, user_id, state=UserState.ACTIVE)
    void(rig.access, signed_in)
    rig.sign_in()


def test_a_deleted_user_is_out(rig: Rig, signed_in: SignedIn) -> None:
    other_process = rig.process()
    other_process.still(signed_in.principal)
    rig.access.users.delete(ADMIN, signed_in.principal.id)
    rig.clock.advance(1)
    for access in (rig.access, other_process):
        void(access, signed_in)
    with pytest.raises(Unauthorized):
        rig.access.sessions.open(signed_in.principal.id, address=ADDRESS, agent=AGENT)


def test_sessions_are_opened_for_whom_others_vouch(rig: Rig) -> None:
    user = rig.user("viewer", password=None)
    one = rig.access.sessions.open(user.id, address=ADDRESS, agent=AGENT)
    assert one.principal.kind is PrincipalKind.USER
    assert one.expires_in_s == 600
    with pytest.raises(Unauthorized):
        rig.access.sessions.open(uuid7(rig.clock.now()), address=ADDRESS, agent=AGENT)


def test_a_user_agent_is_cut_and_harmless(rig: Rig) -> None:
    user = rig.user("viewer")
    rig.access.sessions.open(user.id, address="x" * 500, agent="a\x1b[31m\r\nSet-Cookie: b\0" * 99)
    agent, address = rig.session("agent"), rig.session("address")
    assert agent.isprintable()
    assert (len(agent) <= 300, len(address)) == (True, 100)


def test_a_wrong_current_password_counts_as_a_failed_sign_in(rig: Rig, signed_in: SignedIn) -> None:
    for _ in range(rig.auth.lockout_attempts):
        with pytest.raises(Unauthorized):
            rig.access.users.set_password(
                signed_in.principal, "a wrong password", "another fine password", address=ADDRESS
            )
    with pytest.raises(TooManyAttempts):
        rig.access.users.set_password(
            signed_in.principal, PASSWORD, "another fine password", address=ADDRESS
        )
    assert rig.access.still(signed_in.principal) == signed_in.principal


def test_a_principal_without_its_session_is_nobody(rig: Rig, signed_in: SignedIn) -> None:
    with pytest.raises(Unauthorized):
        rig.access.still(replace(signed_in.principal, session_id=None))
