"""The sending end of a WebSocket: whole frames under a deadline, whatever the client does.

simple-websocket writes with one `send`, which may be partial or block for ever, and keeps every
message a client sends; both are put right here, and only here.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import orjson
from simple_websocket import ConnectionClosed
from wsproto.events import CloseConnection, TextMessage
from wsproto.utilities import LocalProtocolError

#: A client that does not take a batch within this time is too slow, seconds.
SEND_TIMEOUT_S = 5.0
#: What flask-sock gives to simple-websocket.
SERVER_OPTIONS = {"ping_interval": 25, "max_message_size": 64 * 1024}
#: Messages a client may send in a second before it is taken for a flood.
_NOISE_PER_S = 10
#: Bytes it may send in a second, in whatever frames.
_NOISE_BYTES_PER_S = 128 * 1024
#: Frames are sent in batches of at least this many bytes where there are as many.
_BATCH_BYTES = 32 * 1024
#: Memory of the kernel for one client; more only hides that it is slow.
_BUFFER_BYTES = 96 * 1024
_LAST_BUFFER_BYTES = 1024 * 1024
#: How long a client may take to answer a close, seconds.
_FAREWELL_S = 2.0


class SendFailed(OSError):
    """The client is gone."""


class TooSlow(SendFailed):
    """The client does not read as fast as the run talks."""


class Noise(list[Any]):
    """A client's messages, counted and forgotten: this socket only sends."""

    def __init__(self) -> None:
        super().__init__()
        self._since = time.monotonic()
        self._heard = 0
        self.flood = False

    def append(self, message: Any) -> None:
        """Count a message."""
        now = time.monotonic()
        if now - self._since >= 1.0:
            self._since, self._heard = now, 0
        self._heard += 1
        self.flood = self.flood or self._heard > _NOISE_PER_S


class WholeWriter:
    """A socket that writes all or fails, from one thread at a time; reading is left as it is."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lock = threading.Lock()
        self._since = time.monotonic()
        self._heard = 0
        #: True when the client sends more than a socket that only sends has use for.
        self.flood = False
        self._leaving = threading.Event()
        #: What a slow client has not taken of the last write; nothing may go before it.
        self.rest = b""
        timeout = struct.pack("ll", int(SEND_TIMEOUT_S), 0)
        # The reader's thread may have closed it over a first frame that is none: the first write
        # is to say so.
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)

    def send(self, data: bytes) -> int:
        """Write all of it. TooSlow after SEND_TIMEOUT_S; OSError when the client is gone."""
        with self._lock:
            if self.rest:
                raise TooSlow("the client has not taken the frame before")
            deadline = time.monotonic() + SEND_TIMEOUT_S
            view = memoryview(data)
            while view:
                sent = 0
                with suppress(BlockingIOError):
                    sent = self._sock.send(view)
                view = view[sent:]
                if view and (not sent or time.monotonic() > deadline):
                    self.rest = bytes(view)
                    raise TooSlow("the client takes too long")
        return len(data)

    def send_last(self, data: bytes) -> None:
        """Leave the rest and a last frame to the kernel, which goes on when we are gone."""
        with self._lock, suppress(OSError):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LAST_BUFFER_BYTES)
            self._sock.send(self.rest + data, socket.MSG_DONTWAIT)

    def recv(self, size: int) -> bytes:
        """Read as the socket does. A client that floods is read no more until it is closed."""
        if self.flood:
            self._leaving.wait(_FAREWELL_S)
        data = self._sock.recv(size)
        now = time.monotonic()
        if now - self._since >= 1.0:
            self._since, self._heard = now, 0
        self._heard += len(data)
        self.flood = self.flood or self._heard > _NOISE_BYTES_PER_S
        return data

    def leave(self) -> None:
        """Let a client's reader go on: what it reads now is the answer to a close."""
        self._leaving.set()

    def fileno(self) -> int:
        """Return the socket's number."""
        return self._sock.fileno()

    def stop_reading(self) -> None:
        """Wake whoever reads; what was written still goes out."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        """Say that nothing follows. The server closes: with unread input, a close loses the end."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)


class SocketSender:
    """A connected client of ours. It answers pings and closes in a thread of its own."""

    def __init__(self, ws: Any) -> None:
        self._ws = ws
        self._noise = Noise()
        ws.input_buffer = self._noise
        self._writer = ws.sock = WholeWriter(ws.sock)

    @property
    def flooded(self) -> bool:
        """True when the client sends more than a few messages a second."""
        return self._noise.flood or self._writer.flood

    def check(self) -> None:
        """SendFailed when the client has gone."""
        if not self._ws.connected:
            raise SendFailed("the client has gone")

    def send(self, frames: Sequence[dict[str, Any]]) -> None:
        """Send each frame as one text message. TooSlow, SendFailed."""
        batch, size = [], 0
        for frame in frames:
            batch.append(self._encoded(TextMessage(orjson.dumps(frame).decode())))
            size += len(batch[-1])
            if size >= _BATCH_BYTES:
                self._write(b"".join(batch))
                batch, size = [], 0
        self._write(b"".join(batch))

    def _encoded(self, message: Any) -> bytes:
        self.check()
        try:
            data: bytes = self._ws.ws.send(message)
        except LocalProtocolError as error:
            raise SendFailed("the client has gone") from error
        return data

    def _write(self, data: bytes) -> None:
        try:
            self._writer.send(data)
        except SendFailed:
            raise
        except OSError as error:
            raise SendFailed(str(error)) from error

    def close(self, code: int, reason: str, *, hurry: bool = False) -> None:
        """Say why and go. With `hurry`, for a client that does not read, without waiting."""
        self._writer.leave()
        if hurry:
            with suppress(LocalProtocolError):
                self._writer.send_last(self._ws.ws.send(CloseConnection(code, reason)))
            self._ws.connected = False
        else:
            with suppress(ConnectionClosed, LocalProtocolError, OSError):
                self._ws.close(code, reason)
            self._ws.thread.join(_FAREWELL_S)
        self.drop()

    def drop(self) -> None:
        """End the reading thread; the server closes the connection."""
        self._ws.connected = False
        if self._ws.thread.is_alive():
            self._writer.stop_reading()
            self._ws.thread.join(_FAREWELL_S)
