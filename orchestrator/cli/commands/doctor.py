"""`zq doctor`: looks at everything `zq` stands on and says what to do about what is wrong."""

from __future__ import annotations

import os
import platform
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import entry_points

import click

from orchestrator.cli.terminal.output import clean, say
from orchestrator.cli.terminal.verbs import Call, verb
from orchestrator.errors import EmbeddedUnavailable, SettingsError, ZQError
from orchestrator.ports.store import Store
from orchestrator.process import own_packages, start_check
from orchestrator.process.home import KEY_FILE, SECRET_FILE
from orchestrator.settings import Settings, load

LEAST_PYTHON = (3, 11)
#: Redis must never throw away what the broker keeps in it.
SAFE_POLICIES = {"noeviction"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at. `fine` None: nothing to judge, only to tell."""

    name: str
    fine: bool | None
    said: str
    remedy: str = ""


@verb("doctor", server=False)
def doctor_command(call: Call) -> int:
    """Check this machine and its servers: one line each, exit 1 if something must be done."""
    failed, rows = 0, []
    for check in _checks():
        failed += check.fine is False
        rows.append({**asdict(check), "remedy": "" if check.fine else check.remedy})
        if not call.for_people:
            continue
        mark, colour = {True: ("ok", "green"), False: ("FAIL", "red"), None: ("-", "bright_black")}[
            check.fine
        ]
        line = f"{click.style(f'{mark:<5}', fg=colour)}{check.name:<10} {clean(check.said)}"
        say(f"{line}: {clean(check.remedy)}" if check.remedy and not check.fine else line)
    if not call.for_people:
        call.show(rows, {})
    return 1 if failed else 0


def _checks() -> Iterator[Check]:
    yield _python()
    try:
        settings = load()
    except SettingsError as error:
        yield Check(name="settings", fine=False, said=error.detail, remedy="correct or unset it")
        return
    try:
        start_check.refuse_unusable(settings)
    except SettingsError as error:
        yield Check(name="settings", fine=False, said=error.detail, remedy="no process starts so")
        return
    names = ", ".join(sorted(settings.origins)) or "all defaults"
    yield Check(name="settings", fine=True, said=names)
    yield _home(settings)
    yield _binaries(settings)
    yield _modules(settings)
    resolved = _resolved(settings)
    if resolved is None:
        yield Check(
            name="servers",
            fine=None,
            said=f"nothing runs in {settings.home}, and no URLs are set",
            remedy="`zq up` starts everything",
        )
        yield _port(settings, used=False)
        return
    yield from _postgres(resolved)
    yield _redis(resolved)
    yield _port(settings, used=True)


def _python() -> Check:
    fine = sys.version_info >= LEAST_PYTHON
    return Check(
        name="python",
        fine=fine,
        said=f"{platform.python_version()} in {sys.prefix}",
        remedy="3.11 or newer is needed",
    )


def _home(settings: Settings) -> Check:
    home = settings.home.absolute()
    if not home.exists():
        return Check(name="home", fine=True, said=f"{home} will be made")
    mode = stat.S_IMODE(home.stat().st_mode)
    if mode & 0o077:
        return Check(
            name="home", fine=False, said=f"{home} has mode {mode:o}", remedy=f"chmod 700 {home}"
        )
    if not os.access(home, os.W_OK | os.X_OK):
        return Check(
            name="home", fine=False, said=f"{home} cannot be written", remedy="set ZQ_HOME"
        )
    for key in (home / KEY_FILE, home / SECRET_FILE):
        if key.exists() and stat.S_IMODE(key.stat().st_mode) & 0o077:
            return Check(
                name="home", fine=False, said=f"others may read {key}", remedy=f"chmod 600 {key}"
            )
    return Check(name="home", fine=True, said=str(home))


def _binaries(settings: Settings) -> Check:
    from orchestrator.adapters.embedded import find_binaries

    if not settings.embedded:
        return Check(name="embedded", fine=None, said="not used: both URLs are set")
    try:
        found = find_binaries()
    except EmbeddedUnavailable as error:
        return Check(name="embedded", fine=False, said=error.detail)
    return Check(name="embedded", fine=True, said=f"{found.postgres_bin}, {found.redis_server}")


def _modules(settings: Settings) -> Check:
    """Load what workers are to load, in a process of its own, as a worker does that starts here."""
    offered = [point.name for point in entry_points(group="zqautonxg.functions")]
    named = ", ".join([*filter(None, settings.worker.modules.split(",")), *offered])
    if not named:
        return Check(name="functions", fine=None, said="no modules of yours are named")
    try:
        done = subprocess.run(
            own_packages.command("workers.loadable"),
            env={**os.environ, "PYTHONPATH": own_packages.search_path(os.environ)},
            check=False, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        said = done.stderr.strip().splitlines()[-1:] if done.returncode else []
        fine = not done.returncode
    except subprocess.TimeoutExpired:
        said, fine = ["they take longer than 60 s to load"], False
    return Check(
        name="functions",
        fine=fine,
        said=f"{named} can be loaded" if fine else "".join(said) or f"{named} cannot be loaded",
        remedy="until it can be loaded no worker starts",
    )


def _resolved(settings: Settings) -> Settings | None:
    from orchestrator.bootstrap.resolving import resolve

    try:
        return resolve(settings)
    except SettingsError:
        return None


def _postgres(settings: Settings) -> Iterator[Check]:
    from orchestrator.adapters.postgres.migrate import head
    from orchestrator.adapters.postgres.store import PostgresStore

    store = PostgresStore(
        settings.database.url,
        pool_size=1,
        connect_timeout_s=settings.database.connect_timeout_s,
    )
    try:
        found = store.reads.ping()
        yield Check(
            name="postgres",
            fine=found >= int(head()),
            said=f"reachable, schema revision {found}, this release has {int(head())}",
            remedy="`zq migrate`",
        )
        yield _workers(settings, store)
    except ZQError as error:
        yield Check(
            name="postgres",
            fine=False,
            said=error.detail,
            remedy="see that it runs, that ZQ_DATABASE__URL is right, and run `zq migrate`",
        )
    finally:
        store.close()


def _workers(settings: Settings, store: Store) -> Check:
    workers = store.fleet.workers()
    living = [w for w in workers if w["state"] == "active" and w["age_s"] < settings.worker.lease_s]
    slots = sum(w["slots"] for w in living)
    refused = [f"; on {w['host']}: {w['refusal']}" for w in workers if w["state"] == "refused"]
    return Check(
        name="workers",
        fine=bool(living),
        said=f"{len(living)} alive with {slots} slots"
        if living
        else f"none is alive{''.join(refused[-1:])}",
        remedy="start one with `zq worker`",
    )


def _redis(settings: Settings) -> Check:
    import redis

    client = redis.Redis.from_url(
        settings.redis.url,
        socket_timeout=settings.redis.timeout_s,
        socket_connect_timeout=settings.redis.timeout_s,
    )
    try:
        server, memory = client.info("server"), client.info("memory")
    except redis.RedisError as error:
        return Check(
            name="redis",
            fine=False,
            said=f"not reachable: {error}",
            remedy="see that it runs and that ZQ_REDIS__URL is right",
        )
    finally:
        client.close()
    # Valkey tells an old redis_version for the sake of old clients.
    valkey = server.get("valkey_version")
    version = f"Valkey {valkey}" if valkey else f"Redis {server['redis_version']}"
    policy = str(memory.get("maxmemory_policy", "unknown"))
    return Check(
        name="redis",
        fine=policy in SAFE_POLICIES,
        said=f"reachable, {version}, maxmemory-policy {policy}",
        remedy="set maxmemory-policy to noeviction, or messages may vanish",
    )


def _port(settings: Settings, *, used: bool) -> Check:
    from orchestrator.client.discovery import address
    from orchestrator.client.http import Client

    url = address(settings)
    try:
        with Client(url) as client:
            client.request("GET", "/readyz")
    except ZQError as error:
        return _silent_port(settings, url, error, used=used)
    return Check(name="api", fine=True, said=f"ready at {url}")


def _silent_port(settings: Settings, url: str, error: ZQError, *, used: bool) -> Check:
    from orchestrator.cli.up.launch import port_is_free
    from orchestrator.client.errors import ServerUnreachable

    if not isinstance(error, ServerUnreachable):
        return Check(
            name="api",
            fine=False,
            said=f"something at {url} is not ready: {error.detail}",
            remedy="its log says more; if it is another program, set ZQ_WEB__PORT",
        )
    if not port_is_free(settings.web.host, settings.web.port):
        return Check(
            name="api",
            fine=False,
            said=f"port {settings.web.port} is taken by another program",
            remedy="set ZQ_WEB__PORT to a free port",
        )
    return Check(
        name="api",
        fine=False if used else None,
        said=f"nothing listens at {url}",
        remedy="start it with `zq web`" if used else "the port is free for `zq up`",
    )
