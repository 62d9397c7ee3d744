"""Cookies of a signed-in browser: the access and the refresh token, out of reach of scripts.

Over https their names begin with `__Host-`, so that no other host can set them; then a cookie
without it is not read. What protects them against other pages is `csrf`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Response, request

if TYPE_CHECKING:
    from orchestrator.services.access.sign_in.sessions import SignedIn

_ACCESS, _REFRESH = "zq_access", "zq_refresh"
#: Tells a browser that has gone to a provider to sign in from all others.
_BROWSER = "zq_browser"


def access_token() -> str | None:
    """Return the access token of this request's cookie."""
    return request.cookies.get(_name(_ACCESS))


def refresh_token() -> str | None:
    """Return the refresh token of this request's cookie."""
    return request.cookies.get(_name(_REFRESH))


def keep(answer: Response, signed: SignedIn) -> None:
    """Give the browser the tokens; they end with the browser, or when they expire."""
    _set(answer, _ACCESS, signed.access_token, max_age_s=signed.expires_in_s)
    _set(answer, _REFRESH, signed.refresh_token)


def drop(answer: Response) -> None:
    """Take the tokens from the browser."""
    for name in (_ACCESS, _REFRESH):
        _set(answer, name, "", max_age_s=0)


def browser() -> str:
    """Return the secret of a browser that signs in at a provider; empty where there is none."""
    return request.cookies.get(_name(_BROWSER), "")


def keep_browser(answer: Response, secret: str, *, max_age_s: int) -> None:
    """Give the browser its secret; it comes back with the provider's redirect."""
    _set(answer, _BROWSER, secret, max_age_s=max_age_s)


def _name(name: str) -> str:
    return f"__Host-{name}" if request.is_secure else name


def _set(answer: Response, name: str, value: str, max_age_s: int | None = None) -> None:
    answer.set_cookie(
        _name(name), value, max_age=max_age_s, path="/", secure=request.is_secure,
        httponly=True, samesite="Strict" if name == _REFRESH else "Lax",
    )  # fmt: skip
