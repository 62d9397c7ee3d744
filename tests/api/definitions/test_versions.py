"""Routes of versions, status, files: what they say, and that each write heeds If-Match."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from tests.api.conftest import ONE, TWO, Api, refused

OTHER: dict[str, Any] = {
    "name": "two",
    "description": "changed",
    "inputs": {"type": "object", "properties": {"n": {"type": "integer"}}},
    "settings": {"timeout_s": 60},
    "nodes": [
        {"id": "a", "type": "noop", "data": {"priority": 9}},
        {"id": "c", "type": "transform", "data": {"config": {"expression": "inputs.n"}}},
    ],
    "edges": [{"source": "a", "target": "c"}],
}


@pytest.fixture
def changed(api: Api) -> str:
    """A workflow with two versions."""
    workflow_id = api.workflow(TWO)
    assert api.put(f"/workflows/{workflow_id}", OTHER).json["version"] == 2
    return workflow_id


def test_versions_come_in_pages(api: Api, changed: str) -> None:
    page = api.get(f"/workflows/{changed}/versions?limit=1").json
    assert [v["version"] for v in page["items"]] == [2]
    rest = api.get(f"/workflows/{changed}/versions?cursor={page['next_cursor']}").json
    assert [v["version"] for v in rest["items"]] == [1]
    assert rest["next_cursor"] is None
    assert set(rest["items"][0]) == {"version", "created_at"}
    refused(api.get(f"/workflows/{uuid4()}/versions"), 404)


def test_a_version_says_the_present_status_and_its_tag_knows(api: Api, changed: str) -> None:
    path = f"/workflows/{changed}/versions/1"
    read = api.get(path)
    assert (read.json["version"], read.json["status"]) == (1, "published")
    tag = {"If-None-Match": read.headers["ETag"]}
    assert api.get(path, headers=tag).status_code == 304
    api.post(f"/workflows/{changed}/archive")
    again = api.get(path, headers=tag)
    assert (again.status_code, again.json["status"]) == (200, "archived")


def test_diff_names_every_change(api: Api, changed: str) -> None:
    found = api.get(f"/workflows/{changed}/diff").json
    assert (found["from"], found["to"]) == (1, 2)
    nodes = {(c["kind"], c["path"]) for c in found["nodes"]}
    assert nodes == {
        ("removed", "nodes.b"),
        ("added", "nodes.c"),
        ("changed", "nodes.a.data.priority"),
    }
    (priority,) = [c for c in found["nodes"] if c["kind"] == "changed"]
    assert (priority["before"], priority["after"]) == (5, 9)
    assert {(c["kind"], c["path"]) for c in found["edges"]} == {
        ("removed", "edges.a->b"),
        ("added", "edges.a->c"),
    }
    assert [(c["path"], c["after"]) for c in found["settings"]] == [("settings.timeout_s", 60)]
    assert [c["path"] for c in found["inputs"]] == ["inputs.type", "inputs.properties"]
    assert [c["path"] for c in found["about"]] == ["description"]
    assert "--- two v1\n+++ two v2\n" in found["text"]
    assert "+description: changed\n" in found["text"]
    back = api.get(f"/workflows/{changed}/diff?from=2&to=1").json
    assert len(back["nodes"]) == len(found["nodes"])
    same = api.get(f"/workflows/{changed}/diff?from=2&to=2").json
    assert (same["nodes"], same["text"]) == ([], "")
    for query, status in (("from=3", 404), ("to=9", 404), ("from=0", 400), ("from=x", 400)):
        refused(api.get(f"/workflows/{changed}/diff?{query}"), status)


def test_rollback_makes_a_new_version(api: Api, changed: str) -> None:
    answer = api.post(f"/workflows/{changed}/rollback", {"version": 1})
    assert (answer.status_code, answer.json["version"]) == (200, 3)
    assert answer.headers["ETag"] == '"3"'
    assert [n["id"] for n in answer.json["nodes"]] == ["a", "b"]
    assert api.post(f"/workflows/{changed}/rollback", {"version": 1}).json["version"] == 3
    refused(api.post(f"/workflows/{changed}/rollback", {"version": 9}), 404)
    for body in ({}, {"version": "1"}, {"version": 1.0}, {"version": True}, {"version": 0}):
        refused(api.post(f"/workflows/{changed}/rollback", body), 422)


def test_archive_and_activate(api: Api, changed: str) -> None:
    answer = api.post(f"/workflows/{changed}/archive")
    assert (answer.status_code, answer.json["status"]) == (200, "archived")
    assert api.get("/workflows").json["items"] == []
    refused(api.post(f"/workflows/{changed}/runs"), 409)
    assert api.post(f"/workflows/{changed}/archive").json["version"] == answer.json["version"]
    taken = api.workflow({**ONE, "name": "two"})
    assert refused(api.post(f"/workflows/{changed}/activate"), 409)["code"] == "name_taken"
    api.call("DELETE", f"/workflows/{taken}")
    answer = api.post(f"/workflows/{changed}/activate")
    assert (answer.status_code, answer.json["status"]) == (200, "published")
    assert api.post(f"/workflows/{changed}/runs").status_code == 202


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "", TWO),
        ("DELETE", "", None),
        ("POST", "/rollback", {"version": 1}),
        ("POST", "/activate", None),
        ("POST", "/archive", None),
    ],
)
def test_every_write_heeds_if_match(
    api: Api, changed: str, method: str, path: str, body: Any
) -> None:
    for tag in ('"1"', '"2:br"', "W/2", '""', "", ":gzip"):
        headers = {"If-Match": tag}
        refused(api.call(method, f"/workflows/{changed}{path}", json=body, headers=headers), 412)
    for tag in ('"2"', '"2:gzip"', '"2:zstd"'):
        if api.get(f"/workflows/{changed}").json["version"] == 2:
            headers = {"If-Match": tag}
            answer = api.call(method, f"/workflows/{changed}{path}", json=body, headers=headers)
            assert answer.status_code in {200, 204}


def test_many_are_activated_and_each_is_told(api: Api, changed: str) -> None:
    api.post(f"/workflows/{changed}/archive")
    missing = str(uuid4())
    items = api.post("/workflows/activate", {"workflow_ids": [changed, missing, changed]}).json[
        "items"
    ]
    assert [i["workflow_id"] for i in items] == [changed, missing]
    assert (items[0]["status"], items[0]["error"]) == ("published", None)
    assert (items[1]["status"], items[1]["error"]["code"]) == (None, "not_found")
    for body in ({}, {"workflow_ids": []}, {"workflow_ids": ["x"]}, {"workflow_ids": changed}):
        refused(api.post("/workflows/activate", body), 422)
    refused(api.post("/workflows/activate", {"workflow_ids": [missing] * 201}), 422)


def test_a_workflow_is_found_by_its_exact_name(api: Api, changed: str) -> None:
    api.workflow({**ONE, "name": "two more"})
    assert [w["id"] for w in api.get("/workflows?name=two").json["items"]] == [changed]
    assert api.get("/workflows?name=tw").json == {"items": [], "next_cursor": None}


def test_what_is_exported_is_imported_again(api: Api, changed: str) -> None:
    yaml = api.get(f"/workflows/{changed}/export")
    assert yaml.content_type == "application/yaml; charset=utf-8"
    assert yaml.headers["Content-Disposition"] == 'attachment; filename="two.yaml"'
    german = api.workflow({**ONE, "name": 'Grüße "a"'})
    assert api.get(f"/workflows/{german}/export").headers["Content-Disposition"] == (
        "attachment; filename=\"Gr__e _a_.yaml\"; filename*=UTF-8''Gr%C3%BC%C3%9Fe%20%22a%22.yaml"
    )
    json = api.get(f"/workflows/{changed}/export?format=json")
    assert json.headers["ETag"] != yaml.headers["ETag"]
    for answer in (yaml, json):
        tag = {"If-None-Match": answer.headers["ETag"]}
        again = api.get(answer.request.path.removeprefix("/api/v1"), headers=tag)
        assert again.status_code in {200, 304}
    media = "application/yaml"
    path = "/workflows/import"
    refused(api.call("POST", path, data=yaml.data, content_type=media), 409)
    same = api.call("POST", f"{path}?update=true", data=yaml.data, content_type=media)
    assert (same.status_code, same.json["version"]) == (200, 2)
    text = yaml.text.replace("name: two", "name: three")
    new = api.call("POST", f"{path}?update=true", data=text, content_type="text/yaml")
    assert (new.status_code, new.json["name"], new.json["version"]) == (201, "three", 1)
    assert new.headers["Location"] == f"/api/v1/workflows/{new.json['id']}"
    document = {**json.json, "name": "four", "status": "draft"}
    answer = api.post(path, document)
    assert (answer.status_code, answer.json["status"]) == (201, "draft")
    stale = {"If-Match": '"1"'}
    refused(api.post(f"{path}?update=true", {**TWO, "name": "two"}, headers=stale), 412)
    assert api.post(f"{path}?update=true", {**TWO, "name": "two"}).json["version"] == 3


def test_an_import_is_idempotent(api: Api) -> None:
    headers = {"Idempotency-Key": "once"}
    one = api.post("/workflows/import", TWO, headers=headers)
    two = api.post("/workflows/import", TWO, headers=headers)
    assert one.json["id"] == two.json["id"]


@pytest.mark.parametrize(
    ("text", "statuses"),
    [
        (b"a: &x [1]\nb: *x", (422,)),
        (b"!!python/object/apply:os.system ['true']", (422,)),
        (b"name: [", (422,)),
        (b"a: 1\na: 2", (422,)),
        (b"", (422,)),
        (b"[]", (422,)),
        (b"x" * 60_000, (422,)),
        (b"[" * 5_000, (422,)),
        (b"name: a\x00b", (400,)),
        (b"name: \xff", (400,)),
        (b"\xef\xbb\xbfname: x", (400,)),
        (b"name: x\nnodes: {a: {type: nope}}", (422,)),
        (b"a: x\n" * 20_000, (413,)),
    ],
)
def test_d11_hostile_yaml(api: Api, text: bytes, statuses: tuple[int, ...]) -> None:
    answer = api.call("POST", "/workflows/import", data=text, content_type="application/yaml")
    refused(answer, *statuses)
    assert api.stored() == (0, 0)


@pytest.mark.parametrize("media", ["text/plain", "application/octet-stream", ""])
def test_other_media_are_refused(api: Api, media: str) -> None:
    refused(api.call("POST", "/workflows/import", data=b"name: x", content_type=media), 415)
    refused(api.call("POST", "/workflows", data=b"name: x", content_type="text/yaml"), 415)


def test_archived_workflows_are_listed_where_they_are_asked_for(api: Api, changed: str) -> None:
    api.post(f"/workflows/{changed}/archive")
    draft = api.post("/workflows", {**ONE, "name": "new", "status": "draft"}).json["id"]

    def listed(query: str) -> list[str]:
        return [w["id"] for w in api.get(f"/workflows?{query}").json["items"]]

    assert listed("") == listed("status=draft") == [draft]
    assert listed("status=archived") == [changed]
    assert listed("status=archived&status=draft") == [draft, changed]
    assert listed("name=two") == []
    assert listed("name=two&status=archived") == [changed]
    refused(api.get("/workflows?status=gone"), 400)


def test_an_import_brings_the_newest_archived_one_of_its_name_back(api: Api, changed: str) -> None:
    api.post(f"/workflows/{changed}/archive")
    newest = api.workflow(TWO)
    api.post(f"/workflows/{newest}/archive")
    for body, version in ((TWO, 3), (OTHER, 4)):
        answer = api.post("/workflows/import?update=true", body)
        assert (answer.status_code, answer.json["id"]) == (200, newest)
        assert (answer.json["status"], answer.json["version"]) == ("published", version)
    for _ in range(2):
        gone = api.post("/workflows/import?update=true", {**OTHER, "status": "archived"}).json
        assert (gone["status"], gone["version"]) == ("archived", 5)


def test_an_export_of_a_draft_makes_a_draft(api: Api) -> None:
    saved = api.post("/workflows", {**TWO, "status": "draft"}).json["id"]
    yaml = api.get(f"/workflows/{saved}/export").text
    json = api.get(f"/workflows/{saved}/export?format=json").json
    assert (yaml.count("status: draft"), json["status"]) == (1, "draft")
    api.call("DELETE", f"/workflows/{saved}")
    headers = {"Content-Type": "application/yaml"}
    for body in ({"data": yaml, "headers": headers}, {"json": json}):
        made = api.call("POST", "/workflows/import", **body).json
        assert made["status"] == "draft"
        api.post(f"/workflows/{made['id']}/activate")
        assert "status" not in api.get(f"/workflows/{made['id']}/export").text
        api.call("DELETE", f"/workflows/{made['id']}")


@pytest.mark.parametrize("number", [9007199254740993, 18446744073709551616, 10**30])
@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}])
def test_a_number_that_json_readers_change_is_refused_at_every_door(
    api: Api, number: int, headers: dict[str, str]
) -> None:
    config = f"{{url: 'https://x.org/', json: {number}}}"
    text = f"name: big\nnodes: {{a: {{type: http, config: {config}}}}}"
    media = "application/yaml"
    answer = api.call(
        "POST", "/workflows/import", data=text.encode(), content_type=media, headers=headers
    )
    found = refused(answer, 422)["problems"]
    assert [(p["path"], p["code"]) for p in found] == [
        ("nodes[0].data.config.json", "integer_too_large")
    ]
    data = {"config": {"url": "https://x.org/", "json": number}}
    body = {"name": "big", "nodes": [{"id": "a", "type": "http", "data": data}]}
    for path in ("/workflows", "/workflows/import", "/workflows/validate"):
        found = refused(api.post(path, body, headers=headers), 400)["problems"]
        assert [p["code"] for p in found] == ["integer_too_large"]


def test_a_name_is_found_in_whichever_form_it_is_typed(api: Api) -> None:
    typed, kept = "caf\u0065\u0301-nfd", "caf\u00e9-nfd"
    text = f"name: {typed}\nnodes: {{a: noop}}".encode()
    media = "application/yaml"
    first = api.call("POST", "/workflows/import", data=text, content_type=media)
    assert (first.status_code, first.json["name"]) == (201, kept)
    again = api.call("POST", "/workflows/import?update=true", data=text, content_type=media)
    assert (again.status_code, again.json["version"]) == (200, 1)
    for query in ("name", "q"):
        listed = api.get(f"/workflows?{query}={quote(typed)}").json["items"]
        assert [row["name"] for row in listed] == [kept]
    body = {**ONE, "name": typed}
    assert refused(api.post("/workflows", body), 409)["code"] == "name_taken"
