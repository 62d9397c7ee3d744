"""Work has a price: whatever body a route lets in is answered soon and in bounded memory, and
meanwhile the server answers others.

CPU seconds of the server's own processes count, which other programs do not lengthen.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.attack.route_bodies import SIZES, as_body, definitions, of_any_route
from tests.attack.stack import Stack
from tests.attack.test_bodies import UNKNOWN

#: What any answer may cost: seconds of CPU, bytes of memory, seconds that others wait.
MOST_CPU_S, MOST_BYTES, MOST_WAIT_S = 2.0, 200 * 1024 * 1024, 0.5
#: A machine that is busy with something else is asked again.
TRIES = 3
#: `make attack` sends bodies of every size; else only those that most routes take.
LONG = "ZQ_ATTACK_MINUTES" in os.environ
#: Whoever waits longer has no answer.
TIMEOUT_S = 10
DEFINITIONS = dict(definitions())
#: Where definitions come in, and under which field.
DOORS = {
    "/workflows": None, "/workflows/validate": None, "/workflows/execute": "definition",
    "/workflows/import": None,
}  # fmt: skip
JSON = {"Content-Type": "application/json"}


@dataclass
class Cost:
    """What one answer cost."""

    cpu_s: float = 0.0
    grown: int = 0
    waits: list[float] = field(default_factory=list)
    status: int = 0

    @property
    def fine(self) -> bool:
        return (
            self.status not in (0, 503)
            and self.cpu_s <= MOST_CPU_S
            and self.grown <= MOST_BYTES
            and max(self.waits, default=0.0) <= MOST_WAIT_S
        )

    def __str__(self) -> str:
        waited = max(self.waits, default=0.0)
        return (
            f"{self.status}: {self.cpu_s:.2f} s of CPU, {self.grown >> 20} MB,"
            f" others waited {waited:.2f} s"
        )


class Scales:
    """Weighs requests to a server."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._other = stack.key("owner", tenant_id=stack.tenant())
        web = next(p for p in stack.live.processes if "web" in " ".join(map(str, p.args)))
        (self._server,) = psutil.Process(web.pid).children()

    def weigh(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Cost:
        """Send a request until it is cheap enough, TRIES times at most; return the last cost."""
        for _ in range(TRIES):
            cost = self._once(method, path, body, headers)
            if cost.fine:
                break
        return cost

    def _once(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Cost:
        cost = Cost()
        Path(f"/proc/{self._server.pid}/clear_refs").write_text("5")
        before = self._memory("VmRSS")
        began = self._cpu_s()
        with self._others(cost):
            cost.status = self._answered(method, path, body, headers)
        cost.cpu_s = self._cpu_s() - began
        cost.grown = self._memory("VmHWM") - before
        return cost

    def _answered(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> int:
        """Return the status; 0 where none came in time."""
        try:
            answer = self._stack.http.request(
                method,
                f"{self._stack.url}{path}",
                content=body,
                headers=headers,
                timeout=TIMEOUT_S,
            )
        except httpx.TimeoutException:
            return 0
        assert answer.status_code < 500 or answer.status_code == 503, answer.text[:400]
        return answer.status_code

    @contextmanager
    def _others(self, cost: Cost) -> Iterator[None]:
        """Ask as others meanwhile, now and then, and note how long they wait."""
        over = threading.Event()
        headers = {"Authorization": f"Bearer {self._other}"}

        def ask() -> None:
            with httpx.Client(
                base_url=self._stack.url, headers=headers, timeout=TIMEOUT_S
            ) as client:
                while True:
                    for path in ("/healthz", "/api/v1/workflows?limit=1"):
                        asked = time.monotonic()
                        assert client.get(path).status_code == 200
                        cost.waits.append(time.monotonic() - asked)
                    if over.wait(0.05):
                        return

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            yield
        finally:
            over.set()
            asking.join()

    def _cpu_s(self) -> float:
        used = self._server.cpu_times()
        return float(used.user + used.system)

    def _memory(self, what: str) -> int:
        text = Path(f"/proc/{self._server.pid}/status").read_text()
        found = re.search(rf"{what}:\s+(\d+) kB", text)
        assert found is not None
        return int(found.group(1)) * 1024


@pytest.fixture(scope="module")
def scales(stack: Stack) -> Scales:
    return Scales(stack)


def routes(stack: Stack) -> Iterator[tuple[str, str, list[str]]]:
    """Yield method, path and declared fields of everything that takes a JSON body."""
    document = stack.http.get(f"{stack.url}/api/v1/openapi.json").json()
    schemas = document["components"]["schemas"]
    for path, item in document["paths"].items():
        for method in ("post", "put", "patch"):
            content = item.get(method, {}).get("requestBody", {}).get("content", {})
            if "application/json" not in content:
                continue
            schema: dict[str, Any] = content["application/json"].get("schema", {})
            found = schemas.get(str(schema.get("$ref", "")).rpartition("/")[2], schema)
            fields = list(found.get("properties", {}))
            yield method.upper(), re.sub(r"\{\w+\}", UNKNOWN, path), fields


def test_what_any_route_lets_in_is_cheap(stack: Stack, scales: Scales) -> None:
    dear = {}
    for method, path, fields in routes(stack):
        for size in SIZES if LONG else SIZES[1:2]:
            for name, body in of_any_route(fields, size):
                cost = scales.weigh(method, path, body, JSON)
                if not cost.fine:
                    dear[f"{method} {path} {name} {size}"] = str(cost)
    assert dear == {}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_what_a_definition_may_be_is_cheap(name: str, scales: Scales) -> None:
    dear = {}
    for path, inside in DOORS.items():
        body = as_body(DEFINITIONS[name], inside)
        cost = scales.weigh("POST", f"/api/v1{path}", body, JSON)
        if not cost.fine:
            dear[path] = str(cost)
    assert dear == {}
