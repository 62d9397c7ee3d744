"""Socket tickets and CSRF tokens: bound to somebody, and worth nothing to anybody else."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

from orchestrator.errors import ChannelUnavailable, Unauthorized
from orchestrator.models.access.permissions import ADMIN, Permission
from orchestrator.services.access.sign_in.sessions import SignedIn
from tests.integration.access_rig import ADDRESS, Rig
from tests.servers import Servers


@pytest.fixture
def rig(servers: Servers) -> Rig:
    return Rig(servers)


@pytest.fixture
def signed_in(rig: Rig) -> SignedIn:
    rig.user("editor")
    return rig.sign_in()


def session_of(one: SignedIn) -> UUID:
    assert one.principal.session_id is not None
    return one.principal.session_id


def test_csrf_tokens_belong_to_one_session(rig: Rig, signed_in: SignedIn) -> None:
    one, other = session_of(signed_in), session_of(rig.sign_in())
    token = rig.access.csrf_token(one)
    assert rig.access.csrf_fits(one, token)
    assert rig.process().csrf_fits(one, token)
    assert not rig.access.csrf_fits(other, token)
    for bent in ("", token[:-1], token + "A", token.lower(), "\ud800", "A" * 10**6):
        assert not rig.access.csrf_fits(one, bent)
    foreign = rig.process(secret_key="of-somebody-else-9f8e7d6c5b4a39281706")
    assert not foreign.csrf_fits(one, token)


def test_a_ticket_is_good_once(rig: Rig, signed_in: SignedIn) -> None:
    ticket = rig.access.ticket(signed_in.principal)
    assert rig.process().take_ticket(ticket) == signed_in.principal
    for bent in (ticket, "", "zqt_" + "A" * 43, ticket.upper(), signed_in.access_token):
        with pytest.raises(Unauthorized):
            rig.access.take_ticket(bent)


def test_a_ticket_does_not_outlive_its_minute_or_its_owner(rig: Rig, signed_in: SignedIn) -> None:
    late, ended = (rig.access.ticket(signed_in.principal) for _ in range(2))
    rig.clock.advance(59)
    assert rig.access.take_ticket(rig.access.ticket(ADMIN)) == ADMIN
    rig.clock.advance(1)
    with pytest.raises(Unauthorized):
        rig.access.take_ticket(late)
    fresh = rig.access.ticket(signed_in.principal)
    rig.access.sign_out(signed_in.principal)
    for ticket in (ended, fresh):
        with pytest.raises(Unauthorized):
            rig.access.take_ticket(ticket)


def test_what_a_keys_token_opens_ends_with_the_token(rig: Rig) -> None:
    """By header or by ticket, also where the ticket was fetched in its last second."""
    _, key = rig.access.keys.create(ADMIN, name="ci", roles=["operator"])
    few = frozenset({Permission.RUNS_READ})
    tokens = [
        rig.access.exchange_key(key, address=ADDRESS, scopes=scopes).access_token
        for scopes in (None, few)
    ]
    rig.clock.advance(599)
    held = [rig.access.principal_of(token, ADDRESS) for token in tokens]
    held += [rig.access.take_ticket(rig.access.ticket(one)) for one in held]
    late = [rig.access.ticket(one) for one in held[:2]]
    assert [rig.access.still(one) for one in held] == held
    assert [one.permissions == few for one in held] == [False, True] * 2
    rig.clock.advance(1)
    for one in held:
        with pytest.raises(Unauthorized):
            rig.access.still(one)
    for ticket in late:
        with pytest.raises(Unauthorized):
            rig.access.take_ticket(ticket)
    # The key itself is as good as before, and so is what it holds.
    whole = rig.access.principal_of(key, ADDRESS)
    assert rig.access.still(rig.access.take_ticket(rig.access.ticket(whole))) == whole


def test_what_a_user_holds_follows_the_session_and_not_the_token(
    rig: Rig, signed_in: SignedIn
) -> None:
    held = rig.access.principal_of(signed_in.access_token, ADDRESS)
    rig.clock.advance(601)
    with pytest.raises(Unauthorized):
        rig.access.principal_of(signed_in.access_token, ADDRESS)
    assert rig.access.still(held) == held
    rig.access.sign_out(held)
    with pytest.raises(Unauthorized):
        rig.access.still(held)


def test_a_ticket_kept_too_long_is_none(rig: Rig, signed_in: SignedIn) -> None:
    ticket = rig.access.ticket(signed_in.principal)
    (name,) = rig.keys("ticket")
    assert rig.servers.client.pexpire(name, timedelta(days=1))
    rig.clock.advance(60)
    with pytest.raises(Unauthorized):
        rig.access.take_ticket(ticket)


def test_whoever_writes_to_the_cache_becomes_nobody(rig: Rig, signed_in: SignedIn) -> None:
    mine, theirs = rig.access.ticket(signed_in.principal), rig.access.ticket(ADMIN)
    client = rig.servers.client
    one, two = rig.keys("ticket")
    # Another's value below the own ticket, and a forged one.
    swapped = {one: client.get(two), two: client.get(one)}
    for name, value in swapped.items():
        client.set(name, value, keepttl=True)
    for ticket in (mine, theirs):
        with pytest.raises(Unauthorized):
            rig.access.take_ticket(ticket)
    ticket = rig.access.ticket(signed_in.principal)
    (name,) = rig.keys("ticket")
    held = client.get(name)
    forged = held.replace(b'"user"', b'"system"')
    assert forged != held
    client.set(name, forged, keepttl=True)
    with pytest.raises(Unauthorized):
        rig.access.take_ticket(ticket)


def test_without_the_cache_there_are_no_tickets(rig: Rig, signed_in: SignedIn) -> None:
    ticket = rig.access.ticket(signed_in.principal)
    rig.cache.away = True
    with pytest.raises(ChannelUnavailable):
        rig.access.ticket(signed_in.principal)
    with pytest.raises(ChannelUnavailable):
        rig.access.take_ticket(ticket)
