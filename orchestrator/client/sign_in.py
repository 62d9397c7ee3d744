"""The sign-in of this machine's command line, kept in $ZQ_HOME/login.json and renewed in time.

It is good for the server it was made at, and sent to no other.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from orchestrator.errors import ZQError

LOGIN_FILE, LOCK_FILE = "login.json", "login.lock"
#: The part of an access token's life after which the next one is fetched.
_FRESH = 0.8
_UNAUTHORIZED = 401


class SignInEnded(ZQError):
    """The sign-in that is kept here is not good any more."""

    code = "sign_in_ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Who is signed in where. A key that is kept instead has no refresh token."""

    server: str
    who: str
    access_token: str
    refresh_token: str = ""
    #: Seconds since 1970, by this machine's clock; from then on it is renewed.
    fresh_until_s: float = 0.0

    def renewed(self, signed: Mapping[str, Any]) -> Login:
        """Return it with the tokens of an answer."""
        return replace(
            self,
            access_token=str(signed["access_token"]),
            refresh_token=str(signed["refresh_token"]),
            fresh_until_s=time.time() + _FRESH * float(signed["expires_in_s"]),
        )

    @property
    def fresh(self) -> bool:
        """Whether its access token need not be renewed yet."""
        return not self.refresh_token or time.time() < self.fresh_until_s


def load(home: Path) -> Login | None:
    """Return the sign-in that is kept; None where there is none, or the file is damaged."""
    try:
        found = json.loads((home / LOGIN_FILE).read_text())
        return Login(**found)
    except (OSError, ValueError, TypeError):
        return None


def keep(home: Path, login: Login) -> None:
    """Keep a sign-in in the place of any other, readable for this user alone."""
    with _held(home):
        _write(home, login)


def forget(home: Path) -> None:
    """Keep no sign-in any more."""
    (home / LOGIN_FILE).unlink(missing_ok=True)


class Bearer:
    """Gives a sign-in's access token, renewed where its end is near.

    Commands side by side renew it once: a refresh token that is used twice ends its session.
    """

    def __init__(self, home: Path, login: Login) -> None:
        self._home = home
        self._login = login

    def __call__(self) -> str:
        """Return the token; SignInEnded when the server does not renew it."""
        if not self._login.fresh:
            with _held(self._home):
                self._login = self._renewed()
        return self._login.access_token

    def _renewed(self) -> Login:
        kept = load(self._home)
        if kept is None or (kept.server, kept.who) != (self._login.server, self._login.who):
            raise SignInEnded("you have signed out meanwhile: sign in again with `zq login`")
        if kept.fresh:
            return kept
        try:
            answer = httpx.post(
                f"{kept.server}/api/v1/auth/refresh",
                json={"refresh_token": kept.refresh_token}, timeout=10.0, trust_env=False,
            )  # fmt: skip
        except httpx.TransportError:
            # The token at hand may still be good; if the server is away the request will tell.
            return kept
        if answer.status_code == _UNAUTHORIZED:
            raise SignInEnded(
                f"your sign-in at {kept.server} has ended: sign in again with `zq login`,"
                " or forget it with `zq logout`"
            )
        if answer.is_error:
            return kept
        new = kept.renewed(answer.json())
        _write(self._home, new)
        return new


def _write(home: Path, login: Login) -> None:
    from orchestrator.process.private_files import write_private

    write_private(home / LOGIN_FILE, json.dumps(asdict(login)))


@contextlib.contextmanager
def _held(home: Path) -> Iterator[None]:
    from orchestrator.process.private_files import private_folder

    lock = os.open(private_folder(home) / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
