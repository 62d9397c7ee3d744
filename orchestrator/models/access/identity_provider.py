"""Those who vouch for users, as ZQ_OIDC__PROVIDERS names them: what they are asked, and what their
word is worth here. Deliberately asks nobody; `services.access.providers` does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NoReturn
from urllib.parse import urlsplit
from uuid import UUID

from orchestrator.errors import SettingsError, did_you_mean
from orchestrator.models.ids import DEFAULT_TENANT

SETTING = "ZQ_OIDC__PROVIDERS"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_DOMAIN = re.compile(r"(?=.{1,190}\Z)[a-z0-9-]+(?:\.[a-z0-9-]+)+")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Protocol(StrEnum):
    """What a provider speaks."""

    OIDC = "oidc"
    #: OAuth 2.0 and GitHub's own API: it has no ID tokens.
    GITHUB = "github"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One provider, and the rules for whom it sends."""

    name: str
    protocol: Protocol
    #: As its ID tokens say it, to the character. With the subject it names an identity.
    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    scopes: tuple[str, ...]
    #: A name of a claim, or a path of names with dots.
    groups_claim: str
    #: Group -> role. Where there is one, groups decide about roles at each sign-in.
    role_map: Mapping[str, str]
    default_roles: tuple[str, ...]
    tenant_id: UUID
    allow_sign_up: bool
    #: Take an account that has the same verified address for the same person.
    link_verified: bool
    #: Lower case; none: all.
    allowed_domains: tuple[str, ...]

    @property
    def api(self) -> str:
        """Return where GitHub's API is; a GitHub of one's own has it below itself."""
        own = self.issuer != "https://github.com"
        return f"{self.issuer}/api/v3" if own else "https://api.github.com"

    def roles(self, groups: Iterable[str]) -> tuple[str, ...]:
        """Return the roles of somebody in these groups."""
        mapped = (self.role_map[group] for group in groups if group in self.role_map)
        return tuple(dict.fromkeys((*self.default_roles, *mapped)))

    def admits(self, email: str) -> bool:
        """Tell whether an address is of a domain that is let in: the whole of it, to the letter."""
        return not self.allowed_domains or email.rpartition("@")[2] in self.allowed_domains

    def groups(self, claims: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the groups that claims name; none where the claim is no list of texts."""
        found: Any = claims.get(self.groups_claim)
        if self.groups_claim not in claims:
            found = claims
            for step in self.groups_claim.split("."):
                found = found.get(step) if isinstance(found, Mapping) else None
        given = found if isinstance(found, list) else [found]
        return tuple(group for group in given if isinstance(group, str))


_PRESETS: Mapping[str, Mapping[str, Any]] = {
    "google": {"issuer": "https://accounts.google.com"},
    "github": {
        "issuer": "https://github.com",
        "scopes": ["read:user", "user:email", "read:org"],
    },
}
_TEXTS = ("name", "issuer", "client_id", "client_secret", "groups_claim", "tenant", "preset")
_LISTS = ("scopes", "default_roles", "allowed_domains")
_FLAGS = ("allow_sign_up", "link_verified")
_FIELDS = (*_TEXTS, *_LISTS, *_FLAGS, "role_map")


def read_providers(text: str) -> tuple[Provider, ...]:
    """Return what ZQ_OIDC__PROVIDERS says; SettingsError names the entry, field and remedy.

    A misspelt field is an error: `allowed_domain` must not silently let everybody in.
    """
    if not text.strip():
        return ()
    try:
        given = json.loads(text)
    except ValueError as error:
        raise SettingsError(f"{SETTING} is no JSON: {error}") from None
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise SettingsError(f"{SETTING} must be a list of objects, one for each provider")
    found = tuple(_provider(f"{SETTING}[{number}]", one) for number, one in enumerate(given))
    if len({one.name for one in found}) != len(found):
        raise SettingsError(f"{SETTING}: two providers have the same name")
    return found


def _provider(where: str, given: Mapping[str, Any]) -> Provider:
    for name in given:
        if name not in _FIELDS:
            raise SettingsError(f"{where}: no field {name[:60]!r}{did_you_mean(name, [*_FIELDS])}")
    preset = str(given.get("preset", ""))
    if preset and preset not in _PRESETS:
        raise SettingsError(f"{where}.preset: write google or github, or give the issuer")
    wanted = {**_PRESETS.get(preset, {}), **given}
    _check_types(where, wanted)
    name = wanted.get("name", preset)
    if not _NAME.fullmatch(name):
        raise SettingsError(f"{where}.name: use 1 to 32 of a-z, 0-9 and -")
    for needed in ("issuer", "client_id"):
        if not wanted.get(needed):
            raise SettingsError(f"{where}.{needed} is missing")
    github = preset == "github"
    issuer = wanted["issuer"].rstrip("/") if github else wanted["issuer"]
    if not is_safe_url(issuer, plain=True, query=False):
        raise SettingsError(f"{where}.issuer: it must be an https:// URL, without ? and #")
    return Provider(
        name=name,
        protocol=Protocol.GITHUB if github else Protocol.OIDC,
        issuer=issuer,
        client_id=wanted["client_id"],
        client_secret=wanted.get("client_secret", ""),
        scopes=_scopes(where, wanted, github=github),
        groups_claim=wanted.get("groups_claim", "groups"),
        role_map=wanted.get("role_map", {}),
        default_roles=tuple(wanted.get("default_roles", ())),
        tenant_id=_tenant(where, wanted.get("tenant")),
        allow_sign_up=wanted.get("allow_sign_up", False),
        link_verified=wanted.get("link_verified", False),
        allowed_domains=_domains(where, wanted.get("allowed_domains", ())),
    )


def is_safe_url(text: str, *, plain: bool, query: bool = True) -> bool:
    """Tell whether tokens may be sent to a URL: https, or with `plain` http to this machine."""
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
    except ValueError:
        return False
    if not host or "@" in parts.netloc or parts.fragment or not text.isascii():
        return False
    if parts.query and not query:
        return False
    return parts.scheme == "https" or (plain and parts.scheme == "http" and host in _LOOPBACK)


def _check_types(where: str, given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        if name in _TEXTS and not isinstance(value, str):
            _wrong(where, name, "a text")
        if name in _FLAGS and not isinstance(value, bool):
            _wrong(where, name, "true or false")
        if name in _LISTS and not _are_texts(value):
            _wrong(where, name, "a list of texts")
        if name == "role_map" and not (isinstance(value, dict) and _are_texts([*value.values()])):
            _wrong(where, name, "an object: group -> role")


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) and one for one in value)


def _wrong(where: str, name: str, wanted: str) -> NoReturn:
    raise SettingsError(f"{where}.{name} must be {wanted}")


def _scopes(where: str, given: Mapping[str, Any], *, github: bool) -> tuple[str, ...]:
    scopes = tuple(given.get("scopes", ("openid", "email", "profile")))
    if not github and "openid" not in scopes:
        raise SettingsError(f"{where}.scopes must hold openid")
    return scopes


def _domains(where: str, given: Iterable[str]) -> tuple[str, ...]:
    found = tuple(domain.lower() for domain in given)
    for domain in found:
        if not _DOMAIN.fullmatch(domain):
            raise SettingsError(
                f"{where}.allowed_domains: {domain[:60]!r} is no domain; write example.org"
            )
    return found


def _tenant(where: str, given: str | None) -> UUID:
    if given is None:
        return DEFAULT_TENANT
    try:
        return UUID(given)
    except ValueError:
        raise SettingsError(f"{where}.tenant must be a tenant's id") from None
