"""A request that succeeds for each route that changes something, and what it must leave recorded.

The test walks the application's own map: a route that is not here fails it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.api.conftest import ONE
from tests.factories import new_id

PASSWORD = "correct horse battery"


@dataclass
class Caller:
    """Calls the API as somebody."""

    client: FlaskClient
    key: str
    #: Makes a run go on, as a worker does.
    begin: Callable[[UUID], None]

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        token: str | None = None,
        form: Mapping[str, str] | None = None,
    ) -> Any:
        """Send a request below /api/v1; a token of "" is none."""
        key = self.key if token is None else token
        return self.client.open(
            f"/api/v1{path}", method=method, json=body, data=form,
            headers={"Authorization": f"Bearer {key}"} if key else {},
        )  # fmt: skip

    def made(self, path: str, body: Any = None, token: str | None = None) -> Mapping[str, Any]:
        """Send a POST that must succeed; return what it answers."""
        answer = self.call("POST", path, body, token)
        assert answer.status_code < 300, answer.text
        found: Mapping[str, Any] = answer.get_json()
        return found

    def workflow(self) -> str:
        """Make a workflow."""
        return str(self.made("/workflows", {**ONE, "name": f"w{new_id().hex}"})["id"])

    def run(self, workflow_id: str | None = None) -> str:
        """Start a run."""
        return str(self.made(f"/workflows/{workflow_id or self.workflow()}/runs", {})["id"])

    def user(self) -> tuple[str, str]:
        """Make a user; return its id and its address."""
        email = f"{new_id().hex}@example.org"
        body = {"email": email, "name": "Ada", "roles": ["editor"], "password": PASSWORD}
        return str(self.made("/users", body)["id"]), email

    def signed_in(self) -> tuple[Mapping[str, Any], str]:
        """Make a user who signs in; return the answer and the user's id."""
        user_id, email = self.user()
        return self.made("/auth/login", {"email": email, "password": PASSWORD}, ""), user_id

    def role(self) -> str:
        """Make a role."""
        body = {"name": f"r{new_id().hex}", "description": "", "permissions": ["runs:read"]}
        return str(self.made("/roles", body)["name"])

    def key_id(self) -> str:
        """Make an API key."""
        return str(self.made("/api-keys", {"name": "k", "roles": ["viewer"]})["id"])

    def tenant(self) -> str:
        """Make a tenant."""
        return str(self.made("/tenants", {"name": f"t{new_id().hex}"})["id"])

    def put(self, kind: str) -> str:
        """Set a secret or a variable."""
        name = f"n{new_id().hex}"
        assert self.call("PUT", f"/{kind}/{name}", {"value": "a value"}).status_code < 300
        return name


#: What is recorded: a resource and its id, which may also be found in the answer.
Left = tuple[str, str | Callable[[TestResponse], str]]


@dataclass
class Case:
    """A request that succeeds."""

    method: str
    path: str
    body: Any = None
    #: Whose token; None: the admin key's.
    token: str | None = None
    #: One for each entry.
    leaves: list[Left] = field(default_factory=list)
    #: Of the entry, where it is not the endpoint's name.
    action: str = ""
    #: The principal's id, where it is not the admin key's; "" for none.
    who: str | None = None
    form: Mapping[str, str] | None = None


def _new(name: str = "id") -> Callable[[TestResponse], str]:
    def find(answer: TestResponse) -> str:
        found = answer.get_json()
        for part in name.split("."):
            found = found[part]
        return str(found)

    return find


def _workflow(verb: str, body: Any = None) -> Callable[[Caller], Case]:
    def case(call: Caller) -> Case:
        one = call.workflow()
        return Case("POST", f"/workflows/{one}{verb}", body, leaves=[("workflow", one)])

    return case


def _archived(call: Caller) -> str:
    one = call.workflow()
    call.made(f"/workflows/{one}/archive")
    return one


def _rolled_back(call: Caller) -> Case:
    one = call.workflow()
    changed = {**ONE, "name": f"w{new_id().hex}", "description": "two"}
    assert call.call("PUT", f"/workflows/{one}", changed).status_code == 200
    return Case("POST", f"/workflows/{one}/rollback", {"version": 1}, leaves=[("workflow", one)])


def _changed(call: Caller) -> Case:
    one = call.workflow()
    body = {**ONE, "name": f"w{new_id().hex}", "description": "two"}
    return Case("PUT", f"/workflows/{one}", body, leaves=[("workflow", one)])


def _many_activated(call: Caller) -> Case:
    both = [_archived(call), _archived(call)]
    return Case("POST", "/workflows/activate", {"workflow_ids": both},
                leaves=[("workflow", one) for one in both])  # fmt: skip


def _steered(verb: str, *before: str) -> Callable[[Caller], Case]:
    def case(call: Caller) -> Case:
        run_id = call.run()
        call.begin(UUID(run_id))
        for one in before:
            call.made(f"/runs/{run_id}/{one}")
        return Case("POST", f"/runs/{run_id}/{verb}", leaves=[("run", run_id)])

    return case


def _marked(call: Caller) -> Case:
    run_id = call.run()
    call.begin(UUID(run_id))
    path = f"/runs/{run_id}/tasks/a/mark"
    return Case("POST", path, {"state": "succeeded"}, leaves=[("task", f"{run_id}/a")])


def _many_cancelled(call: Caller) -> Case:
    one = call.workflow()
    runs = [call.run(one), call.run(one)]
    return Case("POST", "/runs/cancel", {"workflow_id": one}, leaves=[("run", r) for r in runs])


def _retried(call: Caller) -> Case:
    run_id = call.run()
    call.made(f"/runs/{run_id}/cancel")
    return Case("POST", f"/runs/{run_id}/retry", {}, leaves=[("run", _new())])


def _many_retried(call: Caller) -> Case:
    one = call.workflow()
    call.made(f"/runs/{call.run(one)}/cancel")
    return Case("POST", "/runs/retry", {"workflow_id": one}, leaves=[("run", "*")])


def _user(method: str, rest: str = "", body: Any = None) -> Callable[[Caller], Case]:
    def case(call: Caller) -> Case:
        user_id, _ = call.user()
        return Case(method, f"/users/{user_id}{rest}", body, leaves=[("user", user_id)])

    return case


def _own(method: str, path: str, body: Any, *leaves: str) -> Callable[[Caller], Case]:
    """A signed-in user's own affair; `leaves` are kinds of its own things."""

    def case(call: Caller) -> Case:
        signed, user_id = call.signed_in()
        told: list[Left] = [(kind, user_id if kind == "user" else "*") for kind in leaves]
        return Case(method, path, body, signed["access_token"], told, who=user_id)

    return case


def _login(call: Caller) -> Case:
    user_id, email = call.user()
    return Case("POST", "/auth/login", {"email": email, "password": PASSWORD}, "",
                [("session", "*")], "auth.sign_in", user_id)  # fmt: skip


def _refresh(call: Caller) -> Case:
    signed, _ = call.signed_in()
    return Case("POST", "/auth/refresh", {"refresh_token": signed["refresh_token"]}, "")


def _exchanged(call: Caller) -> Case:
    made = call.made("/api-keys", {"name": "k", "roles": ["viewer"]})
    client, _, secret = made["key"].removeprefix("zqk_").partition("_")
    form = {"grant_type": "client_credentials", "client_id": client,
            "client_secret": secret}  # fmt: skip
    return Case("POST", "/oauth/token", None, "", [("api_key", made["id"])],
                "auth.key_exchanged", made["id"], form)  # fmt: skip


def _accept(call: Caller) -> Case:
    email = f"{new_id().hex}@example.org"
    made = call.made("/users/invite", {"email": email, "name": "Eve", "roles": ["viewer"]})
    body = {"token": made["token"], "password": PASSWORD}
    user_id = made["user"]["id"]
    told = "auth.invitation_accepted"
    return Case("POST", "/auth/accept", body, "", [("user", user_id)], told, user_id)


def _named(kind: str, method: str) -> Callable[[Caller], Case]:
    def case(call: Caller) -> Case:
        name = call.put(kind)
        body = {"value": "another value"} if method == "PUT" else None
        return Case(method, f"/{kind}/{name}", body, leaves=[(kind.removesuffix("s"), "*")])

    return case


def _grants(call: Caller) -> Case:
    (user_id, _), one = call.user(), call.workflow()
    body = {"items": [{"principal_id": user_id, "role": "operator"}]}
    return Case("PUT", f"/workflows/{one}/grants", body, leaves=[("grant", "*")])


def _on(thing: str, method: str, rest: str, body: Any = None, left: Any = None) -> Any:
    """A request about a key, a role or a tenant that is there."""

    def case(call: Caller) -> Case:
        maker, path, kind = {
            "key": (call.key_id, "/api-keys", "api_key"),
            "role": (call.role, "/roles", "role"),
            "tenant": (call.tenant, "/tenants", "tenant"),
        }[thing]
        one = maker()
        told = body() if callable(body) else body
        return Case(method, f"{path}/{one}{rest}", told, leaves=left or [(kind, one)])

    return case


def _email() -> dict[str, str]:
    return {"email": f"{new_id().hex}@example.org", "name": "Eve"}


def _fresh(path: str, body: Callable[[], Any], *leaves: Left) -> Callable[[Caller], Case]:
    return lambda call: Case("POST", path, body(), leaves=list(leaves))


def _definition() -> dict[str, Any]:
    return {**ONE, "name": f"w{new_id().hex}"}


def _started_again(call: Caller) -> Case:
    one = call.workflow()
    # From the second run on, one statement stores it with its entry.
    call.run(one)
    return Case("POST", f"/workflows/{one}/runs", {}, leaves=[("run", _new())])


def _deleted(one: str) -> Case:
    return Case("DELETE", f"/workflows/{one}", leaves=[("workflow", one)])


def _activated(one: str) -> Case:
    return Case("POST", f"/workflows/{one}/activate", leaves=[("workflow", one)])


def _limited(one: str) -> Case:
    return Case("PUT", f"/quotas/{one}", {"workflows": 7}, leaves=[("quota", one)])


CASES: Mapping[str, Callable[[Caller], Case]] = {
    "workflows.create_workflow": _fresh("/workflows", _definition, ("workflow", _new())),
    "workflows.import_workflow": _fresh("/workflows/import", _definition, ("workflow", _new())),
    "workflows.change_workflow": _changed,
    "workflows.delete_workflow": lambda call: _deleted(call.workflow()),
    "workflows.archive_workflow": _workflow("/archive"),
    "workflows.activate_workflow": lambda call: _activated(_archived(call)),
    "workflows.activate_workflows": _many_activated,
    "workflows.roll_back": _rolled_back,
    "workflows.execute": _fresh(
        "/workflows/execute", lambda: {"definition": ONE}, ("run", _new())
    ),
    "workflows.start_run": _started_again,
    "workflows.validate_workflow": _fresh("/workflows/validate", _definition),
    "runs.cancel_run": _steered("cancel"),
    "runs.cancel_runs": _many_cancelled,
    "runs.mark_task": _marked,
    "runs.pause_run": _steered("pause"),
    "runs.resume_run": _steered("resume", "pause"),
    "runs.retry_run": _retried,
    "runs.retry_runs": _many_retried,
    "logs.query_logs": _fresh("/logs/query", dict),
    "nodes.preview": _fresh("/expressions/preview", lambda: {"expression": "1 + 1"}),
    "nodes.test_type": _fresh(
        # It starts a run, and cancels it: there is no worker.
        "/nodes/types/noop/test", lambda: {"config": {}, "timeout_s": 1},
        ("run", "*"), ("run", "*"),
    ),
    "users.create_user": _fresh(
        "/users", lambda: {**_email(), "roles": ["viewer"], "password": PASSWORD},
        ("user", _new()),
    ),
    "users.invite_user": _fresh(
        "/users/invite", lambda: {**_email(), "roles": ["viewer"]}, ("user", _new("user.id"))
    ),
    "users.change_user": _user("PUT", "", {"name": "B", "roles": ["viewer"], "state": "active"}),
    "users.delete_user": _user("DELETE"),
    "users.reset_user": _user("POST", "/reset"),
    "users.end_sessions": _user("DELETE", "/sessions"),
    "api-keys.create_key": _fresh(
        "/api-keys", lambda: {"name": "k", "roles": ["viewer"]}, ("api_key", _new())
    ),
    "api-keys.rotate_key": _on(
        "key", "POST", "/rotate", {}, [("api_key", "*"), ("api_key", "*")]
    ),
    "api-keys.revoke_key": _on("key", "DELETE", ""),
    "roles.create_role": _fresh(
        "/roles", lambda: {"name": f"r{new_id().hex}", "description": "",
                           "permissions": ["runs:read"]}, ("role", _new("name")),
    ),
    "roles.change_role": _on(
        "role", "PUT", "", {"description": "", "permissions": ["workflows:read"]}
    ),
    "roles.delete_role": _on("role", "DELETE", ""),
    "tenants.create_tenant": _fresh(
        "/tenants", lambda: {"name": f"t{new_id().hex}"}, ("tenant", _new())
    ),
    "tenants.rename_tenant": _on("tenant", "PUT", "", lambda: {"name": f"t{new_id().hex}"}),
    "tenants.invite_owner": _on(
        "tenant", "POST", "/invite", _email, [("user", _new("user.id"))]
    ),
    "grants.put_grants": _grants,
    "quotas.change_quotas": lambda call: _limited(call.tenant()),
    "secrets.set_secret": _named("secrets", "PUT"),
    "secrets.delete_secret": _named("secrets", "DELETE"),
    "variables.set_variable": _named("variables", "PUT"),
    "variables.delete_variable": _named("variables", "DELETE"),
    "auth.login": _login,
    "auth.refresh": _refresh,
    "auth.accept": _accept,
    "oauth.token": _exchanged,
    "auth.logout": _own("POST", "/auth/logout", None, "session"),
    "auth.change_password": _own(
        "POST", "/auth/password",
        {"current_password": PASSWORD, "new_password": f"{PASSWORD} 2"}, "user",
    ),
    "auth.end_sessions": _own("DELETE", "/auth/sessions", None, "user"),
    "auth.make_ticket": _own("POST", "/auth/ticket", None),
}  # fmt: skip
