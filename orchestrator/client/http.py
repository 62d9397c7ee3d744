"""The HTTP API from Python: typed, with a run's events as an iterator that survives broken sockets.

Runs are called on the client itself, as on `connecting.Server`; other nouns have their own calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

from orchestrator.client.noun import new_key, part
from orchestrator.client.nouns import Nouns
from orchestrator.client.transport import Http

if TYPE_CHECKING:
    from orchestrator.client.documents import (
        ArtifactDoc,
        Frame,
        RunDoc,
        SteeredDoc,
        TaskDoc,
        WhyDoc,
        WorkflowDoc,
    )

_EVENTS, _BULK = 1000, 1000


class Client(Http, Nouns):
    """A session with one server. Close it, or use it in a `with`; one thread at a time.

    `key` may be a function, asked before every request: a sign-in's token does not live long.
    `patience_s` is how long a request is repeated while the server is away, hangs or answers 503;
    what creates something carries an Idempotency-Key, so a repetition creates nothing twice.
    """

    def __init__(
        self, server: str, key: str | Callable[[], str] = "", *, patience_s: float = 0.0
    ) -> None:
        Http.__init__(self, server, key, patience_s=patience_s)
        Nouns.__init__(self, self)

    def find(self, name: str) -> WorkflowDoc | None:
        """Return the live workflow of exactly this name, without its definition."""
        return self.workflows.find(name)

    def create(self, definition: Mapping[str, Any]) -> WorkflowDoc:
        """Save a new workflow; ApiError 422 with every problem, 409 when the name is taken."""
        return self.workflows.create(definition)

    def change(self, workflow_id: str, definition: Mapping[str, Any]) -> WorkflowDoc:
        """Save the next version; an equal definition makes none."""
        return self.workflows.change(workflow_id, definition)

    def start(
        self,
        workflow: str,
        input: Mapping[str, Any] | None = None,
        *,
        tags: Sequence[str] = (),
        trigger: str = "api",
    ) -> RunDoc:
        """Start a run of a workflow, by name or id; `trigger` is `manual` where a person does."""
        path = f"workflows/{self.workflows.id(workflow)}/runs"
        body = {"input": dict(input or {}), "tags": list(tags), "trigger": trigger}
        return cast("RunDoc", self.json("POST", path, json=body, headers=new_key()))

    def run(self, run_id: str) -> RunDoc:
        """Return one run with its input, output and counts."""
        return cast("RunDoc", self.json("GET", f"runs/{part(run_id)}"))

    def runs(self, *, limit: int | None = None, **filters: Any) -> list[RunDoc]:
        """Return runs, newest first; `filters` are those of `GET /runs`."""
        return list(self.every("runs", limit, **filters))

    def tasks(self, run_id: str) -> list[TaskDoc]:
        """Return every task of a run."""
        return list(self.every(f"runs/{part(run_id)}/tasks"))

    def events(self, run_id: str, after: int = 0) -> list[Frame]:
        """Return the next page of a run's events, in `seq` order."""
        params = {"after": after, "limit": _EVENTS}
        page = self.json("GET", f"runs/{part(run_id)}/events", params=params)
        return cast("list[Frame]", page["items"])

    def watch(self, run_id: str, after: int = 0) -> Iterator[Frame]:
        """Yield a run's events with `seq > after` as they happen, until the run has ended.

        Each `seq` once and in order, whatever breaks in between; what the server has dropped for
        good comes as one frame `{"kind": "gap", "from", "to"}`.
        """
        from orchestrator.client.watching import watch

        return watch(self, run_id, after)

    def why(self, run_id: str) -> WhyDoc:
        """Return why a run has not ended, causes first."""
        return cast("WhyDoc", self.json("GET", f"runs/{part(run_id)}/why"))

    def cancel(self, run_id: str) -> RunDoc:
        """Stop a run."""
        return self._steer(run_id, "cancel")

    def pause(self, run_id: str) -> RunDoc:
        """Let nothing new start; what runs goes on."""
        return self._steer(run_id, "pause")

    def resume(self, run_id: str) -> RunDoc:
        """Go on with a paused run."""
        return self._steer(run_id, "resume")

    def retry(
        self, run_id: str, from_node: str | None = None, *,
        version: int | Literal["latest"] | None = None, input: Any = None,
    ) -> RunDoc:  # fmt: skip
        """Run an ended run again as a new one: what did not succeed, and all from a node on.

        `version` is a number or "latest"; by default the version and the input are the run's own.
        """
        asked = {"from": from_node, "version": version, "input": input}
        body = {name: value for name, value in asked.items() if value is not None}
        return self._steer(run_id, "retry", json=body, headers=new_key())

    def mark(
        self, run_id: str, node_id: str, state: str, *, output: Any = None,
        reason: str | None = None, map_index: int | None = None,
    ) -> TaskDoc:  # fmt: skip
        """Settle a task of a live run by hand: `succeeded` (with an output), `failed`, `skipped`.

        ApiError 409 where it may not be, as for a task that has ended.
        """
        path = f"runs/{part(run_id)}/tasks/{part(node_id)}/mark"
        body = {"state": state, "output": output, "reason": reason}
        given = {name: value for name, value in body.items() if value is not None}
        params = {} if map_index is None else {"map_index": map_index}
        return cast("TaskDoc", self.json("POST", path, json=given, params=params))

    def _steer(self, run_id: str, verb: str, **options: Any) -> RunDoc:
        return cast("RunDoc", self.json("POST", f"runs/{part(run_id)}/{verb}", **options))

    def steer_many(
        self, verb: str, filters: Mapping[str, Any], *, dry: bool = False
    ) -> list[SteeredDoc]:
        """Cancel or retry the runs that a filter finds; return what became of each.

        With `dry` nothing happens: the runs that would be touched.
        """
        items: list[SteeredDoc] = []
        body: dict[str, Any] = {**filters, "dry": dry, "limit": _BULK}
        while True:
            page = self.json("POST", f"runs/{verb}", json=body, headers=new_key())
            items += page["items"]
            if not page.get("next_cursor"):
                return items
            body["cursor"] = page["next_cursor"]

    def artifacts(self, run_id: str) -> list[ArtifactDoc]:
        """Return the files a run has left behind."""
        page = self.json("GET", f"runs/{part(run_id)}/artifacts")
        return cast("list[ArtifactDoc]", page["items"])

    def artifact(self, run_id: str, name: str) -> bytes:
        """Return what is in one of them; ApiError 404."""
        path = f"runs/{part(run_id)}/artifacts/{part(name)}"
        return self.request("GET", path).content
