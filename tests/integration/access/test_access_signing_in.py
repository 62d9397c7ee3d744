"""Signing in: the same answer and the same work for all that is wrong, and an end to trying."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest
from argon2 import PasswordHasher

from orchestrator.errors import (
    InvalidDefinition,
    ServiceUnavailable,
    TooManyAttempts,
    Unauthorized,
)
from orchestrator.models.access.permissions import ADMIN
from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.ports.access import UserState
from orchestrator.services.access.passwords import Passwords
from tests.integration.access_rig import ADDRESS, AGENT, PASSWORD, CountingHasher, Rig
from tests.servers import Servers
from tests.waiting import wait_for


@pytest.fixture
def rig(servers: Servers) -> Rig:
    return Rig(servers)


def attempt(rig: Rig, email: str, password: str, address: str = ADDRESS) -> tuple[str, int, int]:
    """Return what a failed sign-in answers, and the verifications and hashes it cost."""
    before = rig.hasher.verified, rig.hasher.hashed
    with pytest.raises(Unauthorized) as caught:
        rig.access.sign_in(email, password, address=address, agent=AGENT)
    assert not caught.value.extra
    return (
        caught.value.detail,
        rig.hasher.verified - before[0],
        rig.hasher.hashed - before[1],
    )


def test_every_way_to_be_wrong_looks_and_costs_the_same(rig: Rig) -> None:
    rig.user("viewer")
    rig.user("viewer", email="elsewhere@example.org", password=None)
    gone = rig.user("viewer", email="gone@example.org")
    rig.access.users.change(ADMIN, gone.id, state=UserState.DISABLED)
    rig.sign_in()
    answers = {
        attempt(rig, "ada@example.org", "not the password"),
        attempt(rig, "nobody@example.org", PASSWORD),
        attempt(rig, "elsewhere@example.org", PASSWORD),
        attempt(rig, "gone@example.org", PASSWORD),
        attempt(rig, "not an address", PASSWORD),
        attempt(rig, "", PASSWORD),
        attempt(rig, "ada@example.org", ""),
        attempt(rig, "ada@example.org\0", PASSWORD),
        attempt(rig, "' OR 1=1 --@example.org", PASSWORD),
    }
    assert answers == {("the e-mail address or the password is wrong", 1, 0)}


def test_the_same_statements_run_for_known_and_unknown(rig: Rig) -> None:
    rig.user("viewer")
    begun: list[bool] = []
    begin = rig.record.begin

    def counting(*, any_tenant: bool = False) -> Any:
        begun.append(any_tenant)
        return begin(any_tenant=any_tenant)

    rig.record.begin = counting  # type: ignore[method-assign]
    seen = []
    for email in ("ada@example.org", "nobody@example.org"):
        begun.clear()
        attempt(rig, email, "not the password")
        seen.append(list(begun))
    assert seen[0] == seen[1] == [True]
    assert rig.told(DEFAULT_TENANT)[-2:] == ["auth.sign_in_failed"] * 2


def test_a_password_too_long_costs_nothing_for_anybody(rig: Rig) -> None:
    rig.user("viewer")
    for email in ("ada@example.org", "nobody@example.org"):
        for password in ("a" * 1025, "é" * 513, "a" * 10_000_000, "\ud800" * 20):
            assert attempt(rig, email, password)[1:] == (0, 0)
            rig.clock.advance(1000)


@pytest.mark.parametrize("email", ["ADA@example.org", " ada@EXAMPLE.org ", "\uff21da@example.org"])
def test_an_address_is_the_same_in_every_spelling(rig: Rig, email: str) -> None:
    rig.user("viewer")
    assert rig.sign_in(email).principal.name == "ada@example.org"


def test_a_password_is_the_same_in_every_form_of_unicode(rig: Rig) -> None:
    rig.user("viewer", password="caf\u00e9 au lait bitte")
    rig.sign_in(password="cafe\u0301 au lait bitte")
    attempt(rig, "ada@example.org", "cafe au lait bitte")
    attempt(rig, "ada@example.org", "Caf\u00e9 au lait bitte")
    attempt(rig, "ada@example.org", "caf\u00e9 au lait bitte ")


@pytest.mark.parametrize("email", ["ada@example.org", "nobody@example.org"])
def test_an_account_is_locked_whether_it_exists_or_not(rig: Rig, email: str) -> None:
    rig.user("viewer")
    for number in range(rig.auth.lockout_attempts):
        attempt(rig, email, "not the password", address=f"198.51.100.{number}")
    work = rig.hasher.verified
    for password in ("not the password", PASSWORD):
        with pytest.raises(TooManyAttempts) as caught:
            rig.access.sign_in(email, password, address="203.0.113.1", agent=AGENT)
        assert caught.value.extra["retry_after_s"] == 900
        assert caught.value.detail == "too many attempts to sign in; wait before the next one"
    assert rig.hasher.verified == work
    assert rig.told(DEFAULT_TENANT).count("auth.locked_out") == 1
    rig.clock.advance(900)
    attempt(rig, email, "not the password")


def test_a_lock_holds_in_every_process(rig: Rig) -> None:
    rig.user("viewer")
    processes = [rig.access, rig.process(), rig.process()]
    for number in range(rig.auth.lockout_attempts):
        with pytest.raises(Unauthorized):
            processes[number % 3].sign_in("ada@example.org", "no", address="a", agent="")
    for access in processes:
        with pytest.raises(TooManyAttempts):
            access.sign_in("ada@example.org", PASSWORD, address="a", agent="")


def test_without_the_cache_each_process_counts_for_itself(rig: Rig) -> None:
    rig.user("viewer")
    rig.cache.away = True
    for _ in range(rig.auth.lockout_attempts):
        attempt(rig, "ada@example.org", "not the password")
    with pytest.raises(TooManyAttempts) as caught:
        rig.sign_in()
    assert 0 < caught.value.extra["retry_after_s"] <= 900
    rig.clock.advance(901)
    rig.sign_in()


def test_success_forgets_what_was_wrong_before(rig: Rig) -> None:
    rig.user("viewer")
    for _ in range(5):
        for _ in range(rig.auth.lockout_attempts - 1):
            attempt(rig, "ada@example.org", "a slip", address=ADDRESS)
        rig.sign_in()
        rig.clock.advance(0.1)
        # The address keeps its count: make room for the next round.
        rig.cache.forget("address:" + _address_key(rig))


def _address_key(rig: Rig) -> str:
    (name,) = rig.keys("count:address")
    return name.partition(":count:address:")[2]


def test_an_address_that_tries_many_accounts_is_locked(rig: Rig) -> None:
    for number in range(rig.auth.lockout_address_attempts):
        attempt(rig, f"user{number}@example.org", "not the password")
    rig.user("viewer")
    with pytest.raises(TooManyAttempts):
        rig.sign_in()
    rig.access.sign_in("ada@example.org", PASSWORD, address="203.0.113.9", agent=AGENT)


def test_an_own_account_does_not_buy_more_attempts_at_others(rig: Rig) -> None:
    rig.user("viewer")
    for number in range(rig.auth.lockout_address_attempts):
        attempt(rig, f"user{number}@example.org", "not the password")
        if number % 5 == 0 and number < 49:
            rig.sign_in()
    with pytest.raises(TooManyAttempts):
        rig.sign_in()


def test_good_sign_ins_of_a_whole_office_lock_nobody(rig: Rig) -> None:
    rig.user("viewer")
    for _ in range(3 * rig.auth.lockout_address_attempts):
        rig.sign_in()


@pytest.mark.parametrize(
    "addresses",
    [
        [f"2001:db8:0:1::{n:x}" for n in range(60)],
        [f"2001:db8:0:1:{n:x}::1" for n in range(60)],
        ["::ffff:192.0.2.1", "192.0.2.1"] * 30,
    ],
)
def test_one_household_is_one_address(rig: Rig, addresses: list[str]) -> None:
    for number, address in enumerate(addresses[: rig.auth.lockout_address_attempts]):
        attempt(rig, f"user{number}@example.org", "no", address=address)
    with pytest.raises(TooManyAttempts):
        rig.access.sign_in("x@example.org", "no", address=addresses[-1], agent=AGENT)
    attempt(rig, "x@example.org", "no", address="2001:db8:0:2::1")


def test_a_blocked_address_locks_nobodys_account(rig: Rig) -> None:
    rig.user("viewer")
    for number in range(rig.auth.lockout_address_attempts):
        attempt(rig, f"user{number}@example.org", "not the password")
    for _ in range(2 * rig.auth.lockout_attempts):
        with pytest.raises(TooManyAttempts):
            rig.sign_in(password="not the password")
    rig.access.sign_in("ada@example.org", PASSWORD, address="203.0.113.9", agent=AGENT)


def test_many_at_once_get_no_more_attempts(rig: Rig) -> None:
    rig.user("viewer")
    start, outcomes = threading.Barrier(24), []

    def work(number: int) -> None:
        start.wait()
        try:
            rig.access.sign_in("ada@example.org", f"guess {number}", address=ADDRESS, agent="")
        except (Unauthorized, TooManyAttempts) as error:
            outcomes.append(type(error))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count(Unauthorized) == rig.auth.lockout_attempts
    assert outcomes.count(TooManyAttempts) == 24 - rig.auth.lockout_attempts


class SlowHasher(CountingHasher):
    """Holds every verification until it is let go, and counts how many run."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.lock = threading.Lock()
        self.running = self.most = 0

    def verify(self, hash: str | bytes, password: str | bytes) -> Any:  # noqa: A002
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        self.gate.wait(10)
        with self.lock:
            self.running -= 1
        return super().verify(hash, password)


def test_a_flood_waits_for_its_turn_and_then_is_turned_away() -> None:
    hasher = SlowHasher()
    passwords = Passwords(hasher, at_once=2, waiting=1, patience_s=0.05)
    known = hasher.hash("a")
    entered = [threading.Thread(target=passwords.fits, args=("a", known)) for _ in range(2)]
    for thread in entered:
        thread.start()
    wait_for(lambda: hasher.running == 2, timeout_s=5, what="two verifications")
    with pytest.raises(ServiceUnavailable):
        passwords.fits("a", known)
    hasher.gate.set()
    for thread in entered:
        thread.join()
    assert passwords.fits("a", known)
    assert hasher.most == 2


def test_a_flood_holds_few_threads() -> None:
    hasher = SlowHasher()
    passwords = Passwords(hasher, at_once=1, waiting=1, patience_s=20)
    known = hasher.hash("a")
    held = [threading.Thread(target=passwords.fits, args=("a", known)) for _ in range(2)]
    for thread in held:
        thread.start()
    wait_for(lambda: hasher.running == 1, timeout_s=5, what="a verification")
    wait_for(lambda: not _has_room(passwords), timeout_s=5, what="one that waits")
    # No patience now: whoever comes next is told at once.
    with pytest.raises(ServiceUnavailable):
        passwords.fits("a", known)
    with pytest.raises(ServiceUnavailable):
        passwords.hash("a fine long password")
    hasher.gate.set()
    for thread in held:
        thread.join()
    assert passwords.fits("a", known)
    assert _has_room(passwords)


def _has_room(passwords: Passwords) -> bool:
    if not passwords._door.acquire(blocking=False):
        return False
    passwords._door.release()
    return True


def test_a_hash_of_older_parameters_is_made_anew(rig: Rig) -> None:
    user = rig.user("viewer")
    old = PasswordHasher(time_cost=2, memory_cost=16, parallelism=1).hash(PASSWORD)
    rig.store_password(user.id, old)
    rig.sign_in()
    new = rig.password(user.id)
    assert new != old
    assert not rig.hasher.check_needs_rehash(new)
    rig.sign_in()
    assert rig.password(user.id) == new


def test_a_hash_that_is_none_lets_nobody_in(rig: Rig) -> None:
    user = rig.user("viewer")
    for wrong in ("", "plain", "$argon2id$", "$2b$12$abc", PASSWORD):
        rig.store_password(user.id, wrong)
        attempt(rig, "ada@example.org", PASSWORD)


def test_hashes_are_argon2id_of_the_recommended_strength() -> None:
    made = Passwords().hash("a fine long password")
    assert made.startswith("$argon2id$v=19$m=65536,t=3,p=4$")


@pytest.mark.parametrize(
    "password",
    ["", "short", "a" * 11, "a" * 40, "abab" * 4, "x" * 1025, "é" * 513, "\ud800" * 12,
     "ada-the-first@example.org", "ADA-the-first"],
)  # fmt: skip
def test_a_poor_password_is_refused_and_not_repeated(rig: Rig, password: str) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        rig.user("viewer", email="ada-the-first@example.org", password=password)
    (problem,) = caught.value.problems
    assert (problem.path, problem.code) == ("password", "bad_password")
    assert len(password) < 5 or password not in str(caught.value)
    assert rig.count("users") == 0


def test_a_long_password_counts_to_its_end(rig: Rig) -> None:
    whole = "".join(chr(97 + n % 26) for n in range(1024))
    rig.user("viewer", password=whole)
    rig.sign_in(password=whole)
    attempt(rig, "ada@example.org", whole[:-1] + "!")
    attempt(rig, "ada@example.org", whole[:72])


def test_what_happened_is_told_without_the_password(rig: Rig) -> None:
    user = rig.user("viewer")
    rig.sign_in()
    attempt(rig, "ada@example.org", "a password of mine")
    attempt(rig, "typed-my-password-here", "x")
    assert rig.told(DEFAULT_TENANT) == [
        "auth.sign_in", "auth.sign_in_failed", "auth.sign_in_failed",
    ]  # fmt: skip
    rows = rig.audited()
    assert "a password of mine" not in repr(rows)
    assert "typed-my-password-here" not in repr(rows)
    assert rows[0].principal_id == user.id
    assert [row.address for row in rows] == [ADDRESS] * 3
    assert replace(rows[1], digest=b"").principal == "ada@example.org"
