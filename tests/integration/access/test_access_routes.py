"""The routes of access, and grants, on Postgres and Redis: as `zq_api`, under row security.

What they do is in `tests/api`; here the same tests meet row security and real transactions.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest

from orchestrator.adapters.memory.dispatch import MemoryDispatcher
from orchestrator.adapters.memory.runtime import MemoryArtifacts
from orchestrator.bootstrap import core as bootstrap
from orchestrator.bootstrap.core import Core
from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.settings import Auth, Database, Redis, Settings
from tests.api.access import test_access_grants as grants
from tests.api.access import test_access_people as people
from tests.api.access import test_access_routes as routes
from tests.api.conftest import KEY
from tests.api.people import Person, Site, unlimited
from tests.conftest import Databases
from tests.contract.rigs import PostgresRig
from tests.factories import SECRET_KEY, quick_passwords
from web.app import create_app

admin, owner, shared = people.admin, people.owner, grants.shared

test_a_user = people.test_a_user_from_beginning_to_end
test_pages_of_users = people.test_users_are_paged_in_the_order_they_were_made
test_an_address = people.test_an_address_is_known_once
test_a_disabled_user = people.test_a_disabled_user_is_out_and_may_come_back
test_the_last_owner = people.test_a_tenant_keeps_its_last_owner
test_a_reset = people.test_a_reset_sets_another_password
test_a_key = people.test_a_key_from_beginning_to_end
test_a_key_once = people.test_a_key_is_made_once_for_an_idempotency_key
test_a_keys_limits = people.test_a_key_may_no_more_than_whoever_makes_it
test_a_role = people.test_a_role_from_beginning_to_end
test_a_tenant = people.test_a_tenant_from_beginning_to_end
test_lists = grants.test_lists_show_what_is_granted_and_nothing_else
test_pages = grants.test_pages_of_a_narrowed_list_are_full
test_not_there = grants.test_what_may_not_be_read_is_not_there
test_forbidden = grants.test_what_may_be_read_but_not_done_is_forbidden
test_many = grants.test_many_at_once_reach_only_what_is_granted
test_all_or_nothing = grants.test_grants_are_put_together_or_not_at_all
test_another_tenants = grants.test_somebody_of_another_tenant_is_given_nothing
test_refresh = routes.test_a_refresh_token_is_good_once
test_signing_out = routes.test_signing_out_ends_this_session_and_no_other
test_sessions = routes.test_all_sessions_can_be_ended
test_a_password = routes.test_a_password_is_changed_by_whoever_knows_it
test_an_invitation = routes.test_an_invitation_is_taken_once
test_a_browser = routes.test_a_browser_keeps_its_tokens_where_no_script_reads


@pytest.fixture(scope="module")
def parts(databases: Databases, redis_server_url: str) -> Iterator[tuple[Core, Core, PostgresRig]]:
    """A core as the engine, one as a web process, and what empties their database."""
    rig = PostgresRig(databases.migrated(), pool_size=1)
    settings = Settings(
        auth=Auth(admin_key=KEY, secret_key=SECRET_KEY),
        database=Database(url=rig.url),
        redis=Redis(url=redis_server_url, prefix=f"zq-{uuid4().hex}:", timeout_s=2.0),
    )
    engine, web = (_core(settings, role) for role in ("zq_engine", "zq_api"))
    yield engine, unlimited(web), rig
    for core in (engine, web):
        core.store.close()
    rig.close()


@pytest.fixture
def site(parts: tuple[Core, Core, PostgresRig]) -> Site:
    """A web process as `zq_api`; what tests make beside it is made as the engine."""
    engine, web, rig = parts
    rig.run("DELETE FROM workflow_grants; DELETE FROM users; DELETE FROM api_keys")
    rig.run("DELETE FROM roles; DELETE FROM idempotency_keys")
    rig.empty()
    # The audit log keeps the tenants of other tests; only their names are in the way.
    rig.run("UPDATE tenants SET name = id::text WHERE id <> %s", DEFAULT_TENANT)
    return Site(engine, create_app(web))


def _core(settings: Settings, role: str) -> Core:
    return bootstrap.build(
        settings, role=role, pool_size=10, dispatcher=MemoryDispatcher(),
        artifacts=MemoryArtifacts(), passwords=quick_passwords(),
    )  # fmt: skip


def test_what_is_refused_halfway_leaves_nothing(owner: Person) -> None:
    """A key whose Idempotency-Key was taken, and that then could not be made."""
    header = {"Idempotency-Key": str(uuid4())}
    bad = {"name": "k", "roles": ["nothing"]}
    assert owner.post("/api-keys", bad, headers=header).status_code == 422
    assert owner.get("/api-keys").json["items"] == []
    good = {"name": "k", "roles": ["viewer"]}
    assert owner.post("/api-keys", good, headers=header).status_code == 201


def test_one_idempotency_key_makes_one_key_however_many_ask_at_once(owner: Person) -> None:
    header = {"Idempotency-Key": str(uuid4())}
    body = {"name": "k", "roles": ["viewer"]}

    def make(_: int) -> int:
        return owner.post("/api-keys", body, headers=header).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(make, range(24)))
    assert statuses == [201, *[409] * 23]
    assert len(owner.get("/api-keys").json["items"]) == 1


def test_two_owners_who_leave_at_once_are_not_both_gone(owner: Person) -> None:
    second = owner.site.signed_in("second", "owner")
    leaving = [(owner, second.id), (second, owner.id)]

    def remove(who: tuple[Person, UUID]) -> int:
        return who[0].delete(f"/users/{who[1]}").status_code

    with ThreadPoolExecutor(2) as pool:
        statuses = sorted(pool.map(remove, leaving))
    # Whoever comes second is gone, or finds that nobody else is left.
    assert statuses[0] == 204
    assert statuses[1] in {401, 403, 409}
