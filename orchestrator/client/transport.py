"""One HTTP session with a server: requests that are repeated while it is away, and lists whole.

Knows nothing of the command line and nothing of the server's code: only paths, fields and problems.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
import tenacity

from orchestrator.client.errors import ApiError, ServerUnreachable

#: As many items as a page of a list may have.
_PAGE = 200
#: Seconds until a server that says nothing, or takes no connection, counts as away.
_ANSWER_S, _CONNECT_S = 30.0, 5.0
_UNAUTHORIZED = 401
_NO_KEY = (
    "no key and no sign-in for {} was found: sign in with `zq login`, or set ZQ_AUTH__ADMIN_KEY"
)
_UNREACHABLE = (httpx.NetworkError, httpx.RemoteProtocolError, httpx.TimeoutException)


def _trusted(server: str) -> ssl.SSLContext | bool:
    """Return whom to trust. Nobody where TLS is not spoken: the world's certificates would take
    20 ms and 7 MB to read."""
    return server.startswith("https:") or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Http:
    """A session with one server. Close it, or use it in a `with`; one thread at a time.

    `key` may be a function, asked before every request: a sign-in's token does not live long.
    `patience_s` is how long a request is repeated while the server is away, hangs or answers 503;
    what creates something carries an Idempotency-Key, so a repetition creates nothing twice.
    """

    def __init__(
        self, server: str, key: str | Callable[[], str] = "", *, patience_s: float = 0.0
    ) -> None:
        self.server = full_address(server)
        self._assumed = "://" not in server
        self._key = key
        try:
            self._http = httpx.Client(
                base_url=self.server, auth=self._signed,
                timeout=httpx.Timeout(_ANSWER_S, connect=_CONNECT_S), trust_env=False,
                verify=_trusted(self.server),
            )  # fmt: skip
        except httpx.InvalidURL as error:
            raise self._unreachable(error) from None
        self._insist = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_may_pass),
            # Twice at least: a server that hangs may use up all patience with one request.
            stop=tenacity.stop_all(
                tenacity.stop_after_delay(patience_s),
                tenacity.stop_after_attempt(2 if patience_s else 1),
            ),
            wait=tenacity.wait_fixed(0.3),
            reraise=True,
        )

    @property
    def headers(self) -> dict[str, str]:
        """What every request and socket carries."""
        key = self._key() if callable(self._key) else self._key
        return {"Authorization": f"Bearer {key}"} if key else {}

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send one request below `/api/v1` (or to an absolute `/path`); ApiError on 4xx and 5xx."""
        url = path if path.startswith("/") else f"/api/v1/{path}"
        try:
            return self._insist(self._once, method, url, options)
        except httpx.TransportError as error:
            raise self._unreachable(error) from None

    def download(self, path: str, **params: Any) -> Iterator[bytes]:
        """Yield what a GET below `/api/v1` answers, as it arrives; none of it is kept.

        ApiError as of `request`; ServerUnreachable also where it breaks off before its end.
        """
        try:
            with self._http.stream("GET", f"/api/v1/{path}", params=params) as answer:
                if answer.is_error:
                    answer.read()
                    raise ApiError(answer.status_code, _problem(answer))
                yield from answer.iter_bytes()
        except httpx.TransportError as error:
            raise self._unreachable(error) from None

    def ping(self) -> None:
        """Raise ServerUnreachable at once where no server answers; a key is not looked at."""
        try:
            self._answer(self._http.get("/healthz", auth=None))
        except httpx.TransportError as error:
            raise self._unreachable(error) from None

    def _unreachable(self, error: Exception) -> ServerUnreachable:
        scheme = self.server.partition("://")[0]
        assumed = f"; {scheme}:// was assumed" if self._assumed else ""
        return ServerUnreachable(
            f"no server answers at {self.server} ({_reason(error)}{assumed}):"
            " start one with `zq up`, or name another with --server"
        )

    def _once(self, method: str, url: str, options: Mapping[str, Any]) -> httpx.Response:
        return self._answer(self._http.request(method, url, **options))

    def _signed(self, request: httpx.Request) -> httpx.Request:
        request.headers.update(self.headers)
        return request

    def _answer(self, answer: httpx.Response) -> httpx.Response:
        if answer.is_error:
            problem = _problem(answer)
            if answer.status_code == _UNAUTHORIZED and not self._signs_in(answer.request):
                problem = {**problem, "detail": f"{_NO_KEY.format(self.server)}"}
            raise ApiError(answer.status_code, problem)
        return answer

    def _signs_in(self, request: httpx.Request) -> bool:
        """Whether a request says who asks, or is about to find out."""
        about = request.url.path.startswith(("/api/v1/auth/login", "/api/v1/auth/accept"))
        return about or "Authorization" in request.headers

    def json(self, method: str, path: str, **options: Any) -> Any:
        """Send one request and return what it answers as JSON."""
        return self.request(method, path, **options).json()

    def every(self, path: str, limit: int | None = None, **params: Any) -> Iterator[Any]:
        """Yield the items of all pages of a list, or the first `limit`; a None is not asked for."""
        query = {name: value for name, value in params.items() if value is not None}
        left = limit
        while left is None or left > 0:
            page = self.json("GET", path, params={**query, "limit": min(_PAGE, left or _PAGE)})
            yield from page["items"]
            left = None if left is None else left - len(page["items"])
            query["cursor"] = page.get("next_cursor")
            if not query["cursor"]:
                return

    def changed(self, path: str, change: Callable[[Any], Any]) -> Any:
        """Put what `change` makes of the document at a path; ApiError 412 where another was faster.

        Returns the document as it is then.
        """
        answer = self.request("GET", path)
        seen = {"If-Match": answer.headers["ETag"]}
        return self.json("PUT", path, json=change(answer.json()), headers=seen)


def full_address(server: str) -> str:
    """Return an address with its scheme: where none is given, http on this machine, else https."""
    server = server.strip().rstrip("/")
    if "://" in server:
        return server
    return f"{'http' if is_loopback(f'//{server}') else 'https'}://{server}"


def is_loopback(server: str) -> bool:
    """Whether an address is this machine's own, and no other's whatever the network is."""
    try:
        host = urlsplit(server).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _may_pass(error: BaseException) -> bool:
    """Whether the same request may succeed in a moment."""
    return isinstance(error, _UNREACHABLE) or (
        isinstance(error, ApiError) and error.status in {502, 503}
    )


def _problem(answer: httpx.Response) -> Mapping[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        body = None
    return body if isinstance(body, dict) else {}


def _reason(error: Exception) -> str:
    return str(error).strip() or type(error).__name__
