"""Row R1 within a tenant: whoever has grants on single workflows sees and reaches those alone."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from orchestrator.models.access.permissions import ADMIN
from tests.api.conftest import ONE, Api, refused
from tests.api.people import Person, Site, make_site
from tests.servers import Servers


class Shared:
    """Two workflows with a run each; ada may operate the first, bea has no grant at all."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.api = Api(self.site.app.test_client(), self.site.core)
        self.mine, self.mine_run = self._workflow("mine")
        self.other, self.other_run = self._workflow("other")
        self.ada: Person = self.site.signed_in("ada")
        self.bea: Person = self.site.signed_in("bea")
        self.grant(self.mine, (self.ada, "operator"))

    def _workflow(self, name: str) -> tuple[str, str]:
        workflow = self.api.workflow({**ONE, "name": name})
        run = self.api.post(f"/workflows/{workflow}/runs", {}).json["id"]
        claim = self.api.claims(UUID(run))[0]
        self.api.settle(claim, {}, says=(("INFO", f"said by {name}"),))
        return workflow, run

    def grant(self, workflow: str, *roles: tuple[Person, str]) -> Any:
        """Say who has which role on a workflow."""
        items = [{"principal_id": str(who.id), "role": role} for who, role in roles]
        answer = self.api.put(f"/workflows/{workflow}/grants", {"items": items})
        assert answer.status_code == 200, answer.text
        return answer.json


@pytest.fixture
def site(servers: Servers) -> Site:
    return make_site(servers)


@pytest.fixture
def shared(site: Site) -> Shared:
    return Shared(site)


def ids(answer: Any, name: str = "id") -> list[str]:
    assert answer.status_code == 200, answer.text
    return [item[name] for item in answer.json["items"]]


def test_lists_show_what_is_granted_and_nothing_else(shared: Shared) -> None:
    ada = shared.ada
    assert ids(ada.get("/workflows")) == [shared.mine]
    assert ids(ada.get("/workflows?name=mine")) == [shared.mine]
    assert ids(ada.get("/workflows?name=other")) == []
    assert ids(ada.get("/workflows?q=o")) == []
    assert ids(ada.get("/runs")) == [shared.mine_run]
    assert ids(ada.get(f"/runs?workflow_id={shared.other}")) == []
    for answer in (
        ada.get("/logs/history"), ada.post("/logs/query", {}),
        ada.post("/logs/query", {"run_ids": [shared.mine_run, shared.other_run]}),
    ):  # fmt: skip
        assert set(ids(answer, "run_id")) == {shared.mine_run}
        assert "said by other" not in answer.text
    assert ids(ada.get(f"/logs/history?run_id={shared.other_run}"), "run_id") == []
    assert ids(ada.post("/logs/query", {"workflow_id": shared.other}), "run_id") == []


def test_pages_of_a_narrowed_list_are_full(shared: Shared) -> None:
    for number in range(3):
        shared.api.workflow({**ONE, "name": f"between {number}"})
    last = shared.api.workflow({**ONE, "name": "last"})
    shared.grant(last, (shared.ada, "viewer"))
    first = shared.ada.get("/workflows?limit=1")
    assert ids(first) == [last]
    second = shared.ada.get(f"/workflows?limit=1&cursor={first.json['next_cursor']}")
    assert (ids(second), second.json["next_cursor"]) == ([shared.mine], None)


def test_whoever_has_nothing_sees_no_list(shared: Shared) -> None:
    for path in ("/workflows", "/runs", "/logs/history"):
        refused(shared.bea.get(path), 403)
    for path in ("/runs/cancel", "/runs/retry", "/workflows/activate", "/workflows/execute"):
        refused(shared.bea.post(path, {}), 403)


def test_what_may_not_be_read_is_not_there(shared: Shared) -> None:
    """The same words as for an id that nobody has."""
    paths = ("/workflows/{w}", "/workflows/{w}/versions", "/workflows/{w}/export", "/runs/{r}",
             "/workflows/{w}/history", "/runs/{r}/tasks", "/runs/{r}/events", "/runs/{r}/logs",
             "/runs/{r}/artifacts", "/runs/{r}/why", "/runs/{r}/timeline")  # fmt: skip
    for path in paths:
        assert shared.ada.get(path.format(w=shared.mine, r=shared.mine_run)).status_code == 200
        there = refused(shared.ada.get(path.format(w=shared.other, r=shared.other_run)), 404)
        nobody = UUID(int=7)
        nowhere = refused(shared.ada.get(path.format(w=nobody, r=nobody)), 404)
        told = there["detail"].replace(shared.other, "ID").replace(shared.other_run, "ID")
        assert told == nowhere["detail"].replace(str(nobody), "ID")


def test_what_may_be_read_but_not_done_is_forbidden(shared: Shared) -> None:
    ada, definition = shared.ada, {**ONE, "name": "mine"}
    refused(ada.put(f"/workflows/{shared.mine}", definition), 403)
    refused(ada.delete(f"/workflows/{shared.mine}"), 403)
    refused(ada.put(f"/workflows/{shared.mine}/grants", {"items": []}), 403)
    refused(ada.get(f"/workflows/{shared.mine}/grants"), 403)
    refused(ada.put(f"/workflows/{shared.other}", definition), 404)
    refused(ada.delete(f"/workflows/{shared.other}"), 404)
    refused(ada.get(f"/workflows/{shared.other}/grants"), 404)
    refused(ada.post("/workflows", definition), 403)
    refused(ada.post("/workflows/import", definition), 403)
    refused(ada.post("/workflows/validate", definition), 403)


def test_what_is_granted_can_be_done(shared: Shared) -> None:
    ada = shared.ada
    assert ada.post(f"/workflows/{shared.mine}/runs", {}).status_code == 202
    answer = ada.post("/workflows/execute", {"workflow_id": shared.mine})
    assert answer.status_code == 202
    assert ada.post(f"/runs/{answer.json['id']}/cancel").status_code == 202
    refused(ada.post(f"/workflows/{shared.other}/runs", {}), 404)
    refused(ada.post("/workflows/execute", {"workflow_id": shared.other}), 404)
    refused(ada.post("/workflows/execute", {"definition": ONE}), 403)
    refused(ada.post(f"/runs/{shared.other_run}/retry", {}), 404)


def test_many_at_once_reach_only_what_is_granted(shared: Shared) -> None:
    begun = {
        name: shared.api.post(f"/workflows/{workflow}/runs", {}).json["id"]
        for name, workflow in (("mine", shared.mine), ("other", shared.other))
    }
    answer = shared.ada.post("/runs/cancel", {"trigger": "api"})
    assert ids(answer, "run_id") == [begun["mine"]]
    assert shared.api.get(f"/runs/{begun['other']}").json["state"] != "cancelled"
    answer = shared.ada.post("/runs/retry", {"state": ["succeeded"], "dry": True})
    assert ids(answer, "run_id") == [shared.mine_run]
    named = shared.ada.post("/runs/cancel", {"workflow_id": shared.other})
    assert ids(named, "run_id") == []


def test_whoever_may_only_steer_starts_nothing_again(shared: Shared) -> None:
    roles = shared.site.core.access.roles
    roles.create(ADMIN, name="stopper", permissions=["runs:read", "runs:steer"])
    roles.create(ADMIN, name="starter", permissions=["runs:read", "runs:start"])
    shared.grant(shared.mine, (shared.ada, "stopper"))
    shared.grant(shared.other, (shared.ada, "starter"))
    refused(shared.ada.post(f"/runs/{shared.mine_run}/retry", {}), 403)
    refused(shared.ada.post(f"/runs/{shared.other_run}/cancel"), 403)
    answer = shared.ada.post("/runs/retry", {"state": ["succeeded"]})
    assert ids(answer, "run_id") == [shared.other_run]
    assert shared.ada.post(f"/runs/{shared.other_run}/retry", {}).status_code == 202


def test_one_foreign_id_among_many_is_refused(shared: Shared) -> None:
    shared.grant(shared.mine, (shared.ada, "editor"))
    wanted = [shared.mine, shared.other, str(UUID(int=7))]
    answer = shared.ada.post("/workflows/activate", {"workflow_ids": wanted})
    mine, other, nowhere = answer.json["items"]
    assert mine["status"] == "published"
    assert other["error"]["code"] == nowhere["error"]["code"] == "not_found"
    told = other["error"]["message"].replace(shared.other, "ID")
    assert told == nowhere["error"]["message"].replace(wanted[2], "ID")


def test_a_grant_that_is_taken_away_is_gone_at_once(shared: Shared) -> None:
    shared.grant(shared.mine)
    refused(shared.ada.get(f"/workflows/{shared.mine}"), 403)
    refused(shared.ada.get("/runs"), 403)
    shared.grant(shared.mine, (shared.bea, "viewer"))
    assert shared.bea.get(f"/workflows/{shared.mine}").status_code == 200


def test_grants_are_listed_with_a_tag(shared: Shared) -> None:
    path = f"/workflows/{shared.mine}/grants"
    answer = shared.api.get(path)
    assert [set(item) for item in answer.json["items"]] == [{"principal_id", "role", "created_at"}]
    assert answer.headers["Cache-Control"] == "no-store"
    tag = answer.headers["ETag"]
    assert shared.api.get(path, headers={"If-None-Match": tag}).status_code == 304
    body = {"items": [{"principal_id": str(shared.bea.id), "role": "viewer"}]}
    changed = shared.api.put(path, body, headers={"If-Match": tag})
    assert changed.headers["ETag"] != tag
    refused(shared.api.put(path, {"items": []}, headers={"If-Match": tag}), 412)
    assert shared.api.get(path).json == changed.json


def test_grants_are_put_together_or_not_at_all(shared: Shared) -> None:
    path = f"/workflows/{shared.mine}/grants"
    before = shared.api.get(path).json
    bea = {"principal_id": str(shared.bea.id), "role": "editor"}
    for second, status in (
        ({"principal_id": str(uuid4()), "role": "viewer"}, 404),
        ({"principal_id": str(shared.ada.id), "role": "nothing"}, 422),
        ({**bea, "role": "viewer"}, 422),
        ({**bea, "tenant_id": str(uuid4())}, 422),
        ({"principal_id": "x", "role": "viewer"}, 422),
    ):
        refused(shared.api.put(path, {"items": [bea, second]}), status)
        assert shared.api.get(path).json == before
    refused(shared.api.put(path, {"items": [bea] * 201}), 422)
    refused(shared.api.put(f"/workflows/{uuid4()}/grants", {"items": [bea]}), 404)


def test_somebody_of_another_tenant_is_given_nothing(shared: Shared) -> None:
    tenant = shared.site.core.access.tenants.create(ADMIN, name="elsewhere").id
    eve = shared.site.signed_in("eve", "owner", tenant_id=tenant)
    body = {"items": [{"principal_id": str(eve.id), "role": "viewer"}]}
    refused(shared.api.put(f"/workflows/{shared.mine}/grants", body), 404)
    refused(eve.put(f"/workflows/{shared.mine}/grants", {"items": []}), 404)
    refused(eve.get(f"/workflows/{shared.mine}/grants"), 404)


def test_a_key_is_granted_as_a_user_is(shared: Shared) -> None:
    record, key = shared.site.core.access.keys.create(ADMIN, name="key", roles=[])
    refused(shared.site.send("GET", "/workflows", key), 403)
    body = {"items": [{"principal_id": str(record.id), "role": "viewer"}]}
    assert shared.api.put(f"/workflows/{shared.mine}/grants", body).status_code == 200
    assert ids(shared.site.send("GET", "/workflows", key)) == [shared.mine]


def test_whoever_may_not_read_log_lines_reads_none_among_events(shared: Shared) -> None:
    """Nor with a grant; the other frames are whole, and no `seq` is missing."""
    core = shared.site.core
    core.access.roles.create(ADMIN, name="follower", permissions=["runs:read"])
    _, scoped = core.access.keys.create(ADMIN, name="k", roles=["viewer"], scopes=["runs:read"])
    shared.grant(shared.mine, (shared.ada, "operator"), (shared.bea, "follower"))
    path = f"/runs/{shared.mine_run}"
    whole = shared.ada.get(f"{path}/events").json["items"]
    line = next(frame for frame in whole if frame["kind"] == "log")
    assert line["message"] == "said by mine"
    for token in (shared.bea.access_token, scoped):
        refused(shared.site.send("GET", f"{path}/logs", token), 403)
        answer = shared.site.send("GET", f"{path}/events", token)
        assert "said by" not in answer.text
        hidden = {name: value for name, value in line.items() if name not in {"level", "message"}}
        assert answer.json["items"] == [
            {**hidden, "withheld": True} if frame is line else frame for frame in whole
        ]


def test_the_api_says_what_is_granted(shared: Shared) -> None:
    me = shared.ada.get("/auth/me").json
    assert me["permissions"] == []
    assert [one["workflow_id"] for one in me["grants"]] == [shared.mine]
    assert "runs:steer" in me["grants"][0]["permissions"]
    assert "workflows:write" not in me["grants"][0]["permissions"]
