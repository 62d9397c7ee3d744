"""Places that requests share: one who is alone has most, and nobody has all."""

from __future__ import annotations

from uuid import UUID, uuid4

from orchestrator.models.access.permissions import Principal, PrincipalKind
from web.access.shares import Shares


def somebody(tenant: UUID) -> Principal:
    return Principal(id=uuid4(), tenant_id=tenant, kind=PrincipalKind.KEY, name="somebody")


def taken(shares: Shares, who: Principal, most: int = 1000) -> int:
    return sum(shares.take(who) for _ in range(most))


def test_one_alone_gets_three_quarters_and_the_next_ones_find_places() -> None:
    shares, tenant = Shares(64), uuid4()
    first, others = somebody(tenant), [somebody(uuid4()) for _ in range(16)]
    assert taken(shares, first) == 48
    assert all(shares.take(other) for other in others)
    assert not shares.take(somebody(uuid4()))
    assert not shares.take(first)


def test_one_tenant_of_many_principals_leaves_places_for_another() -> None:
    shares, crowd = Shares(64), uuid4()
    assert sum(shares.take(somebody(crowd)) for _ in range(100)) == 48
    assert taken(shares, somebody(uuid4()), 1) == 1


def test_what_is_given_back_is_free_and_nobody_is_remembered() -> None:
    shares, who = Shares(4), somebody(uuid4())
    assert taken(shares, who) == 3
    for _ in range(3):
        shares.give_back(who)
    assert taken(shares, who) == 3
    for _ in range(3):
        shares.give_back(who)
    assert not shares._of


def test_a_single_place_is_for_whoever_comes() -> None:
    shares, who = Shares(1), somebody(uuid4())
    assert taken(shares, who) == 1
    shares.give_back(who)
    assert taken(shares, somebody(uuid4())) == 1
