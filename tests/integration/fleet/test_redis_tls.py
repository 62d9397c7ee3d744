"""`rediss` URLs: broker, chord backend and channel speak TLS, and check who answers."""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy.engine import make_url

from orchestrator.adapters.celery.app import make_celery
from orchestrator.adapters.redis.channel import RedisChannel
from orchestrator.errors import SettingsError
from orchestrator.settings import Redis, Settings


def certificate(folder: Path) -> Path:
    """Make a key and a certificate of 127.0.0.1 that is its own authority, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    file = folder / "tls.pem"
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    text = key.private_bytes(serialization.Encoding.PEM, form, plain)
    file.write_bytes(text + made.public_bytes(serialization.Encoding.PEM))
    return file


class Tunnel:
    """Ends TLS in front of a server, as stunnel does."""

    def __init__(self, file: Path, host: str, port: int) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(file)
        self._inner = (host, port)
        self._line = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._line.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                visitor, _ = self._line.accept()
                threading.Thread(target=self._serve, args=(visitor,), daemon=True).start()

    def _serve(self, visitor: socket.socket) -> None:
        with suppress(OSError):
            outer = self._context.wrap_socket(visitor, server_side=True)
            inner = socket.create_connection(self._inner)
            self._open += [outer, inner]
            for source, target in ((outer, inner), (inner, outer)):
                threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for line in (self._line, *self._open):
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
            line.close()


@pytest.fixture
def tls(redis_url: str, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Return the address of a Redis behind TLS, and the file with its authority."""
    inner = make_url(redis_url)
    file = certificate(tmp_path)
    tunnel = Tunnel(file, inner.host or "127.0.0.1", inner.port or 6379)
    outer = inner.set(drivername="rediss", host="127.0.0.1", port=tunnel.port)
    yield outer.render_as_string(hide_password=False), file
    tunnel.close()


def app(url: str) -> Any:
    return make_celery(Settings(redis=Redis(url=url, prefix="zq-tls:", timeout_s=2.0)))


def test_messages_chords_and_events_go_by_tls(tls: tuple[str, Path]) -> None:
    url, file = tls
    trusting = f"{url}?ssl_ca_certs={file}"
    made = app(trusting)
    with made.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, timeout=3)
        queue = connection.SimpleQueue("tls")
        queue.put({"a": 1})
        queue.close()
    assert made.backend.client.llen("zq-tls:tls") == 1
    made.backend.set_chord_size("group", 2)
    assert made.backend.client.keys("zq-tls:*group*")
    channel = RedisChannel(trusting, prefix="zq-tls:", timeout_s=2.0)
    assert channel.ping()


def test_a_server_that_nobody_vouches_for_is_refused(tls: tuple[str, Path]) -> None:
    url, _ = tls
    made = app(url)
    with made.connection_for_write() as connection:
        with pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
            connection.ensure_connection(max_retries=1, timeout=3)
    with pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
        made.backend.client.ping()
    assert not RedisChannel(url, prefix="zq-tls:", timeout_s=2.0).ping()


def test_who_asks_for_no_check_gets_none(tls: tuple[str, Path]) -> None:
    url, _ = tls
    made = app(f"{url}?ssl_cert_reqs=none")
    with made.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, timeout=3)
    with pytest.raises(SettingsError, match="ssl_cert_reqs"):
        app(f"{url}?ssl_cert_reqs=maybe")
