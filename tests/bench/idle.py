"""W5: what an installation costs while nothing happens: memory, CPU, and what it asks Postgres."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from contextlib import suppress

import psutil

from tests.bench import memory
from tests.bench.client import Client
from tests.bench.figures import Row, Spread, at_most, single
from tests.bench.installation import Installation
from tests.bench.processes import Processes
from tests.bench.raw import RawCelery

#: A logged statement: the backend's pid, then its text up to the next line that is not indented.
_LOGGED = re.compile(r"\[(\d+)\] LOG:  (?:statement|execute [^:]*): (.*(?:\n\t.*)*)")
#: Signs of life of a worker: its row, and what it holds.
_HEARTBEAT = re.compile(r"INSERT INTO workers|\.worker_id = ")
_SETTLE_S = 3.0
_MEMORY_MB = 200


def idle(engine: Installation, raw: RawCelery, seconds: float) -> list[Row]:
    """Measure both at rest, at the same time."""
    pause = threading.Event()
    pause.wait(_SETTLE_S)
    sides = (engine.processes, raw.processes)
    began, before = time.monotonic(), [memory.cpu_s(p) for p in sides]
    pause.wait(seconds)
    taken = time.monotonic() - began
    percent = [100 * (memory.cpu_s(p) - b) / taken for p, b in zip(sides, before, strict=True)]
    held = [memory.pss(p) for p in sides]
    sums = [memory.total(h) for h in held]
    return [
        _beside("idle memory (PSS)", "MB", sums, _MEMORY_MB, memory.listed(held[0])),
        _beside("idle CPU, of one core", "%", percent, 1, f"over {taken:.0f} s"),
        *_queries(engine, seconds, pause),
    ]


def idle_apart(engine: Installation) -> list[Row]:
    """Measure the memory where each process is started by itself, and sockets have their own."""
    with Client(engine.sockets(), "") as stream:
        # Its address is known before its application is there.
        stream.send("GET", "/healthz")
    threading.Event().wait(_SETTLE_S)
    held = memory.pss(engine.processes)
    what = "idle memory, each process started by itself"
    total, note = memory.total(held), memory.listed(held)
    return [single("W5", what, "MB", [total], at_most(_MEMORY_MB, "MB"), note=note)]


def _beside(what: str, unit: str, both: list[float], most: float, note: str) -> Row:
    ours, theirs = (Spread(value, value, value, 1) for value in both)
    return Row(
        workload="W5", what=what, unit=unit, ours=ours, theirs=theirs,
        target=at_most(most, unit), judged=both[0], judged_as="ours", note=note,
    )  # fmt: skip


def _queries(engine: Installation, seconds: float, pause: threading.Event) -> list[Row]:
    """Count statements in the server's log: who sent them is known by the sockets' ports."""
    log = engine.servers.log
    if log is None:
        return []
    with engine.servers.tuned(log_statement="all"):
        start = log.stat().st_size
        pause.wait(seconds)
        with log.open("rb") as text:
            text.seek(start)
            said = text.read().decode(errors="replace")
        owners = backends(engine)
    per_minute = 60 / seconds
    beyond: Counter[str] = Counter(dict.fromkeys(engine.processes.families(), 0))
    beats: Counter[str] = Counter()
    texts: Counter[tuple[str, str]] = Counter()
    for pid, statement in _LOGGED.findall(said):
        owner = owners.get(int(pid))
        if owner is None:
            continue
        if owner == "worker" and _HEARTBEAT.search(statement):
            beats[owner] += 1
        else:
            beyond[owner] += 1
            texts[owner, " ".join(statement.split())[:60]] += 1
    each = ", ".join(f"{n} {c * per_minute:.1f}" for n, c in beyond.items())
    most = ", ".join(f"{n}: `{t}` {c}" for (n, t), c in texts.most_common(4))
    note = f"{each}; heartbeats {sum(beats.values()) * per_minute:.0f}" + (
        f"; in {seconds:.0f} s {most}" if most else ""
    )
    worst = max(beyond.values()) * per_minute
    what = "idle queries beyond heartbeats, busiest process"
    return [single("W5", what, "/min", [worst], at_most(1, "/min"), note=note)]


def backends(engine: Installation) -> dict[int, str]:
    """Return which of our processes each backend of Postgres works for."""
    ports = _local_ports(engine.processes)
    rows = engine.ask(
        "SELECT pid, client_port FROM pg_stat_activity WHERE datname = current_database()"
    )
    return {pid: ports[port] for pid, port in rows if port in ports}


def _local_ports(processes: Processes) -> dict[int, str]:
    found: dict[int, str] = {}
    for name, family in processes.families().items():
        for process in family:
            with suppress(psutil.Error):
                for line in process.net_connections("tcp"):
                    if line.raddr:
                        found[line.laddr.port] = name
    return found
