"""Whatever is named by an id goes by how it begins; runs by `last` too."""

from __future__ import annotations

import json

import pytest

from orchestrator.cli.terminal.ids import run_of
from orchestrator.client.discovery import connect
from orchestrator.errors import Conflict, NotFound
from orchestrator.models.ids import DEFAULT_TENANT
from tests.api.conftest import ONE
from tests.cli.place import EMAIL, Place


def started(place: Place) -> str:
    """Start a run and return its id."""
    return str(place.core.engine.execute(DEFAULT_TENANT, ONE).run_id)


def test_a_run_goes_by_how_its_id_begins_in_every_verb(place: Place) -> None:
    run_id = started(place)
    for short in (run_id[:30], run_id[:30].upper(), run_id.replace("-", "")[:25], "last"):
        assert place.told("runs", "get", short)["id"] == run_id
    for verb in ("why", "artifacts", "logs"):
        place.zq("runs", verb, run_id[:30])
    for verb in ("pause", "resume"):
        place.zq("runs", verb, run_id[:30], code=1)
        assert "the run is queued" in place.errors
    assert place.told("runs", "cancel", run_id[:30])[0]["run_id"] == run_id
    assert place.told("runs", "retry", "last")[0]["new_run_id"] != run_id
    words = ("mark", run_id[:30], "a", "--as", "failed")
    place.zq("runs", *words, code=1)
    assert "never moves again" in place.errors


def test_the_last_run_is_the_newest(place: Place) -> None:
    place.zq("runs", "get", "last", code=1)
    assert "no run yet" in place.errors
    started(place)
    newest = started(place)
    assert place.told("runs", "get", "last")["id"] == newest


def test_several_that_fit_are_named(place: Place) -> None:
    ids = [started(place) for _ in range(3)]
    # Made in one minute: the first digits of an id are the time.
    place.zq("runs", "get", ids[0][:7], code=1)
    assert "several ids begin with" in place.errors
    assert all(run_id in place.errors for run_id in ids)
    for _ in range(4):
        started(place)
    place.zq("runs", "get", ids[0][:7], code=1)
    assert ", and more" in place.errors


@pytest.mark.parametrize("text", ["123", "0", "nothing", "ffffffff", "last-one", "é", "-", "01a"])
def test_a_run_that_is_not_there_is_said_to_be_so(place: Place, text: str) -> None:
    started(place)
    with connect() as client, pytest.raises(NotFound, match="there is no run"):
        run_of(client, text)


def test_a_whole_id_is_taken_as_it_is(place: Place) -> None:
    missing = "01a205f1-0bf3-70e4-9786-a3e696e8ed0b"
    with connect() as client:
        assert run_of(client, missing) == missing
    place.zq("runs", "get", missing, code=1)
    assert missing in place.errors


def test_workflows_keys_users_and_tenants_go_by_how_their_ids_begin(place: Place) -> None:
    with connect() as client:
        saved = client.workflows.create(ONE)
    short = saved["id"][:30]
    assert place.told("workflow", "get", short)["id"] == saved["id"]
    place.zq("workflow", "archive", "one")
    assert place.zq("workflow", "activate", short) == "one is published\n"
    assert place.told("runs", "list", "--workflow", short) == []
    assert place.told("run", short)["workflow_id"] == saved["id"]
    user = place.make()
    assert place.told("user", "reset", user["id"][:30])["user"]["email"] == EMAIL
    key = place.told("key", "create", "ci")
    place.zq("workflow", "grants", short, "--give", f"{key['id'][:30]}=viewer")
    assert place.told("key", "rotate", key["id"][:30])["name"] == "ci"
    tenant = place.told("tenant", "list")[0]["id"]
    assert place.told("quota", "list", "--tenant", tenant[:20]) == place.told("quota", "list")
    place.zq("workflow", "get", "12ab", code=1)
    assert "no workflow '12ab'" in place.errors


def test_a_name_comes_before_an_id_that_begins_so(place: Place) -> None:
    with connect() as client:
        first = client.workflows.create(ONE)
        named = client.workflows.create({**ONE, "name": first["id"][:8]})
    assert place.told("workflow", "get", named["name"])["id"] == named["id"]


def test_ids_that_several_have_are_a_conflict(place: Place) -> None:
    ids = [started(place) for _ in range(2)]
    with connect() as client, pytest.raises(Conflict):
        run_of(client, ids[0][:7])


def test_a_quiet_run_prints_its_id_alone(place: Place) -> None:
    with connect() as client:
        client.workflows.create(ONE)
    printed = place.zq("run", "one", "-q")
    assert printed == place.told("runs", "get", "last")["id"] + "\n"
    assert place.errors == ""
    place.zq("run", "one", "-q", "-o", "json", code=2)
    place.zq("run", "one", "-q", "--dry", code=2)


def test_a_followed_quiet_run_prints_no_more(place: Place) -> None:
    with connect() as client:
        client.workflows.create({**ONE, "settings": {"timeout_s": 1}})
    run_id = place.zq("run", "one", "-q").strip()
    place.zq("runs", "cancel", run_id)
    said = place.zq("runs", "watch", run_id, "-o", "json", code=1)
    assert json.loads(said)["state"] == "cancelled"


def test_a_workflow_goes_by_its_name_in_either_form_of_unicode(place: Place) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    with connect() as client:
        saved = client.workflows.create({**ONE, "name": decomposed})
    assert saved["name"] == composed
    for name in (composed, decomposed):
        assert place.told("workflow", "get", name)["id"] == saved["id"]
        assert place.told("run", name)["workflow_id"] == saved["id"]
