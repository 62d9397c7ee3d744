"""A secret that is used in every way is found nowhere: not in the record, not in Redis, not in an
answer, a frame, a file or a log line, in none of the ways in which it may be written."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg2
import pytest
import redis
import websocket

from orchestrator.models.ids import DEFAULT_TENANT
from orchestrator.services.secrets.masking import forms
from tests.integration.live import Live, living
from tests.integration.serving import KEY
from tests.waiting import wait_for

#: Found wherever something is kept: the search looks there.
MARKER = "a-marker-that-is-no-secret"
PLAIN = f"canary+{uuid4().hex}@plain!"
CANARY = f'canary/{uuid4().hex}+"q\\z&x=1% end'
PEM = "-----BEGIN KEY-----\n{}\n-----END KEY-----".format(
    "\n".join(uuid4().hex + uuid4().hex for _ in range(6))
)


class Echo(BaseHTTPRequestHandler):
    """Answers with all it was sent; below /fail with 500."""

    received: list[str]

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        """Answer."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        seen = {"path": self.path, "headers": dict(self.headers), "body": body, "marker": MARKER}
        self.received.append(json.dumps(seen))
        text = self.path.startswith("/text")
        data = (f"{MARKER} {self.path} {body}" if text else json.dumps(seen)).encode()
        self.send_response(500 if self.path.startswith("/fail") else 200)
        self.send_header("Content-Type", "text/plain" if text else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Echo", self.headers.get("X-Token", ""))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        """Answer."""
        self.do_POST()


@pytest.fixture
def echo() -> Iterator[str]:
    Echo.received = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@contextmanager
def monitored(url: str) -> Iterator[list[str]]:
    """Take down every command that Redis gets, and so every message and announcement."""
    commands: list[str] = []
    client, watcher = (redis.Redis.from_url(url, socket_timeout=None) for _ in range(2))
    line = watcher.connection_pool.get_connection()
    line.send_command("MONITOR")
    line.read_response()

    def listen() -> None:
        while not commands or '"the-end"' not in commands[-1]:
            commands.append(line.read_response(disable_decoding=True).decode("latin-1"))

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        yield commands
    finally:
        client.echo("the-end")
        thread.join(20)
        line.disconnect()
        client.close()
        watcher.close()


def dumped(database_url: str) -> dict[str, str]:
    """Return every table, and every partition, as text."""
    found: dict[str, str] = {}
    with closing(psycopg2.connect(database_url)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'm') AND"
            " relnamespace = current_schema()::regnamespace"
        )
        for (table,) in cursor.fetchall():
            out = StringIO()
            cursor.copy_expert(f"COPY {table} TO STDOUT", out)
            found[f"table {table}"] = out.getvalue()
    return found


def keys_of(url: str) -> str:
    """Return every key of Redis with what it holds."""
    client = redis.Redis.from_url(url)
    readers = {
        b"string": client.get, b"hash": client.hgetall, b"set": client.smembers,
        b"list": lambda key: client.lrange(key, 0, -1),
        b"zset": lambda key: client.zrange(key, 0, -1),
        b"stream": client.xrange,
    }  # fmt: skip
    text = "\n".join(f"{k!r} {readers[client.type(k)](k)!r}" for k in client.scan_iter())
    client.close()
    return text


def node(id: str, type: str, **config: Any) -> dict[str, Any]:
    return {"id": id, "type": type, "data": {"config": config, "trigger_rule": "all_done"}}


def definition(echo: str) -> dict[str, Any]:
    args = {"token": "{{ secrets.canary }}", "marker": MARKER}
    long = {"token": "{{ secrets.pem }}", "marker": MARKER}
    used = {
        "headers": {
            "X-Token": "{{ secrets.canary }}", "Authorization": "Basic {{ secrets.canary }}",
        },
        "query": {"token": "{{ secrets.canary }}"},
        "method": "POST",
    }  # fmt: skip
    nodes = [
        node("json", "http", url=f"{echo}/json/x", json={"t": ["{{ secrets.canary }}"]}, **used),
        node("text", "http", url=f"{echo}/text", body="t={{ secrets.canary }}", **used),
        node("fail", "http", url=f"{echo}/fail", body="{{ secrets.pem }}", **used),
        node("path", "http", url=f"{echo}/p/{{{{ secrets.plain }}}}/{{{{ vars.stage }}}}"),
        node("nohost", "http", url="{{ secrets.canary }}"),
        node("say", "python", function="canary.say", args=args),
        node("lines", "python", function="canary.say", args=long),
        node("back", "python", function="canary.return", args=args),
        node("throw", "python", function="canary.raise", args=args),
        node("wait", "python", function="canary.wait", args={"token": "{{ secrets.canary }}"}),
        node("compute", "transform", expression="{'a': secrets.canary, 'b': [secrets.pem]}"),
        node("key", "transform", expression="inputs[secrets.canary]"),
        node("after", "transform", expression="[nodes.back.output, nodes.json.output.body]"),
    ]
    for each in nodes:
        each["data"]["retry"] = {"max_attempts": 3, "delay_s": 0.05, "jitter": False}
    edges = [{"source": s, "target": "after"} for s in ("back", "json")]
    return {"name": "canary", "nodes": nodes, "edges": edges}


def frames_of(url: str, run_id: str) -> str:
    """Return every frame of the run's stream, to its end."""
    address = f"{url.replace('http', 'ws', 1)}/api/v1/runs/{run_id}/stream?after=0"
    line = websocket.create_connection(
        address, header=[f"Authorization: Bearer {KEY}"], timeout=20, suppress_origin=True
    )
    found: list[str] = []
    try:
        while data := line.recv():
            found.append(data if isinstance(data, str) else data.decode())
    except websocket.WebSocketConnectionClosedException:
        pass
    finally:
        line.shutdown()
    return "\n".join(found)


def answers_of(client: httpx.Client, run: dict[str, Any]) -> dict[str, str]:
    """Return every answer that tells of the run, of secrets, or of what was done."""
    at = f"/runs/{run['id']}"
    tasks = client.get(f"{at}/tasks").json()["items"]
    artifacts = client.get(f"{at}/artifacts").json()["items"]
    paths = [
        at, f"{at}/tasks", f"{at}/events?limit=1000", f"{at}/logs", f"{at}/why", f"{at}/timeline",
        f"{at}/artifacts", "/runs", "/logs/history", "/secrets", "/variables", "/audit",
        f"/workflows/{run['workflow_id']}", f"/workflows/{run['workflow_id']}/history",
        *(f"{at}/tasks/{task['node_id']}" for task in tasks),
        *(f"{at}/tasks/{task['node_id']}/attempts" for task in tasks),
        *(f"{at}/artifacts/{artifact['name']}" for artifact in artifacts),
    ]  # fmt: skip
    found = {path: client.get(path) for path in paths}
    assert {a.status_code for a in found.values()} == {200}
    return {f"GET {path}": f"{a.headers} {a.text}" for path, a in found.items()}


def web_of(live: Live) -> str:
    """Start a web server whose words are kept in the test's folder; return its address."""
    live.environment |= {"ZQ_AUTH__ADMIN_KEY": KEY, "ZQ_WEB__PORT": "0"}
    live.spawn("web", "-m", "web.server.serve")
    found = wait_for(
        lambda: re.search(r"^web: (\S+)", live.said("web"), re.MULTILINE),
        timeout_s=30,
        what="a web server",
    )
    return found[1]


def found_in(places: dict[str, str], value: str) -> list[str]:
    """Return where a value is to be found, in whichever form."""
    sought = forms(value) | {value[: len(value) // 2], value[len(value) // 2 :]}
    return [
        f"{place}: {form[:30]!r} in ...{text[max(0, text.find(form) - 60) : text.find(form)]!r}"
        for place, text in places.items()
        for form in sought
        if form in text
    ]


def test_a_canary_is_found_nowhere(
    database_url: str, redis_url: str, tmp_path: Path, echo: str
) -> None:
    with living(database_url, redis_url, tmp_path) as live, monitored(redis_url) as commands:
        live.environment |= {
            "ZQ_WORKER__MODULES": "tests.integration.secret_functions",
            "ZQ_EGRESS__ALLOW": "127.0.0.1",
            "ZQ_LOG_LEVEL": "DEBUG",
            "ZQ_BROKER__FLOWER_EVENTS": "true",
        }
        live.scheduler()
        live.worker()
        url = web_of(live)
        headers = {"Authorization": f"Bearer {KEY}"}
        with httpx.Client(base_url=f"{url}/api/v1", headers=headers, timeout=60) as client:
            for name, value in (("canary", CANARY), ("pem", PEM), ("plain", PLAIN)):
                assert client.put(f"/secrets/{name}", json={"value": value}).status_code == 201
            client.put("/variables/stage", json={"value": MARKER})
            body = {"definition": definition(echo), "input": {"marker": MARKER}}
            run = client.post("/workflows/execute", json=body).raise_for_status().json()
            frames = frames_of(url, run["id"])
            live.ended(run["id"], timeout_s=60)
            states = live.states(run["id"])
            places = answers_of(client, run)
        assert {n for n, s in states.items() if s == "succeeded"} == {
            "json", "text", "path", "say", "lines", "back", "wait", "compute", "after",
        }, states  # fmt: skip
        places |= dumped(database_url)
        places |= {"frames": frames, "keys of Redis": keys_of(redis_url)}
        places |= {
            f"file {path.name}": path.read_bytes().decode("latin-1")
            for path in [*tmp_path.glob("*.log"), *live.settings.artifacts_dir.rglob("*")]
            if path.is_file()
        }
    places["commands to Redis"] = "\n".join(commands)
    # All of it was really used, and the search looks where things are.
    sent = "\n".join(Echo.received)
    assert json.dumps(CANARY)[1:-1] in sent
    assert json.dumps(PEM)[1:-1] in sent
    for place in ("frames", "table events_default", "commands to Redis", "GET /logs/history"):
        near = [text for name, text in places.items() if name.startswith(place[:12])]
        assert any(MARKER in text for text in near), place
    assert any("said.txt" in name for name in places)
    for name in ("worker-1.log", "scheduler-0.log", "web-2.log"):
        assert places[f"file {name}"], name
    assert PLAIN in sent
    assert found_in(places, CANARY) == []
    assert found_in(places, PLAIN) == []
    assert found_in(places, PEM) == []
    assert str(DEFAULT_TENANT) in places["table secrets"]
