"""`/api/docs`: the API document as one page; `/`: where to go. No script, nothing from outside.

Both are the same for every installation of a release, so they need no key; see `guard.PUBLIC`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from importlib.resources import files
from typing import Any

from flask import Blueprint, Flask, Response, current_app, render_template

from orchestrator import __version__
from orchestrator.errors import NotFound
from web.responses.etags import tagged

routes = Blueprint("docs", __name__, template_folder="templates")
_KEY = "zq_docs"
_POLICY = (
    "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none';"
    " form-action 'none'"
)
_FOREVER = "public, max-age=31536000, immutable"
_METHODS = ("get", "post", "put", "patch", "delete")


class Page:
    """The page and its style, made when somebody first asks: most processes never are asked."""

    def __init__(self, app: Flask, document: Callable[[], Mapping[str, Any]]) -> None:
        self._app = app
        self._document = document
        self._lock = threading.Lock()
        self._text = ""
        self.style = (files("web") / "templates" / "docs.css").read_text(encoding="utf-8")
        self.digest = sha256(self.style.encode()).hexdigest()[:16]

    @property
    def text(self) -> str:
        """The page, the same each time."""
        with self._lock:
            if not self._text:
                document = self._document()
                self._text = render_template(
                    "docs.html", document=document, areas=_areas(document), digest=self.digest
                )
                self._app.jinja_env.cache = None
            return self._text


def install(app: Flask, document: Callable[[], Mapping[str, Any]]) -> None:
    """Serve the page of a document."""
    app.extensions[_KEY] = Page(app, document)
    app.register_blueprint(routes)


def _kept() -> Page:
    found: Page = current_app.extensions[_KEY]
    return found


@routes.route("/")
def home() -> Response:
    """Say to a person who came with a browser where to go."""
    text = render_template("home.html", release=__version__, digest=_kept().digest)
    answer = Response(text, content_type="text/html; charset=utf-8")
    answer.headers["Content-Security-Policy"] = _POLICY
    return tagged(answer, "public, max-age=300")


@routes.route("/api/docs")
def page() -> Response:
    """Show every path with what it takes and gives."""
    answer = Response(_kept().text, content_type="text/html; charset=utf-8")
    answer.headers["Content-Security-Policy"] = _POLICY
    return tagged(answer, "public, max-age=300")


@routes.route("/api/docs/<string:digest>.css")
def style(digest: str) -> Response:
    """Return the style; its name is its content's digest, so it may be kept for ever."""
    kept = _kept()
    if digest != kept.digest:
        raise NotFound("this style is of another release; load the page again")
    return tagged(Response(kept.style, content_type="text/css; charset=utf-8"), _FOREVER)


def _areas(document: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    areas: dict[str, list[dict[str, Any]]] = {}
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                shown = _operation(document, path, method, item)
                areas.setdefault(item[method]["tags"][0], []).append(shown)
    return areas


def _operation(
    document: Mapping[str, Any], path: str, method: str, item: Mapping[str, Any]
) -> dict[str, Any]:
    operation = item[method]
    parameters = [*item.get("parameters", ()), *operation.get("parameters", ())]
    body = operation.get("requestBody", {}).get("content", {})
    return {
        "method": method.upper(),
        "path": path,
        "summary": operation.get("summary", ""),
        "description": operation.get("description", ""),
        "deprecated": operation.get("deprecated", False),
        "public": operation.get("security") == [],
        "parameters": [
            {**parameter, "type": _type(parameter.get("schema", {}))} for parameter in parameters
        ],
        "bodies": [(media, list(_fields(document, b["schema"]))) for media, b in body.items()],
        "answers": [(status, _names(answer)) for status, answer in operation["responses"].items()],
    }


def _resolved(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    found: Mapping[str, Any] = document["components"]["schemas"].get(name, schema)
    return found


def _fields(
    document: Mapping[str, Any], schema: Mapping[str, Any]
) -> Iterator[tuple[str, str, bool, str]]:
    """Yield (name, type, must it be given, description) of a body's fields."""
    found = _resolved(document, schema)
    required = found.get("required", ())
    for name, field in found.get("properties", {}).items():
        yield name, _type(field), name in required, field.get("description", "")


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    words = [str(schema.get("format") or schema.get("type") or "any")]
    if "enum" in schema:
        words = [" | ".join(str(value) for value in schema["enum"])]
    for sign, bound in (("≥", "minimum"), ("≤", "maximum")):
        if bound in schema:
            words.append(f"{sign} {schema[bound]}")
    return ", ".join(words)


def _names(answer: Mapping[str, Any]) -> str:
    if "$ref" in answer:
        return "a problem"
    shapes = [_type(content.get("schema", {})) for content in answer.get("content", {}).values()]
    return " or ".join(shapes) or str(answer.get("description", ""))
