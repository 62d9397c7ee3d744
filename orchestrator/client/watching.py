"""A run's events, each `seq` once and in order, over a socket that may break at any time.

When sockets are to be had nowhere (503, a proxy without them) it reads `GET /runs/{id}/events`.
"""

from __future__ import annotations

import functools
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any, Protocol
from urllib.parse import quote

import simple_websocket
from wsproto.events import AcceptConnection, RejectConnection, Request

from orchestrator.client.documents import Frame, RunDoc
from orchestrator.errors import ZQError
from orchestrator.models.runs.run import ENDS

HANDSHAKE_S = 10.0
#: A silent line is probed this often; an unanswered probe ends the connection.
PING_S = 20.0
#: Between two reads while there is no socket, and how many reads until one is tried again.
POLL_S, POLLS = 0.5, 20
#: Close codes after which trying again is of no use.
FINAL = {
    4400: "`after` is beyond the last event of the run",
    4401: "the server does not know this key",
    4403: "this key may not see the run",
    4404: "there is no such run",
}


class StreamRefused(ZQError):
    """The run's events may not be read."""

    code = "stream_refused"


class Watched(Protocol):
    """A server whose runs are watched."""

    server: str

    @property
    def headers(self) -> dict[str, str]:
        """What every request and socket carries."""

    def events(self, run_id: str, after: int = 0) -> list[Frame]:
        """Return the next page of a run's events."""

    def run(self, run_id: str) -> RunDoc:
        """Return a run as it stands."""


class _Socket(simple_websocket.Client):  # type: ignore[misc]  # ships no types
    """The library's handshake swallows frames that come in the same packet and waits for ever."""

    def handshake(self) -> None:
        request = Request(
            host=f"{self.host}:{self.port}", target=self.path, extra_headers=self.extra_headeers
        )
        self.sock.settimeout(HANDSHAKE_S)
        self.sock.sendall(self.ws.send(request))
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = self.sock.recv(1)
            if not byte:
                raise simple_websocket.ConnectionError
            head += byte
        self.ws.receive_data(head)
        answer = next(self.ws.events(), None)
        if not isinstance(answer, AcceptConnection):
            status = answer.status_code if isinstance(answer, RejectConnection) else None
            self.sock.close()
            raise simple_websocket.ConnectionError(status)
        self.sock.settimeout(None)
        self.connected = True


def watch(client: Watched, run_id: str, after: int) -> Iterator[Frame]:
    """Yield the frames with `seq > after` until the run has ended."""
    seen, ended, pause_s = after, False, 0.0
    while not ended:
        before = seen
        for frame in _some(client, run_id, seen):
            if frame["kind"] != "gap" and frame["seq"] <= seen:
                continue
            if frame["kind"] != "gap" and frame["seq"] != seen + 1:
                break  # Frames are missing: they are asked for again.
            yield frame
            seen = int(frame["to"] if frame["kind"] == "gap" else frame["seq"])
            ended = _ends(frame)
        ended = ended or _has_ended(client, run_id, seen)
        pause_s = 0.0 if seen > before else min(2.0, 2 * pause_s + 0.1)
        if not ended:
            time.sleep(pause_s)


def _some(client: Watched, run_id: str, after: int) -> Iterator[Frame]:
    try:
        yield from _socket_frames(client, run_id, after)
    except _NoSocket:
        yield from _polled(client, run_id, after)


class _NoSocket(Exception):
    """There is no socket to be had just now."""


def _socket_frames(client: Watched, run_id: str, after: int) -> Iterator[dict[str, Any]]:
    """Yield frames until the connection ends, for whatever reason."""
    base = client.server.replace("http", "ws", 1)
    url = f"{base}/api/v1/runs/{quote(run_id, safe='')}/stream?after={after}"
    try:
        line = _Socket(
            url,
            headers=client.headers,
            ping_interval=PING_S,
            receive_bytes=65_536,
            thread_class=functools.partial(threading.Thread, daemon=True),
        )
    except simple_websocket.ConnectionError as error:
        if error.status_code in {401, 403, 404}:
            raise StreamRefused(FINAL[4000 + error.status_code]) from None
        raise _NoSocket from None
    except (OSError, socket.gaierror):
        raise _NoSocket from None
    try:
        while True:
            text = line.receive()
            if text is not None:
                yield json.loads(text)
    except simple_websocket.ConnectionClosed as closed:
        code = int(closed.reason or 0)
        if code in FINAL:
            raise StreamRefused(closed.message or FINAL[code]) from None
    finally:
        if line.connected:
            line.close()


def _polled(client: Watched, run_id: str, after: int) -> Iterator[Frame]:
    """Yield what ordinary requests bring, for a while or until the run has ended."""
    for _ in range(POLLS):
        frames = client.events(run_id, after)
        yield from frames
        if frames and _ends(frames[-1]):
            return
        if frames:
            after = int(frames[-1]["seq"])
        else:
            time.sleep(POLL_S)


def _ends(frame: Frame) -> bool:
    return frame["kind"] == "run" and frame.get("state") in ENDS


def _has_ended(client: Watched, run_id: str, seen: int) -> bool:
    """Whether nothing is left to come; asked when a connection ended without a run's end."""
    run = client.run(run_id)
    return run["state"] in ENDS and int(run.get("seq", seen)) <= seen
