"""The secret key: none, a short or a guessable one is refused at boot; kept privately at home."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.adapters.postgres.store import PostgresStore
from orchestrator.bootstrap import core as bootstrap
from orchestrator.errors import SettingsError
from orchestrator.models.access.secret_keys import SecretKeys
from orchestrator.process.home import secret_key
from orchestrator.settings import Auth, Settings
from tests.factories import SECRET_KEY

NEXT = "the-next-1f2e3d4c5b6a79880716253443526170"


@pytest.mark.parametrize(
    "text",
    ["", " ", "short", "x" * 31, "é" * 15, "a" * 64, "0" * 64, "0123456789" * 4, "ab" * 32,
     "changeme", "changeme" * 8, "change-me-change-me-change-me-change-me", "secret" * 10,
     "secret-secret-key-secret-secret-key", "your-very-long-secret-key-here-0123456789",
     "replace-me" * 4, "CHANGEME-THIS-IS-A-PLACEHOLDER-0123456789", "x" * 200 + "-0123456789",
     "some_random_secret_string_value_here", "my-super-secret-signing-key-123456",
     "insecure-default-secret-key-for-development"],
)  # fmt: skip
def test_a_key_that_anybody_could_guess_is_refused(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        SecretKeys(text)
    assert "ZQ_AUTH__SECRET_KEY" in caught.value.detail
    assert "openssl rand -hex 32" in caught.value.detail
    assert len(text) < 6 or text not in caught.value.detail


@pytest.mark.parametrize(
    "text",
    [os.urandom(32).hex(), os.urandom(16).hex(), SECRET_KEY, "correct horse battery staple"],
    ids=["32 bytes", "16 bytes", "the tests' own", "words"],
)
def test_a_random_one_will_do(text: str) -> None:
    if len(text) < 32:
        text += "-and-some-more-words"
    (derived,) = SecretKeys(text).derive("a purpose")
    assert len(derived.key) == 32


def test_a_former_key_is_checked_like_the_present_one() -> None:
    with pytest.raises(SettingsError):
        SecretKeys(SECRET_KEY, "short")
    present, former = SecretKeys(SECRET_KEY, f" {NEXT} ,{SECRET_KEY},").derive("a purpose")
    assert present == SecretKeys(SECRET_KEY).derive("a purpose")[0]
    assert former == SecretKeys(NEXT).derive("a purpose")[0]


def test_each_purpose_has_a_key_of_its_own_and_none_is_shown() -> None:
    secrets = SecretKeys(SECRET_KEY)
    one, two = secrets.derive("access tokens")[0], secrets.derive("csrf tokens")[0]
    assert len({one.key, two.key, one.id, two.id}) == 4
    assert one.key.hex() not in repr(one)
    assert repr(one.key) not in repr(one)
    assert SECRET_KEY not in repr(vars(secrets).keys())


def test_no_core_without_one() -> None:
    with pytest.raises(SettingsError, match="ZQ_AUTH__SECRET_KEY"):
        bootstrap.build(
            Settings(auth=Auth(admin_key="x")),
            store=PostgresStore("postgresql://127.0.0.1:1/none"),
            channel=object(),
            dispatcher=object(),
            artifacts=object(),
        )


def test_it_is_made_once_and_private(tmp_path: Path) -> None:
    home = tmp_path / "home"
    key = secret_key(home)
    assert len(key) >= 43
    assert secret_key(home) == key
    assert (home / "secret.key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in home.iterdir()] == ["secret.key"]
    SecretKeys(key)


def test_of_many_that_make_one_all_get_the_same(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from orchestrator.process.home import secret_key;"
        " print(secret_key(Path(sys.argv[1])))"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "home")],
            stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3],
        )
        for _ in range(3)
    ]  # fmt: skip
    keys = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert keys == {(tmp_path / "home" / "secret.key").read_text()}
