"""A TCP gate in front of a server, so that a test can take the server away and give it back."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from types import TracebackType
from typing import Self


class Gate:
    """Forwards connections while it is `open`; `shut()` also breaks those that exist.

    `freeze()` keeps connections and accepts new ones, but lets nothing pass: a half-open partition.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._stalled: set[tuple[socket.socket, socket.socket]] = set()
        self._lock = threading.Lock()
        self._open = True
        self._flow = threading.Event()
        self._flow.set()
        self._done = False
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done = True
        self._closed.set()
        self.shut()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def shut(self) -> None:
        """Break every connection, and every new one."""
        self._open = False
        self._flow.set()
        with self._lock:
            for pair in self._pairs:
                for end in pair:
                    with contextlib.suppress(OSError):
                        end.shutdown(socket.SHUT_RDWR)

    def freeze(self) -> None:
        """Let nothing pass, and say nothing."""
        self._flow.clear()

    def stall(self) -> None:
        """Let nothing pass on the connections there are, and say nothing; new ones work."""
        with self._lock:
            self._stalled |= self._pairs

    def reopen(self) -> None:
        """Let everything pass again."""
        self._open = True
        self._flow.set()

    def _accept(self) -> None:
        while not self._done:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if not self._open:
                near.close()
                continue
            threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        try:
            far = socket.create_connection(self._target, timeout=5)
        except OSError:
            near.close()
            return
        far.settimeout(None)
        with self._lock:
            self._pairs.add((near, far))
        try:
            self._pump(near, far)
        except OSError:
            pass
        finally:
            with self._lock:
                self._pairs.discard((near, far))
            near.close()
            far.close()

    def _pump(self, near: socket.socket, far: socket.socket) -> None:
        other = {near: far, far: near}
        while True:
            for end in select.select(list(other), [], [])[0]:
                self._flow.wait()
                if (near, far) in self._stalled:
                    self._closed.wait()
                    return
                data = end.recv(65_536)
                if not data:
                    return
                other[end].sendall(data)
