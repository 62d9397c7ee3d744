"""What a watcher's line does when its client is gone before it begins."""

from __future__ import annotations

import socket

import pytest

from web.sockets.sender import WholeWriter


def test_a_socket_that_was_closed_before_is_lost_at_the_first_write() -> None:
    """Its reader closes it as soon as a client sends what is no frame."""
    ours, theirs = socket.socketpair()
    ours.close()
    theirs.close()
    writer = WholeWriter(ours)
    with pytest.raises(OSError, match="Bad file descriptor"):
        writer.send(b"x")
