"""Routes that document themselves: flask-smorest with our strict reader, errors and OpenAPI 3.

A route takes only the query parameters it declares; an unknown one is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from functools import wraps
from http import HTTPStatus
from typing import Any, NoReturn, Protocol, TypeVar

import marshmallow as ma
from flask import Flask, Request, current_app, request
from flask_smorest import Api, Blueprint
from webargs.flaskparser import FlaskParser

from orchestrator import __version__
from orchestrator.errors import (
    BadRequest,
    InvalidDefinition,
    Problem,
    did_you_mean,
    gathered,
    one_document,
)
from orchestrator.models.access.permissions import Permission
from web.access import needs
from web.access.bodies import takes_definitions
from web.responses import deprecation
from web.responses.errors import MEDIA_TYPE
from web.schemas import frames as frame_schemas
from web.schemas import strict_json
from web.schemas.logs import LogStreamQuery
from web.schemas.problems import ProblemSchema

View = TypeVar("View", bound=Callable[..., Any])


class Decorator(Protocol):
    """Gives back a view with the type it had."""

    def __call__(self, view: View, /) -> View:
        """Decorate."""


_TAKES_QUERY = "takes_query"
#: Endpoints that check their query themselves.
_READS_QUERY = frozenset({"stream.run_stream", "stream.log_stream", "prometheus_metrics"})
_HEADERS = "zq_headers"
#: Where flask-smorest keeps what it knows of a view.
_APIDOC = "_apidoc"


class StrictParser(FlaskParser):
    """Reads bodies by `strict_json`, and reports every problem of a request at once."""

    DEFAULT_UNKNOWN_BY_LOCATION: dict[str, str | None] = {  # noqa: RUF012
        **FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION,
        "query": ma.RAISE,
        "json": ma.RAISE,
    }

    def load_json(self, req: Request, schema: ma.Schema) -> Any:
        """Return the body as an object; the schema's `context_optional` allows none at all."""
        return strict_json.read_object(req, optional=getattr(schema, "may_be_absent", False))

    def pre_load(
        self, location_data: Any, *, schema: ma.Schema, req: Request, location: str
    ) -> Any:
        """Note the deprecated fields that the request gives."""
        if isinstance(location_data, Mapping):
            deprecation.note_fields(schema, location_data)
        return location_data

    def handle_error(
        self,
        error: ma.ValidationError,
        req: Request,
        schema: ma.Schema,
        *,
        error_status_code: int | None,
        error_headers: Mapping[str, str] | None,
    ) -> NoReturn:
        """Raise 422 for a body and 400 for a query, with each problem's field and remedy."""
        messages: dict[str, Any] = error.normalized_messages()  # type: ignore[no-untyped-call]
        location, inner = next(iter(messages.items()))
        with one_document():
            problems = gathered(_flatten(inner, "", sorted(schema.fields)))
        if location == "json":
            raise InvalidDefinition(
                problems, "The body does not fit; each problem names its field."
            )
        summary = "; ".join(f"{p.path}: {p.message}" for p in problems[:3])
        raise BadRequest(f"the query does not fit: {summary}", problems=problems)


def _flatten(messages: Any, path: str, known: list[str]) -> Iterator[Problem]:
    if isinstance(messages, Mapping):
        for key, inner in messages.items():
            name = str(key)[:100]
            if name == "_schema":
                yield from _flatten(inner, path, known)
            elif isinstance(key, int):
                yield from _flatten(inner, f"{path}[{key}]", known)
            else:
                yield from _flatten(inner, f"{path}.{name}" if path else name, known)
        return
    for message in messages if isinstance(messages, list) else [messages]:
        if message == "Unknown field.":
            hint = did_you_mean(path, known) or f"; known are {', '.join(known) or 'none'}"
            yield Problem(path, "unknown_field", f"there is no such field{hint}")
        else:
            code = "missing" if "required" in str(message).lower() else "bad_value"
            yield Problem(path, code, str(message))


class Routes(Blueprint):  # type: ignore[misc, unused-ignore]
    """A blueprint whose decorators keep types."""

    ARGUMENTS_PARSER = StrictParser()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._prepare_doc_cbks.append(_document_headers)

    def query(self, schema: type[ma.Schema], **more: Any) -> Decorator:
        """Parse the query; the view takes it as its first argument.

        `unknown=ma.EXCLUDE` is for what others send: a provider adds parameters of its own.
        """
        # An instance: of a class, one would be made for each request.
        parse = self.arguments(schema(), location="query", error_status_code=400, **more)

        def decorate(view: View) -> View:
            parsed: View = parse(view)
            setattr(parsed, _TAKES_QUERY, True)
            return parsed

        return decorate

    def body(self, schema: ma.Schema | type[ma.Schema], **more: Any) -> Decorator:
        """Parse the body; the view takes it after the query."""
        made = schema() if isinstance(schema, type) else schema
        parse: Decorator = self.arguments(made, location="json", **more)
        return parse

    def raw_body(self, document: ma.Schema | type[ma.Schema], description: str) -> Decorator:
        """Read the body as an object whose meaning a service checks; `document` is for the docs."""
        content = {"application/json": {"schema": document}}
        decorate: Decorator = self.doc(
            requestBody={"required": True, "description": description, "content": content},
            responses={"422": HTTPStatus(422).name},
        )
        return lambda view: decorate(takes_definitions(view))

    def also(self, status: int, schema: Any = None, **more: Any) -> Decorator:
        """Document another answer than that of `gives`."""
        document: Decorator = self.alt_response(status, schema=schema, **more)
        return document

    def documents(self, **operation: Any) -> Decorator:
        """Add to what the API document says of a route."""
        document: Decorator = self.doc(**operation)
        return document

    def gives(self, status: int, schema: Any = None, **more: Any) -> Decorator:
        """Dump what the view returns, and document it."""
        dump: Decorator = self.response(status, schema, **more)
        return dump

    def keyed(self) -> Decorator:
        """Document that a route takes an Idempotency-Key; `idempotency.key_of` reads it."""
        return _sends(_IDEMPOTENCY_KEY, conflict=409)

    def matched(self) -> Decorator:
        """Document that a route takes If-Match; `etags.expected_version` reads it."""
        return _sends(_IF_MATCH, conflict=412)

    def tagged(self) -> Decorator:
        """Document that a route answers with an ETag, and with 304 to If-None-Match."""
        document: Decorator = self.doc(responses={"304": {"description": "You have it already."}})
        sends = _sends(_IF_NONE_MATCH)
        return lambda view: sends(document(view))

    def deprecated(self, notice: deprecation.Notice) -> Decorator:
        """Say in headers and in the document that a route will go. Goes right below `at`."""
        document: Decorator = self.doc(deprecated=True, description=notice.text)
        return lambda view: document(deprecation.noting(notice, view))

    def needs(self, permission: Permission, *, narrowed: bool = False) -> Decorator:
        """Demand a permission, here and in the document. Goes right below `at`.

        Grants count where the path names a workflow or a run; with `narrowed` the view itself
        looks at them (`web.access.narrowing`), and a principal that has only grants is let in.
        """
        return self._demand(needs.needs(permission, narrowed=narrowed), permission)

    def signed_in(self) -> Decorator:
        """Let any principal in, whatever it may do. Goes right below `at`."""
        return self._demand(needs.signed_in(), None)

    def _demand(self, declare: Decorator, permission: Permission | None) -> Decorator:
        operation: dict[str, Any] = {"responses": {}}
        _describe_need(operation, permission)
        document: Decorator = self.doc(**operation)
        return lambda view: declare(document(view))

    def public(self) -> Decorator:
        """Document that a route needs no key; `guard.PUBLIC` is what makes it so."""
        decorate: Decorator = self.doc(security=[])
        return decorate

    def at(self, rule: str, *methods: str) -> Decorator:
        """Register a view under a path."""
        register: Decorator = self.route(rule, methods=list(methods or ("GET",)))
        return register


def _describe_need(operation: dict[str, Any], permission: Permission | None) -> None:
    operation["responses"]["401"] = HTTPStatus(401).name
    if permission is not None:
        operation["responses"]["403"] = HTTPStatus(403).name
        operation["x-permission"] = str(permission)


def _header(name: str, description: str, **schema: Any) -> dict[str, Any]:
    shape = {"type": "string", **schema}
    return {"in": "header", "name": name, "description": description, "schema": shape}


_IDEMPOTENCY_KEY = _header(
    "Idempotency-Key",
    "The same key and request again create nothing new; with another request: 409.",
    minLength=1,
    maxLength=200,
    pattern="^[ -~]+$",
)
_IF_MATCH = _header("If-Match", "The ETag as you read it; 412 where it has changed since.")
_IF_NONE_MATCH = _header("If-None-Match", "The ETag you have; 304 where it is still the same.")


def _sends(header: dict[str, Any], conflict: int | None = None) -> Decorator:
    def decorate(view: View) -> View:
        @wraps(view)
        def same(*args: Any, **kwargs: Any) -> Any:
            return view(*args, **kwargs)

        doc = deepcopy(getattr(view, _APIDOC, {}))
        doc[_HEADERS] = [*doc.get(_HEADERS, ()), (header, conflict)]
        setattr(same, _APIDOC, doc)
        return same  # type: ignore[return-value]

    return decorate


def _document_headers(doc: dict[str, Any], doc_info: Mapping[str, Any], **_: Any) -> dict[str, Any]:
    for header, conflict in doc_info.get(_HEADERS, ()):
        doc.setdefault("parameters", []).append(dict(header))
        if conflict is not None:
            doc.setdefault("responses", {})[str(conflict)] = HTTPStatus(conflict).name
    return doc


class ProblemApi(Api):  # type: ignore[misc, unused-ignore]
    """The API document; its errors are problems, and `web.responses.errors` answers them."""

    ERROR_SCHEMA = ProblemSchema

    def _register_error_handlers(self) -> None:
        """Leave errors to `web.responses.errors`."""

    def _register_responses(self) -> None:
        self.DEFAULT_RESPONSE_CONTENT_TYPE = MEDIA_TYPE
        super()._register_responses()
        self.DEFAULT_RESPONSE_CONTENT_TYPE = "application/json"


def make_api(app: Flask) -> ProblemApi:
    """Return the API of an application; its document is `/api/v1/openapi.json`."""
    app.config.update(
        API_TITLE="ZQAutoNXG",
        API_VERSION=__version__,
        OPENAPI_VERSION="3.0.3",
        OPENAPI_URL_PREFIX="/api/v1",
        OPENAPI_JSON_PATH="openapi.json",
    )
    scheme = {"type": "http", "scheme": "bearer", "description": "An API key."}
    options = {
        "info": {"description": "A durable workflow orchestrator native to Celery."},
        "components": {"securitySchemes": {"key": scheme}},
        "security": [{"key": []}],
    }
    return ProblemApi(app, spec_kwargs=options)


def refuse_unknown_query(app: Flask) -> None:
    """Refuse a query on routes that declare none, so that a typo never means "no filter"."""

    @app.before_request
    def check() -> None:
        view = current_app.view_functions.get(request.endpoint or "")
        if view is None or not request.args or request.endpoint in _READS_QUERY:
            return
        if getattr(view, _TAKES_QUERY, False):
            return
        names = sorted(request.args)[:5]
        message = "this path takes no query parameters; remove it"
        raise BadRequest(
            message, problems=[Problem(n[:100], "unknown_field", message) for n in names]
        )


def describe_others(app: Flask, api: ProblemApi) -> None:
    """Add to the document what is no route of ours: the socket, the metrics and itself."""
    after = {"in": "query", "name": "after", "description": "The `seq` of the last event you have."}
    whole = {"type": "integer", "minimum": 0, "default": 0}
    ticket = {
        "in": "query",
        "name": "ticket",
        "description": "Of `POST /auth/ticket`, where no header can be sent.",
        "schema": {"type": "string"},
    }
    frame_schemas.describe(api)
    frame = {"schema": {"$ref": "#/components/schemas/SocketFrame"}}
    frames = {
        "101": {
            "description": "Frames as `GET /runs/{id}/events` has, then a close.",
            "content": {"application/json": frame},
        }
    }
    line = {"schema": {"$ref": "#/components/schemas/LogFrame"}}
    fine = {"200": {"description": "OK"}}
    text_body = {"schema": {"type": "string"}}
    described: dict[str, dict[str, Any]] = {
        "stream.run_stream": {
            "tags": ["runs"],
            "summary": "Follow a run over a WebSocket: one frame an event, then a close.",
            "description": "Close codes: 1000 the run has ended, 1008 you sent too much, 1009 a"
            " message over 64 KB, 1012 the server stops, 1013 try later, 4400 bad `after`, 4401"
            " signed out, 4403 not allowed any more, 4404 no such run, 4408 too slow.",
            "parameters": [{**after, "schema": whole}, ticket],
            "responses": frames,
        },
        "stream.log_stream": {
            "tags": ["logs"],
            "summary": "Follow the log lines of all runs over a WebSocket, or of one to its end.",
            "description": "The first frame is `listening` and repeats the filters; then log lines"
            " as `GET /logs/history` has. A `gap` says that lines may have been missed. Close"
            " codes: 1000 the run has ended, 1008 you sent too much, 1009 a message over 64 KB,"
            " 1012 the server stops, 1013 try later, 4401 signed out, 4403 not allowed any more,"
            " 4404 no such run, 4408 too slow.",
            "parameters": [
                {"in": "query", "schema": LogStreamQuery, "name": "query"},
            ],
            "responses": {
                "101": {"description": "Log lines.", "content": {"application/json": line}}
            },
        },
        "docs.home": {
            "tags": ["health"],
            "summary": "Where to go, for a person with a browser.",
            "responses": {"200": {"description": "OK", "content": {"text/html": text_body}}},
            "security": [],
        },
        "docs.page": {
            "tags": ["health"],
            "summary": "This document as a page.",
            "responses": {"200": {"description": "OK", "content": {"text/html": text_body}}},
            "security": [],
        },
        "docs.style": {
            "tags": ["health"],
            "summary": "How that page looks.",
            "parameters": [
                {"in": "path", "name": "digest", "required": True, "schema": {"type": "string"}}
            ],
            "responses": {"200": {"description": "OK", "content": {"text/css": text_body}}},
            "security": [],
        },
        "prometheus_metrics": {
            "tags": ["health"],
            "summary": "Metrics in the Prometheus format.",
            "responses": fine,
        },
        "api-docs.openapi_json": {
            "tags": ["health"],
            "summary": "This document.",
            "responses": fine,
        },
    }
    for endpoint, operation in described.items():
        operation["responses"]["default"] = "DEFAULT_ERROR"
        need = needs.need_of(app, endpoint)
        if need is not None:
            _describe_need(operation, need.permission)
        api.spec.path(rule=next(app.url_map.iter_rules(endpoint)), operations={"get": operation})
