"""An application with people in it: who sign in with tokens, or as a browser does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from flask import Flask
from werkzeug.test import TestResponse

from orchestrator.bootstrap.core import Core
from orchestrator.models.access.permissions import ADMIN
from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.ports.access import User
from orchestrator.settings import Limits
from tests.api.conftest import app_for, build_core
from tests.servers import Servers

PASSWORD = "correct horse battery"
ORIGIN = "http://localhost"


def unlimited(core: Core) -> Core:
    """Return a core whose application counts no requests."""
    names = ("reads", "writes", "starts", "sockets", "sign_in", "anonymous")
    limits = replace(Limits(), **dict.fromkeys(names, "0"))
    return replace(core, settings=replace(core.settings, limits=limits))


@dataclass(frozen=True)
class Site:
    """An application and its core."""

    core: Core
    app: Flask

    def user(self, name: str, *roles: str, tenant_id: UUID = DEFAULT_TENANT) -> User:
        """Make a user with PASSWORD and the address `name@example.org`."""
        return self.core.access.users.create(
            ADMIN, email=f"{name}@example.org", roles=roles, password=PASSWORD, tenant_id=tenant_id
        )

    def signed_in(self, name: str, *roles: str, tenant_id: UUID = DEFAULT_TENANT) -> Person:
        """Make a user, and sign it in with tokens."""
        return self.sign_in(self.user(name, *roles, tenant_id=tenant_id))

    def sign_in(self, user: User) -> Person:
        """Sign a user in with tokens."""
        body = {"email": user.email, "password": PASSWORD}
        answer = self.send("POST", "/auth/login", json=body)
        assert answer.status_code == 200, answer.text
        tokens = answer.json
        return Person(self, user.id, tokens["access_token"], tokens["refresh_token"])

    def send(self, method: str, path: str, bearer: str = "", **options: Any) -> TestResponse:
        """Send a request below /api/v1, with no cookie."""
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        headers |= options.pop("headers", {})
        client = self.app.test_client(use_cookies=False)
        return client.open(f"/api/v1{path}", method=method, headers=headers, **options)


@dataclass(frozen=True)
class Person:
    """A user with tokens."""

    site: Site
    id: UUID
    access_token: str
    refresh_token: str

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.site.send("GET", path, self.access_token, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> TestResponse:
        return self.site.send("POST", path, self.access_token, json=body, **options)

    def put(self, path: str, body: Any, **options: Any) -> TestResponse:
        return self.site.send("PUT", path, self.access_token, json=body, **options)

    def delete(self, path: str, **options: Any) -> TestResponse:
        return self.site.send("DELETE", path, self.access_token, **options)


class Browser:
    """A page of this server, or of another one, in a browser that has signed in here."""

    def __init__(self, site: Site, user: User, origin: str = ORIGIN) -> None:
        self.client = site.app.test_client()
        self.origin = origin
        body = {"email": user.email, "password": PASSWORD, "cookie": True}
        self.answer = self.client.post("/api/v1/auth/login", json=body, base_url=origin)
        assert self.answer.status_code == 200, self.answer.text
        self.token: str = self.answer.json["csrf_token"]

    def own(self, method: str, path: str, **options: Any) -> TestResponse:
        """Send a request as a page of this server does."""
        return self.send(
            method, path, {"Origin": self.origin, "X-CSRF-Token": self.token}, **options
        )

    def send(
        self, method: str, path: str, headers: dict[str, str] | None = None, **options: Any
    ) -> TestResponse:
        """Send a request with the cookies, and these headers."""
        where = f"/api/v1{path}"
        return self.client.open(
            where, method=method, headers=headers, base_url=self.origin, **options
        )

    def cookie(self, name: str) -> Any:
        """Return a cookie that the browser has, or None."""
        return self.client.get_cookie(name)


def make_site(servers: Servers) -> Site:
    """Return an application without limits."""
    found = unlimited(build_core(servers))
    return Site(found, app_for(found))
