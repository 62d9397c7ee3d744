"""What can go wrong around an HTTP request, as error codes; and what of a URL may be shown."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from orchestrator.adapters.http.client import refused_url
from orchestrator.errors import EgressBlocked, HandlerError
from workers.handlers import failure
from workers.handlers.context import Context, StopRequested


def checked_url(text: str) -> httpx.URL:
    """Return a URL that may be called, as `refused_url` tells.

    HandlerError `bad_url` otherwise.
    """
    if why := refused_url(text):
        raise _bad_url(why)
    return httpx.URL(text)


def _bad_url(why: str) -> HandlerError:
    return HandlerError("bad_url", f"the URL {why}", retryable=False)


def shown(request: httpx.Request) -> str:
    """Return method and URL without the query, which may hold secrets."""
    url = request.url.copy_with(query=None, fragment=None)
    return f"{request.method} {failure.shown(str(url))[:300]}"


@contextmanager
def named(request: httpx.Request, context: Context) -> Iterator[None]:
    """Turn what httpx raises in the block into a HandlerError with a code of ours.

    A time limit that ends together with the attempt is the attempt's own timeout.
    """
    try:
        yield
    except EgressBlocked as error:
        raise _error(error.code, request, error.detail, retryable=False) from None
    except httpx.TimeoutException as error:
        if context.remaining_s() < 0.05:
            raise StopRequested("timeout") from error
        raise _error("timeout", request, "no answer in time") from error
    except httpx.ConnectError as error:
        raise _connect_error(error, request) from error
    except httpx.DecodingError as error:
        raise _error("bad_response", request, f"the answer cannot be decoded: {error}") from error
    except (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.InvalidURL) as error:
        raise _error("bad_request", request, str(error), retryable=False) from error
    except httpx.TransportError as error:
        told = str(error) or "the connection broke"
        raise _error("connection_lost", request, told) from error


def _connect_error(error: httpx.ConnectError, request: httpx.Request) -> HandlerError:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _error("tls_error", request, str(cause), retryable=False)
        if isinstance(cause, ssl.SSLError):
            return _error("tls_error", request, str(cause))
        if isinstance(cause, socket.gaierror):
            return _error("dns_error", request, f"{request.url.host} has no address: {cause}")
        cause = cause.__cause__ or cause.__context__
    return _error("connect_error", request, str(error))


def _error(code: str, request: httpx.Request, why: str, *, retryable: bool = True) -> HandlerError:
    return HandlerError(code, f"{shown(request)}: {why[:500]}", retryable=retryable)
