"""An OpenID provider as a process of its own: oidc-provider-mock, which does not check PKCE by
itself, with Authlib's check added. `python -m tests.oidc_server` prints its address and serves."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

ROOT = Path(__file__).parents[1]


class Provider:
    """The provider as its users and their browsers see it."""

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer

    def user(self, subject: str, **claims: Any) -> None:
        """Store a user, in place of the one there was."""
        httpx.put(f"{self.issuer}/users/{subject}", json=claims).raise_for_status()

    def consent(self, url: str, subject: str) -> dict[str, str]:
        """Sign in where the browser was sent; return what it brings back."""
        answer = httpx.post(url, data={"sub": subject})
        assert answer.status_code == 302, answer.text
        back = urlsplit(answer.headers["Location"])
        return {name: values[0] for name, values in parse_qs(back.query).items()}


@contextmanager
def provider() -> Iterator[Provider]:
    """Run a provider until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "tests.oidc_server"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT,
        env={**os.environ, "AUTHLIB_INSECURE_TRANSPORT": "1", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        assert select.select([process.stdout], [], [], 30)[0], "the provider did not start"
        yield Provider(process.stdout.readline().strip())
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def _main() -> None:
    import oidc_provider_mock
    from authlib.oauth2.rfc7636 import create_s256_code_challenge
    from oidc_provider_mock import _app
    from werkzeug.serving import make_server

    challenges: dict[str, str] = {}

    class Checking(_app.AuthorizationCodeGrant):
        """Demands S256, and the verifier that fits."""

        def save_authorization_code(self, code: str, request: Any) -> None:
            assert request.payload.data["code_challenge_method"] == "S256"
            challenges[code] = request.payload.data["code_challenge"]
            super().save_authorization_code(code, request)

        def validate_token_request(self) -> None:
            form = self.request.form
            verifier = form.get("code_verifier", "")
            if create_s256_code_challenge(verifier) != challenges.get(form.get("code", "")):
                raise _app.authlib.oauth2.rfc6749.InvalidGrantError("the verifier does not fit")
            super().validate_token_request()

    _app.AuthorizationCodeGrant = Checking
    server = make_server("127.0.0.1", 0, oidc_provider_mock.app(), threaded=True)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    _main()
