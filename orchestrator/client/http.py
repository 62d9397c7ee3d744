"""The HTTP API from Python: typed, with a run's events as an iterator that survives broken sockets.

Knows nothing of the command line and nothing of the server's code: only paths, fields and problems.
"""

from __future__ import annotations

import ssl
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast
from urllib.parse import quote

import httpx
import tenacity

from orchestrator.client.errors import ApiError, ServerUnreachable

if TYPE_CHECKING:
    from orchestrator.client.documents import ArtifactDoc, RunDoc, TaskDoc, WhyDoc, WorkflowDoc
    from orchestrator.client.watching import Frame

__all__ = ["ApiError", "Client", "ServerUnreachable"]

_PAGE, _EVENTS, _BULK = 200, 1000, 1000
#: The longest name a workflow can have.
_NAME = 200
#: Seconds until a server that says nothing, or takes no connection, counts as away.
_ANSWER_S, _CONNECT_S = 30.0, 5.0
_UNREACHABLE = (httpx.NetworkError, httpx.RemoteProtocolError, httpx.TimeoutException)


def _trusted(server: str) -> ssl.SSLContext | bool:
    """Return whom to trust. Nobody where TLS is not spoken: the world's certificates would take
    20 ms and 7 MB to read."""
    return server.startswith("https:") or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Client:
    """A session with one server. Close it, or use it in a `with`; one thread at a time.

    `key` may be a function, asked before every request: a sign-in's token does not live long.
    `patience_s` is how long a request is repeated while the server is away, hangs or answers 503;
    what creates something carries an Idempotency-Key, so a repetition creates nothing twice.
    """

    def __init__(
        self, server: str, key: str | Callable[[], str] = "", *, patience_s: float = 0.0
    ) -> None:
        self.server = server.rstrip("/")
        self._key = key
        try:
            self._http = httpx.Client(
                base_url=self.server, auth=self._signed,
                timeout=httpx.Timeout(_ANSWER_S, connect=_CONNECT_S), trust_env=False,
                verify=_trusted(self.server),
            )  # fmt: skip
        except httpx.InvalidURL as error:
            raise self._unreachable(error) from None
        self._insist = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_may_pass),
            # Twice at least: a server that hangs may use up all patience with one request.
            stop=tenacity.stop_all(
                tenacity.stop_after_delay(patience_s),
                tenacity.stop_after_attempt(2 if patience_s else 1),
            ),
            wait=tenacity.wait_fixed(0.3),
            reraise=True,
        )

    @property
    def headers(self) -> dict[str, str]:
        """What every request and socket carries."""
        key = self._key() if callable(self._key) else self._key
        return {"Authorization": f"Bearer {key}"} if key else {}

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send one request below `/api/v1` (or to an absolute `/path`); ApiError on 4xx and 5xx."""
        url = path if path.startswith("/") else f"/api/v1/{path}"
        try:
            return self._insist(self._once, method, url, options)
        except httpx.TransportError as error:
            raise self._unreachable(error) from None

    def download(self, path: str, **params: Any) -> Iterator[bytes]:
        """Yield what a GET below `/api/v1` answers, as it arrives; none of it is kept.

        ApiError as of `request`; ServerUnreachable also where it breaks off before its end.
        """
        try:
            with self._http.stream("GET", f"/api/v1/{path}", params=params) as answer:
                if answer.is_error:
                    answer.read()
                    raise ApiError(answer.status_code, _problem(answer))
                yield from answer.iter_bytes()
        except httpx.TransportError as error:
            raise self._unreachable(error) from None

    def ping(self) -> None:
        """Raise ServerUnreachable at once where no server answers; a key is not looked at."""
        try:
            self._answer(self._http.get("/healthz", auth=None))
        except httpx.TransportError as error:
            raise self._unreachable(error) from None

    def _unreachable(self, error: Exception) -> ServerUnreachable:
        return ServerUnreachable(
            f"no server answers at {self.server} ({_reason(error)}):"
            " start one with `zq up`, or name another with --server"
        )

    def _once(self, method: str, url: str, options: Mapping[str, Any]) -> httpx.Response:
        return self._answer(self._http.request(method, url, **options))

    def _signed(self, request: httpx.Request) -> httpx.Request:
        request.headers.update(self.headers)
        return request

    def _answer(self, answer: httpx.Response) -> httpx.Response:
        if answer.is_error:
            raise ApiError(answer.status_code, _problem(answer))
        return answer

    def _json(self, method: str, path: str, **options: Any) -> Any:
        return self.request(method, path, **options).json()

    def _pages(self, path: str, params: Mapping[str, Any], limit: int | None) -> Iterator[Any]:
        left, cursor = limit, None
        while left is None or left > 0:
            query = {**params, "limit": min(_PAGE, left or _PAGE)}
            page = self._json(
                "GET", path, params={**query, **({"cursor": cursor} if cursor else {})}
            )
            yield from page["items"]
            left = None if left is None else left - len(page["items"])
            cursor = page.get("next_cursor")
            if not cursor:
                return

    # --- workflows ------------------------------------------------------------------------------

    def workflows(
        self, *, query: str | None = None, limit: int | None = None, status: Sequence[str] = ()
    ) -> list[WorkflowDoc]:
        """Return saved workflows, newest first; `query` looks in their names.

        Without `status`, all that are not archived.
        """
        params = {**({"q": query} if query else {}), "status": list(status)}
        return list(self._pages("workflows", params, limit))

    def workflow(self, name_or_id: str) -> WorkflowDoc:
        """Return one workflow with its newest definition; ApiError 404."""
        workflow_id = name_or_id
        if not _is_id(name_or_id):
            found = self.find(name_or_id)
            if found is None:
                raise ApiError(404, {"code": "not_found", "detail": _unknown(name_or_id)})
            workflow_id = found["id"]
        return cast("WorkflowDoc", self._json("GET", f"workflows/{workflow_id}"))

    def find(self, name: str, *, status: Sequence[str] = ()) -> WorkflowDoc | None:
        """Return the workflow of exactly this name, without its definition, if there is one.

        Without `status`, one that is not archived; of several, the newest.
        """
        if not 0 < len(name) <= _NAME:
            return None
        params = {"name": name, "status": list(status), "limit": 1}
        found = self._json("GET", "workflows", params=params)["items"]
        return next((cast("WorkflowDoc", w) for w in found if w["name"] == name), None)

    def create(self, definition: Mapping[str, Any]) -> WorkflowDoc:
        """Save a new workflow; ApiError 422 with every problem, 409 when the name is taken."""
        return cast(
            "WorkflowDoc",
            self._json("POST", "workflows", json=definition, headers=_new_key()),
        )

    def change(self, workflow_id: str, definition: Mapping[str, Any]) -> WorkflowDoc:
        """Save the next version; an equal definition makes none."""
        return cast("WorkflowDoc", self._json("PUT", f"workflows/{workflow_id}", json=definition))

    def versions(self, workflow_id: str, *, limit: int | None = None) -> list[dict[str, Any]]:
        """Return the versions of a workflow, newest first, without their definitions."""
        return list(self._pages(f"workflows/{workflow_id}/versions", {}, limit))

    def version(self, workflow_id: str, number: int) -> WorkflowDoc:
        """Return one version with its definition."""
        path = f"workflows/{workflow_id}/versions/{number}"
        return cast("WorkflowDoc", self._json("GET", path))

    def diff(
        self, workflow_id: str, older: int | None = None, newer: int | None = None
    ) -> dict[str, Any]:
        """Return what changed between two versions; by default in the newest one."""
        params = {name: no for name, no in (("from", older), ("to", newer)) if no is not None}
        found = self._json("GET", f"workflows/{workflow_id}/diff", params=params)
        return cast("dict[str, Any]", found)

    def roll_back(self, workflow_id: str, version: int) -> WorkflowDoc:
        """Save an earlier version again as the newest."""
        path = f"workflows/{workflow_id}/rollback"
        return cast("WorkflowDoc", self._json("POST", path, json={"version": version}))

    def activate(self, workflow_id: str) -> WorkflowDoc:
        """Publish a draft or an archived workflow."""
        return cast("WorkflowDoc", self._json("POST", f"workflows/{workflow_id}/activate"))

    def archive(self, workflow_id: str) -> WorkflowDoc:
        """Archive a workflow: it starts no runs any more; its history stays."""
        return cast("WorkflowDoc", self._json("POST", f"workflows/{workflow_id}/archive"))

    def export(self, workflow_id: str, form: str = "yaml") -> str:
        """Return the newest definition as text: `yaml` as people write it, or `json`."""
        path = f"workflows/{workflow_id}/export"
        return self.request("GET", path, params={"format": form}).text

    # --- runs -----------------------------------------------------------------------------------

    def start(
        self,
        workflow: str,
        input: Mapping[str, Any] | None = None,
        *,
        tags: Sequence[str] = (),
        trigger: str = "api",
    ) -> RunDoc:
        """Start a run of a workflow, by name or id; `trigger` is `manual` where a person does."""
        path = f"workflows/{self.workflow(workflow)['id']}/runs"
        body = {"input": dict(input or {}), "tags": list(tags), "trigger": trigger}
        return cast("RunDoc", self._json("POST", path, json=body, headers=_new_key()))

    def run(self, run_id: str) -> RunDoc:
        """Return one run with its input, output and counts."""
        return cast("RunDoc", self._json("GET", f"runs/{quote(run_id, safe='')}"))

    def runs(self, *, limit: int | None = None, **filters: Any) -> list[RunDoc]:
        """Return runs, newest first; `filters` are those of `GET /runs`."""
        return list(self._pages("runs", filters, limit))

    def tasks(self, run_id: str) -> list[TaskDoc]:
        """Return every task of a run."""
        return list(self._pages(f"runs/{quote(run_id, safe='')}/tasks", {}, None))

    def events(self, run_id: str, after: int = 0) -> list[Frame]:
        """Return the next page of a run's events, in `seq` order."""
        params = {"after": after, "limit": _EVENTS}
        page = self._json("GET", f"runs/{quote(run_id, safe='')}/events", params=params)
        return cast("list[Frame]", page["items"])

    def watch(self, run_id: str, after: int = 0) -> Iterator[Frame]:
        """Yield a run's events with `seq > after` as they happen, until the run has ended.

        Each `seq` once and in order, whatever breaks in between; what the server has dropped for
        good comes as one frame `{"kind": "gap", "from", "to"}`.
        """
        from orchestrator.client.watching import watch

        return watch(self, run_id, after)

    def logs(self, run_id: str, **filters: Any) -> Iterator[Frame]:
        """Yield the log lines of a run so far; `filters` are those of `GET /runs/{id}/logs`."""
        after: int | None = 0
        while after is not None:
            params = {**filters, "after": after, "limit": _EVENTS}
            page = self._json("GET", f"runs/{quote(run_id, safe='')}/logs", params=params)
            yield from page["items"]
            last, after = after, page.get("next_cursor")
            if after == last:
                return

    def why(self, run_id: str) -> WhyDoc:
        """Return why a run has not ended, causes first."""
        return cast("WhyDoc", self._json("GET", f"runs/{quote(run_id, safe='')}/why"))

    def cancel(self, run_id: str) -> RunDoc:
        """Stop a run."""
        return self._steer(run_id, "cancel")

    def pause(self, run_id: str) -> RunDoc:
        """Let nothing new start; what runs goes on."""
        return self._steer(run_id, "pause")

    def resume(self, run_id: str) -> RunDoc:
        """Go on with a paused run."""
        return self._steer(run_id, "resume")

    def retry(self, run_id: str, from_node: str | None = None) -> RunDoc:
        """Run an ended run again as a new one: what did not succeed, and all from a node on."""
        body = {} if from_node is None else {"from": from_node}
        return self._steer(run_id, "retry", json=body, headers=_new_key())

    def mark(
        self, run_id: str, node_id: str, state: str, *, output: Any = None,
        reason: str | None = None, map_index: int | None = None,
    ) -> TaskDoc:  # fmt: skip
        """Settle a task of a live run by hand: `succeeded` (with an output), `failed`, `skipped`.

        ApiError 409 where it may not be, as for a task that has ended.
        """
        path = f"runs/{quote(run_id, safe='')}/tasks/{quote(node_id, safe='')}/mark"
        body = {"state": state, "output": output, "reason": reason}
        given = {name: value for name, value in body.items() if value is not None}
        params = {} if map_index is None else {"map_index": map_index}
        return cast("TaskDoc", self._json("POST", path, json=given, params=params))

    def _steer(self, run_id: str, verb: str, **options: Any) -> RunDoc:
        return cast(
            "RunDoc", self._json("POST", f"runs/{quote(run_id, safe='')}/{verb}", **options)
        )

    def steer_many(
        self, verb: str, filters: Mapping[str, Any], *, dry: bool = False
    ) -> list[dict[str, Any]]:
        """Cancel or retry the runs that a filter finds; return what became of each.

        With `dry` nothing happens: the runs that would be touched.
        """
        items: list[dict[str, Any]] = []
        body: dict[str, Any] = {**filters, "dry": dry, "limit": _BULK}
        while True:
            page = self._json("POST", f"runs/{verb}", json=body, headers=_new_key())
            items += page["items"]
            if not page.get("next_cursor"):
                return items
            body["cursor"] = page["next_cursor"]

    def quotas(self, tenant_id: str | None = None) -> list[dict[str, Any]]:
        """Return the quotas of a tenant, your own by default, with their present use."""
        path = "quotas" if tenant_id is None else f"quotas/{quote(tenant_id, safe='')}"
        items: list[dict[str, Any]] = self._json("GET", path)["items"]
        return items

    def set_quotas(self, tenant_id: str, values: Mapping[str, int | None]) -> list[dict[str, Any]]:
        """Set quotas of a tenant: 0 for no limit, None for the default; return all of them."""
        answer = self._json("PUT", f"quotas/{quote(tenant_id, safe='')}", json=dict(values))
        items: list[dict[str, Any]] = answer["items"]
        return items

    def artifacts(self, run_id: str) -> list[ArtifactDoc]:
        """Return the files a run has left behind."""
        page = self._json("GET", f"runs/{quote(run_id, safe='')}/artifacts")
        return cast("list[ArtifactDoc]", page["items"])

    def artifact(self, run_id: str, name: str) -> bytes:
        """Return what is in one of them; ApiError 404."""
        path = f"runs/{quote(run_id, safe='')}/artifacts/{quote(name, safe='')}"
        return self.request("GET", path).content


def _new_key() -> dict[str, str]:
    return {"Idempotency-Key": str(uuid.uuid4())}


def _is_id(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def _unknown(name: str) -> str:
    return f"there is no workflow named {name!r}; `zq workflow list` shows all"


def _may_pass(error: BaseException) -> bool:
    """Whether the same request may succeed in a moment."""
    return isinstance(error, _UNREACHABLE) or (
        isinstance(error, ApiError) and error.status in {502, 503}
    )


def _problem(answer: httpx.Response) -> Mapping[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        body = None
    return body if isinstance(body, dict) else {}


def _reason(error: Exception) -> str:
    return str(error).strip() or type(error).__name__
