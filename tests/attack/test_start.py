"""Row M3: what leaves the door open does not start."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from orchestrator.errors import SettingsError
from orchestrator.process.start_check import refuse_unsafe
from orchestrator.settings import Auth, Broker, Database, Redis, Settings, Start
from tests.factories import SECRET_KEY
from tests.integration.serving import KEY, ROOT

PROCESSES = {
    "web": ("-m", "web.server.serve"),
    "worker": ("-m", "workers.supervisor"),
    "scheduler": ("-m", "orchestrator.cli", "scheduler"),
    "plain worker": ("-m", "celery", "-A", "workers.app", "worker"),
}
SAFE = {
    "ZQ_DATABASE__URL": "postgresql://zq:aVeryGoodOne@127.0.0.1:1/zq",
    "ZQ_REDIS__URL": "redis://127.0.0.1:1/0",
    "ZQ_AUTH__ADMIN_KEY": KEY,
    "ZQ_AUTH__SECRET_KEY": SECRET_KEY,
}
UNSAFE: dict[str, dict[str, str]] = {
    "a debugger": {"FLASK_DEBUG": "1"},
    "a short admin key": {"ZQ_AUTH__ADMIN_KEY": "changeme"},
    "Redis for everybody": {"ZQ_REDIS__URL": "redis://8.8.8.8:6379/0"},
    "a broker that is not supported": {"ZQ_BROKER__URL": "amqp://user:aGoodOne@127.0.0.1//"},
    "Postgres for everybody": {"ZQ_DATABASE__URL": "postgresql://zq@8.8.8.8/zq"},
}


CASES = [
    *(("web", unsafe) for unsafe in UNSAFE),
    *(
        (process, unsafe)
        for process in PROCESSES
        if process != "web"
        for unsafe in ("Redis for everybody", "a broker that is not supported")
    ),
]


@pytest.mark.parametrize(("process", "unsafe"), CASES)
def test_m3_no_process_starts_with_an_open_door(process: str, unsafe: str) -> None:
    wrong = UNSAFE[unsafe]
    clean = {k: v for k, v in os.environ.items() if not k.startswith("ZQ_")}
    done = subprocess.run(
        [sys.executable, *PROCESSES[process]],
        env={**clean, **SAFE, **wrong, "PYTHONPATH": str(ROOT)},
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode != 0, said
    assert next(iter(wrong)) in said
    # Celery imports the application by itself, and shows how it could not.
    assert process == "plain worker" or "Traceback" not in said, said


@pytest.mark.parametrize(
    ("process", "key"),
    [("web", "short"), ("web", "a" * 64), ("worker", "abcabcabcabcabcabcabc"), ("worker", "")],
)
def test_m3_a_secret_key_that_others_know_ends_the_start(process: str, key: str) -> None:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("ZQ_")}
    done = subprocess.run(
        [sys.executable, *PROCESSES[process]],
        env={**clean, **SAFE, "ZQ_AUTH__SECRET_KEY": key, "PYTHONPATH": str(ROOT)},
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "ZQ_AUTH__SECRET_KEY" in said
    assert "Traceback" not in said
    assert not key or f" {key} " not in said


def settings(**urls: str) -> Settings:
    return replace(
        Settings(auth=Auth(admin_key=KEY, secret_key=SECRET_KEY)),
        database=Database(url=urls.get("database", "postgresql://zq:aGoodOne@db.internal/zq")),
        redis=Redis(url=urls.get("redis", "redis://127.0.0.1/0")),
        broker=Broker(url=urls.get("broker", "")),
    )


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("redis", "redis://8.8.8.8"),
        ("redis", "rediss://user@8.8.8.8:6380/0"),
        ("redis", "redis://:redis@[2606:4700::1111]:6379/0"),
        ("broker", "redis://guest:guest@8.8.8.8/1"),
        ("database", "postgresql://8.8.8.8/zq"),
        ("database", "postgresql://zq:postgres@8.8.8.8/zq"),
        ("database", "postgresql://zq@10.0.0.1,8.8.8.8:5433/zq"),
        ("database", "postgresql+psycopg2:///zq?host=8.8.8.8&user=zq"),
    ],
)
def test_m3_a_public_server_needs_a_password_of_its_own(name: str, url: str) -> None:
    found = settings(**{name: url})
    with pytest.raises(SettingsError, match=f"ZQ_{name.upper()}__URL.*ALLOW_OPEN_SERVERS"):
        refuse_unsafe(found, {})
    refuse_unsafe(replace(found, start=Start(allow_open_servers=True)), {})


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("redis", "redis://127.0.0.1:6379/0"),
        ("redis", "redis://10.0.0.9/0"),
        ("redis", "rediss://:p%40ss-of-its-own@8.8.8.8/0"),
        ("redis", "redis://nobody-knows-this.invalid/0"),
        ("database", "postgresql:///zq?host=/run/postgresql"),
        ("database", "postgresql://zq@8.8.8.8/zq?sslcert=/a&sslkey=/b"),
        ("database", ""),
    ],
)
def test_m3_what_is_private_or_proves_itself_starts(name: str, url: str) -> None:
    refuse_unsafe(settings(**{name: url}), {})


@pytest.mark.parametrize("key", ["changeme", "aaaaaaaaaaaaaaaaaaaaaaaa", "adminadminadmin", "x"])
def test_m3_an_admin_key_that_could_be_guessed(key: str) -> None:
    with pytest.raises(SettingsError, match="ZQ_AUTH__ADMIN_KEY"):
        refuse_unsafe(replace(settings(), auth=Auth(admin_key=key, secret_key=SECRET_KEY)), {})


@pytest.mark.parametrize("value", ["1", "true", "yes", "on"])
def test_m3_a_debugger(value: str) -> None:
    with pytest.raises(SettingsError, match="FLASK_DEBUG"):
        refuse_unsafe(settings(), {"FLASK_DEBUG": value})
    refuse_unsafe(settings(), {"FLASK_DEBUG": "0"})
