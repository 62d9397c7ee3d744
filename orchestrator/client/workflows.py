"""Saved workflows and their versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from orchestrator.client.errors import ApiError
from orchestrator.client.noun import Noun, given, is_id, new_key
from orchestrator.models.text import normal_name

if TYPE_CHECKING:
    from orchestrator.client.documents import DiffDoc, VersionDoc, WorkflowDoc

#: The longest name a workflow can have.
_NAME = 200


class Workflows(Noun):
    """Saved workflows and their versions. Where one is named, its name or its id will do."""

    def list(
        self, *, query: str | None = None, status: Sequence[str] = (), limit: int | None = None
    ) -> Sequence[WorkflowDoc]:
        """Return saved workflows, newest first; `query` looks in their names.

        Without `status`, all that are not archived.
        """
        return [*self._http.every("workflows", limit, q=query or None, status=[*status])]

    def get(self, workflow: str) -> WorkflowDoc:
        """Return one with its newest definition; ApiError 404."""
        return cast("WorkflowDoc", self._http.json("GET", self._path(workflow)))

    def id(self, workflow: str) -> str:
        """Return the id that a workflow has; ApiError 404 for an unknown name."""
        if is_id(workflow):
            return workflow
        found = self.find(workflow)
        if found is None:
            detail = f"there is no workflow named {workflow!r}; `zq workflow list` shows all"
            raise ApiError(404, {"code": "not_found", "detail": detail})
        return found["id"]

    def find(self, name: str, *, status: Sequence[str] = ()) -> WorkflowDoc | None:
        """Return the workflow of exactly this name, without its definition, if there is one.

        Without `status`, one that is not archived; of several, the newest.
        """
        name = normal_name(name)
        if not 0 < len(name) <= _NAME:
            return None
        params = {"name": name, "status": list(status), "limit": 1}
        found = self._http.json("GET", "workflows", params=params)["items"]
        return next((cast("WorkflowDoc", w) for w in found if w["name"] == name), None)

    def create(self, definition: Mapping[str, Any]) -> WorkflowDoc:
        """Save a new workflow; ApiError 422 with every problem, 409 when the name is taken."""
        made = self._http.json("POST", "workflows", json=definition, headers=new_key())
        return cast("WorkflowDoc", made)

    def change(self, workflow: str, definition: Mapping[str, Any]) -> WorkflowDoc:
        """Save the next version; an equal definition makes none."""
        return cast("WorkflowDoc", self._http.json("PUT", self._path(workflow), json=definition))

    def versions(self, workflow: str, *, limit: int | None = None) -> Sequence[VersionDoc]:
        """Return the versions of a workflow, newest first, without their definitions."""
        return [*self._http.every(self._path(workflow, "versions"), limit)]

    def version(self, workflow: str, number: int) -> WorkflowDoc:
        """Return one version with its definition."""
        path = self._path(workflow, f"versions/{number}")
        return cast("WorkflowDoc", self._http.json("GET", path))

    def diff(self, workflow: str, older: int | None = None, newer: int | None = None) -> DiffDoc:
        """Return what changed between two versions; by default in the newest one."""
        params = given(**{"from": older, "to": newer})
        return cast("DiffDoc", self._http.json("GET", self._path(workflow, "diff"), params=params))

    def roll_back(self, workflow: str, version: int) -> WorkflowDoc:
        """Save an earlier version again as the newest."""
        path = self._path(workflow, "rollback")
        return cast("WorkflowDoc", self._http.json("POST", path, json={"version": version}))

    def activate(self, workflow: str) -> WorkflowDoc:
        """Publish a draft or an archived workflow; an archived one goes by its id only."""
        return cast("WorkflowDoc", self._http.json("POST", self._path(workflow, "activate")))

    def archive(self, workflow: str) -> WorkflowDoc:
        """Archive a workflow: it starts no runs any more; its history stays."""
        return cast("WorkflowDoc", self._http.json("POST", self._path(workflow, "archive")))

    def export(self, workflow: str, form: str = "yaml") -> str:
        """Return the newest definition as text: `yaml` as people write it, or `json`."""
        path = self._path(workflow, "export")
        return self._http.request("GET", path, params={"format": form}).text

    def _path(self, workflow: str, more: str = "") -> str:
        return f"workflows/{self.id(workflow)}{'/' + more if more else ''}"
