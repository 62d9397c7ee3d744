"""Routes that document themselves: flask-smorest with our strict reader, errors and OpenAPI 3.

A route takes only the query parameters it declares; an unknown one is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, NoReturn, Protocol, TypeVar

import marshmallow as ma
from flask import Flask, Request, current_app, request
from flask_smorest import Api, Blueprint
from webargs.flaskparser import FlaskParser

from orchestrator import __version__
from orchestrator.errors import BadRequest, InvalidDefinition
from orchestrator.models.problem import Problem, did_you_mean
from web import strict_json
from web.errors import MEDIA_TYPE
from web.schemas import ProblemSchema

View = TypeVar("View", bound=Callable[..., Any])


class Decorator(Protocol):
    """Gives back a view with the type it had."""

    def __call__(self, view: View, /) -> View:
        """Decorate."""


_TAKES_QUERY = "takes_query"
#: Endpoints that check their query themselves.
_READS_QUERY = frozenset({"stream.run_stream", "prometheus_metrics"})


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
        problems = list(_flatten(inner, "", sorted(schema.fields)))
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

    def query(self, schema: type[ma.Schema]) -> Decorator:
        """Parse the query; the view takes it as its first argument."""
        parse = self.arguments(schema, location="query", error_status_code=400)

        def decorate(view: View) -> View:
            parsed: View = parse(view)
            setattr(parsed, _TAKES_QUERY, True)
            return parsed

        return decorate

    def body(self, schema: ma.Schema | type[ma.Schema], **more: Any) -> Decorator:
        """Parse the body; the view takes it after the query."""
        parse: Decorator = self.arguments(schema, location="json", **more)
        return parse

    def raw_body(self, document: ma.Schema | type[ma.Schema], description: str) -> Decorator:
        """Read the body as an object whose meaning a service checks; `document` is for the docs."""
        content = {"application/json": {"schema": document}}
        decorate: Decorator = self.doc(
            requestBody={"required": True, "description": description, "content": content},
            responses={"422": HTTPStatus(422).name},
        )
        return decorate

    def gives(self, status: int, schema: Any = None, **more: Any) -> Decorator:
        """Dump what the view returns, and document it."""
        dump: Decorator = self.response(status, schema, **more)
        return dump

    def public(self) -> Decorator:
        """Document that a route needs no key; `guard.PUBLIC` is what makes it so."""
        decorate: Decorator = self.doc(security=[])
        return decorate

    def at(self, rule: str, *methods: str) -> Decorator:
        """Register a view under a path."""
        register: Decorator = self.route(rule, methods=list(methods or ("GET",)))
        return register


class ProblemApi(Api):  # type: ignore[misc, unused-ignore]
    """The API document; its errors are problems, and `web.errors` answers them."""

    ERROR_SCHEMA = ProblemSchema

    def _register_error_handlers(self) -> None:
        """Leave errors to `web.errors`."""

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
    frames = {"101": {"description": "Frames as `GET /runs/{id}/events` has, then a close."}}
    fine = {"200": {"description": "OK"}}
    described: dict[str, dict[str, Any]] = {
        "stream.run_stream": {
            "tags": ["runs"],
            "summary": "Follow a run over a WebSocket: one frame an event, then a close.",
            "description": "Close codes: 1000 the run has ended, 1008 you sent too much, 1012 the"
            " server stops, 1013 try later, 4400 bad `after`, 4404 no such run, 4408 too slow.",
            "parameters": [{**after, "schema": whole}],
            "responses": frames,
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
        api.spec.path(rule=next(app.url_map.iter_rules(endpoint)), operations={"get": operation})
