"""What a process looks at before it starts: an installation that is open to strangers stays down.

Only what the settings and the environment tell, and where the servers' names lead; `zq doctor`
looks at the servers themselves.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterator, Mapping
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from orchestrator.errors import SettingsError
from orchestrator.models.egress import is_public
from orchestrator.process.own_packages import DEMO, is_ours
from orchestrator.settings import Settings

#: An admin key that somebody typed is shorter than this, or says the same over and over.
LEAST_KEY_CHARACTERS, _LEAST_VARIETY = 16, 8
#: Passwords that servers come with.
_DEFAULTS = frozenset({"", "guest", "postgres", "redis", "password", "admin", "zq"})
#: The exit code of a process that will not start with these settings, however often it is tried.
REFUSED = os.EX_CONFIG
#: Brokers that messages can go through.
BROKERS = frozenset({"redis", "rediss"})
_DEBUG = ("FLASK_DEBUG", "FLASK_ENV")
_OFF = frozenset({"", "0", "false", "no", "production"})
#: Ways of Postgres to show who one is, besides a password in the URL.
_PROOFS = frozenset({"password", "passfile", "sslcert", "service"})


def refuse_unsafe(settings: Settings, environment: Mapping[str, str] | None = None) -> None:
    """Raise SettingsError, with the remedy, for a start that would leave the door open.

    That is: settings with which nothing works; a guessable admin or secret key; a debugger;
    Postgres, Redis or the broker on a public
    address without a password, or with one that they come with.
    """
    refuse_unusable(settings)
    known = os.environ if environment is None else environment
    for name in _DEBUG:
        if known.get(name, "").lower() not in _OFF:
            raise SettingsError(f"{name} is on, which shows the inside to strangers: unset it")
    _refuse_weak(settings.auth.admin_key)
    if not settings.embedded:
        # Else it may still be found in the home.
        from orchestrator.models.access.secret_keys import SecretKeys

        SecretKeys(settings.auth.secret_key, settings.auth.secret_keys_old)
    if settings.start.allow_open_servers:
        return
    for name in ("database", "redis", "broker"):
        url = getattr(settings, name).url
        if url and (where := _open_to_strangers(url, known)):
            raise SettingsError(
                f"ZQ_{name.upper()}__URL names {where}, a public address, without a password or"
                " with the one that it comes with: anybody could work there. Give it a password and"
                " a private address, or set ZQ_START__ALLOW_OPEN_SERVERS=true"
            )


def refuse_unusable(settings: Settings) -> None:
    """Raise SettingsError, with the remedy, for settings with which no run could ever end."""
    refuse_own_modules(settings.worker.modules)
    name = "ZQ_BROKER__URL" if settings.broker.url else "ZQ_REDIS__URL"
    scheme = urlsplit(settings.broker.url or settings.redis.url).scheme
    if scheme and scheme not in BROKERS:
        raise SettingsError(
            f"{name} begins with {scheme[:20]}://, and no other broker than Redis is supported:"
            " messages and the counting of a run's tasks go to it together. Give it a redis:// or"
            " rediss:// URL" + (", or unset it to use ZQ_REDIS__URL" if settings.broker.url else "")
        )


def refuse_own_modules(modules: str) -> None:
    """Raise SettingsError where what workers are to load has a name of the product's own."""
    for name in filter(None, (each.strip() for each in modules.split(","))):
        if is_ours(name) and name != DEMO:
            top = name.partition(".")[0]
            raise SettingsError(
                f"ZQ_WORKER__MODULES names {name}, and {top!r} is a package of ZQAutoNXG itself:"
                " a module of yours with that name is never loaded. Rename it"
            )


def _refuse_weak(admin_key: str) -> None:
    # None at all is refused where one is needed: workers do without.
    if admin_key and (
        len(admin_key) < LEAST_KEY_CHARACTERS or len(set(admin_key)) < _LEAST_VARIETY
    ):
        raise SettingsError(
            f"ZQ_AUTH__ADMIN_KEY could be guessed: take {LEAST_KEY_CHARACTERS} or more random"
            " characters, such as `openssl rand -hex 32` prints"
        )


def _open_to_strangers(url: str, environment: Mapping[str, str]) -> str | None:
    parts = urlsplit(url)
    if _proves_itself(parts, environment):
        return None
    return next((host for host in _hosts(parts) if _is_public(host)), None)


def _proves_itself(parts: SplitResult, environment: Mapping[str, str]) -> bool:
    userinfo = parts.netloc.rpartition("@")[0]
    password = unquote(userinfo.partition(":")[2])
    if password not in _DEFAULTS:
        return True
    if not parts.scheme.startswith("postgres"):
        return False
    given = {"PGPASSWORD", "PGPASSFILE", "PGSSLCERT", "PGSERVICE"} & environment.keys()
    return bool(given or _PROOFS & parse_qs(parts.query).keys())


def _hosts(parts: SplitResult) -> Iterator[str]:
    """Yield the hosts of a URL, which may be several, or stand in its query."""
    named = parts.netloc.rpartition("@")[2].split(",")
    for hosts in parse_qs(parts.query).get("host", ()):
        named += hosts.split(",")
    for text in named:
        host = text.partition("]")[0][1:] if text.startswith("[") else text.partition(":")[0]
        if host and not host.startswith("/"):
            yield host


def _is_public(host: str) -> bool:
    """Tell whether a host has a public address; one that nobody knows has none."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        return any(is_public(ipaddress.ip_address(str(entry[4][0]))) for entry in found)
    except (OSError, UnicodeError, ValueError):
        return False


def check_key(admin_key: str) -> None:
    """Raise SettingsError where there is no admin key."""
    if not admin_key:
        raise SettingsError(
            "there is no admin key: set ZQ_AUTH__ADMIN_KEY (or ..._FILE), or run `zq up` once"
        )
