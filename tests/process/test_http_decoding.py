"""Content codings: to the stream's own end, whatever the pieces, and nothing that is not there."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import HandlerError
from workers.handlers.http.decoding import decoded


def raw(data: bytes) -> bytes:
    made = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return made.compress(data) + made.flush()


def members(data: bytes) -> bytes:
    half = len(data) // 2
    return (
        gzip.compress(data[:half], mtime=0)
        + gzip.compress(b"", mtime=0)
        + b"\0\0"
        + gzip.compress(data[half:], mtime=0)
    )


CODED: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "identity": ("identity", bytes),
    "none": ("", bytes),
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("X-GZip", gzip.compress),
    "members": ("gzip", members),
    "padded": ("gzip", lambda data: gzip.compress(data, mtime=0) + b"\0" * 512),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": (" deflate ", raw),
}
coded = pytest.mark.parametrize(("coding", "encode"), CODED.values(), ids=CODED)
ENCODED = {name: way for name, way in CODED.items() if name not in {"identity", "none", "padded"}}


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@coded
@given(data=st.binary(max_size=300), size=st.integers(1, 40))
def test_what_was_encoded_is_read(
    coding: str, encode: Callable[[bytes], bytes], data: bytes, size: int
) -> None:
    assert b"".join(decoded(pieces(encode(data), size), coding)) == data


@coded
def test_large_ones_come_in_small_pieces(coding: str, encode: Callable[[bytes], bytes]) -> None:
    data = b"0" * (3 * 65_536) + bytes(range(256)) * 300
    for size in (7, 100_000, 1_000_000):
        read = list(decoded(pieces(encode(data), size), coding))
        assert b"".join(read) == data
        assert coding in {"identity", ""} or max(map(len, read)) <= 65_536


@pytest.mark.parametrize(("coding", "encode"), ENCODED.values(), ids=ENCODED)
def test_a_stream_that_ends_early_is_not_whole(
    coding: str, encode: Callable[[bytes], bytes]
) -> None:
    whole = encode(b"".join(b"%d,%d\n" % (n, n * 7919 % 10007) for n in range(500)))
    # Between two members, and before the zeros there, a stream may well end.
    for end in {1, 2, 5, len(whole) // 3, len(whole) - 9, len(whole) - 1}:
        with pytest.raises(HandlerError) as told:
            list(decoded([whole[:end]], coding))
        assert (told.value.error_code, told.value.retryable) == ("response_truncated", True)


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "deflate", "identity"])
def test_nothing_is_nothing(coding: str) -> None:
    assert b"".join(decoded([], coding)) == b""


@pytest.mark.parametrize(
    ("coding", "data"),
    [
        ("gzip", b"no gzip at all"),
        ("gzip", gzip.compress(b"x", mtime=0) + b"and more"),
        ("deflate", zlib.compress(b"x") + b"and more"),
        ("deflate", b"\xff\xff\xff\xff"),
        ("gzip", gzip.compress(b"x" * 100, mtime=0)[:-8] + b"\0" * 8),
        ("br", b"x"),
        ("gzip, gzip", gzip.compress(gzip.compress(b"x", mtime=0), mtime=0)),
    ],
)
def test_what_is_not_so_encoded(coding: str, data: bytes) -> None:
    with pytest.raises(HandlerError) as told:
        list(decoded([data], coding))
    assert (told.value.error_code, told.value.retryable) == ("bad_response", True)
