"""Following a run over real sockets that break: every `seq` once and in order, whatever happens."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask, jsonify, request
from flask_sock import Sock
from werkzeug.serving import make_server

from orchestrator.client import transport, watching
from orchestrator.client.errors import ApiError, ServerUnreachable
from orchestrator.client.http import Client
from orchestrator.client.watching import StreamRefused

RUN = "01a205f1-0bf3-70e4-9786-a3e696e8ed0b"
LAST = 12
FRAMES: list[dict[str, Any]] = [
    *({"seq": n, "kind": "log", "message": str(n)} for n in range(1, LAST)),
    {"seq": LAST, "kind": "run", "state": "succeeded"},
]


class Server:
    """An API of one ended run whose socket does what a test says, a connection after the other."""

    def __init__(self) -> None:
        #: What each connection does; the last goes on for all that follow.
        self.acts: list[Callable[[Any, int], None]] = []
        #: `after` of every connection.
        self.asked: list[int] = []
        self.polled = 0
        self.sockets = True
        self.away = 0
        #: So many requests are not answered before the test's end.
        self.hung = 0
        self.over = threading.Event()
        self.keys: list[str] = []
        app = Flask(__name__)
        sock = Sock(app)

        @app.before_request
        def full() -> Any:
            if request.method == "POST":
                self.keys.append(request.headers["Idempotency-Key"])
            if self.hung and not request.path.endswith("/stream"):
                self.hung -= 1
                self.over.wait(20)
            if request.path.endswith("/stream") and not self.sockets:
                return jsonify({"code": "unavailable"}), 503
            if self.away and not request.path.endswith("/stream"):
                self.away -= 1
                return jsonify({"code": "unavailable", "detail": "away"}), 503
            return None

        @app.get("/api/v1/runs/<run_id>")
        def run(run_id: str) -> Any:
            return jsonify({"id": run_id, "state": "succeeded", "seq": LAST})

        @app.post("/api/v1/runs/<run_id>/retry")
        def retry(run_id: str) -> Any:
            return jsonify({"id": run_id, "state": "queued", "seq": 1})

        @app.get("/api/v1/runs/<run_id>/events")
        def events(run_id: str) -> Any:
            self.polled += 1
            after = int(request.args["after"])
            return jsonify({"items": FRAMES[after : after + 5], "next_cursor": None})

        @sock.route("/api/v1/runs/<run_id>/stream")
        def stream(ws: Any, run_id: str) -> None:
            after = int(request.args["after"])
            self.asked.append(after)
            act = self.acts.pop(0) if len(self.acts) > 1 else self.acts[0]
            act(ws, after)

        self._server = make_server("127.0.0.1", 0, app, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def stop(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def send(ws: Any, numbers: range) -> None:
    for number in numbers:
        ws.send(json.dumps(FRAMES[number - 1]))


def all_of_it(ws: Any, after: int) -> None:
    send(ws, range(after + 1, LAST + 1))
    ws.close(1000)


def cut_after(count: int) -> Callable[[Any, int], None]:
    def act(ws: Any, after: int) -> None:
        send(ws, range(after + 1, min(LAST, after + count) + 1))
        ws.sock.shutdown(2)

    return act


def repeat_and_skip(ws: Any, after: int) -> None:
    send(ws, range(1, after + 3))
    send(ws, range(after + 5, LAST + 1))
    ws.close(1000)


def nothing(ws: Any, after: int) -> None:
    ws.close(1012)


def refuse(ws: Any, after: int) -> None:
    ws.close(4404, "no such run")


def with_gap(ws: Any, after: int) -> None:
    ws.send(json.dumps({"kind": "gap", "from": 1, "to": 7}))
    send(ws, range(8, LAST + 1))
    ws.close(1000)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.stop()


def watched(server: Server, after: int = 0) -> list[int]:
    with Client(server.url, "key") as client:
        return [frame.get("seq", -frame.get("to", 0)) for frame in client.watch(RUN, after)]


@pytest.mark.parametrize(
    "acts",
    [
        [all_of_it],
        [cut_after(3), cut_after(4), all_of_it],
        [cut_after(1)],
        [nothing, cut_after(2), nothing, all_of_it],
        [repeat_and_skip, all_of_it],
        [cut_after(2), repeat_and_skip, all_of_it],
    ],
    ids=["whole", "cut twice", "cut always", "turned away", "mixed up", "cut and mixed up"],
)
def test_every_seq_comes_once_and_in_order(
    server: Server, acts: list[Callable[[Any, int], None]]
) -> None:
    server.acts = acts
    assert watched(server) == list(range(1, LAST + 1))


def test_it_begins_after_what_is_known(server: Server) -> None:
    server.acts = [all_of_it]
    assert watched(server, after=9) == [10, 11, 12]
    assert server.asked == [9]


def test_nothing_left_to_come_ends_at_once(server: Server) -> None:
    server.acts = [all_of_it]
    assert watched(server, after=LAST) == []


def test_a_gap_is_told_and_gone_past(server: Server) -> None:
    server.acts = [with_gap]
    assert watched(server) == [-7, 8, 9, 10, 11, 12]


def test_without_sockets_it_reads_pages(server: Server) -> None:
    server.sockets = False
    assert watched(server) == list(range(1, LAST + 1))
    assert server.polled == 3


def test_a_run_that_is_not_there_is_an_error(server: Server) -> None:
    server.acts = [refuse]
    with pytest.raises(StreamRefused, match="no such run"):
        watched(server)


def test_patience_outlasts_a_server_that_is_away(server: Server) -> None:
    server.away = 2
    with Client(server.url, patience_s=5) as client:
        assert client.run(RUN)["state"] == "succeeded"
    server.away = 1
    with Client(server.url) as hasty, pytest.raises(ApiError, match="away"):
        hasty.run(RUN)


def test_a_line_that_goes_dead_is_noticed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "PING_S", 0.2)
    silent = threading.Event()

    def dead(ws: Any, after: int) -> None:
        # The peer is gone without a word: it answers no pings, and nothing comes.
        ws._handle_events = lambda: True
        silent.wait(5)

    server.acts = [dead, all_of_it]
    try:
        assert watched(server) == list(range(1, LAST + 1))
    finally:
        silent.set()


def test_no_server_says_so() -> None:
    with Client("http://127.0.0.1:1") as client, pytest.raises(ServerUnreachable, match="zq up"):
        client.run(RUN)


def test_a_server_that_hangs_is_asked_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "_ANSWER_S", 0.3)
    server.hung, server.sockets = 1, False
    with Client(server.url, patience_s=0.1) as client:
        assert [frame["seq"] for frame in client.watch(RUN)] == [*range(1, LAST + 1)]
        server.hung = 1
        assert client.retry(RUN)["id"] == RUN
    first, second = server.keys
    assert first == second
    server.hung = 1
    with Client(server.url) as client, pytest.raises(ServerUnreachable):
        client.run(RUN)
