"""Content codings of HTTP answers, undone by `zlib`: to the stream's own end, and never beyond.

httpx would stop after the first member of a gzip stream, and take one that ends early as whole.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from orchestrator.errors import HandlerError
from workers.handlers.http.body import bad_response

#: So much is unfolded at a time: a small piece may be a large bomb.
_PIECE = 65_536
_GZIP = 16 + zlib.MAX_WBITS


def decoded(pieces: Iterable[bytes], coding: str) -> Iterator[bytes]:
    """Yield what an answer's bytes say, in pieces of at most 64 KB where it is encoded.

    Codings are `identity`, `gzip` (also `x-gzip`, and of several members) and `deflate` (in zlib's
    frame, or raw). HandlerError `bad_response` for any other, also for several on top of each
    other, each of which multiplies what a small answer unfolds to, and for bytes that are not so
    encoded; `response_truncated` for a stream that ends early. No bytes at all are none.
    """
    match coding.strip().lower():
        case "" | "identity":
            yield from pieces
        case "gzip" | "x-gzip":
            yield from _unfolded(pieces, _Unfolding(gzip=True))
        case "deflate":
            yield from _unfolded(pieces, _Unfolding(gzip=False))
        case _:
            raise bad_response(f"content-encoding {coding[:40]!r} was not asked for")


def _unfolded(pieces: Iterable[bytes], unfolding: _Unfolding) -> Iterator[bytes]:
    for piece in pieces:
        yield from unfolding.feed(piece)
    if not unfolding.ended:
        why = "the encoded answer ends before its end; the rest of it did not come"
        raise HandlerError("response_truncated", why)


class _Unfolding:
    """One stream of deflate, or one gzip member after the other."""

    def __init__(self, *, gzip: bool) -> None:
        self._gzip = gzip
        self._stream: zlib._Decompress | None = None
        #: Too little to tell by what stream it is.
        self._start = b""

    @property
    def ended(self) -> bool:
        """Whether what was fed ends where a stream does, or was nothing at all."""
        return not self._start and (self._stream is None or self._stream.eof)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what the next bytes unfold to."""
        data, more = self._start + data, False
        self._start = b""
        while data or more:
            stream = self._stream
            if stream is None or stream.eof:
                stream, data = self._begun(data)
                if stream is None:
                    return
            try:
                piece = stream.decompress(data, _PIECE)
            except zlib.error as error:
                raise bad_response(f"the answer cannot be decoded: {error}") from error
            if piece:
                yield piece
            data = stream.unused_data if stream.eof else stream.unconsumed_tail
            # A full piece may not be all of what was read already.
            more = len(piece) == _PIECE and not stream.eof

    def _begun(self, data: bytes) -> tuple[zlib._Decompress | None, bytes]:
        """Return the stream that begins here, and its bytes; None for nothing, or too little.

        Behind a stream there may be zeros, and behind a gzip member another one.
        """
        if self._stream is not None:
            data = data.lstrip(b"\0")
            if data and not self._gzip:
                raise bad_response("there are bytes behind the end of the deflate stream")
        if not data:
            return None, data
        if not self._gzip and len(data) < 2:
            self._start = data
            return None, data
        self._stream = zlib.decompressobj(_GZIP if self._gzip else _deflate_bits(data))
        return self._stream, data


def _deflate_bits(start: bytes) -> int:
    """Return zlib's window bits for a stream, by its first two bytes: many servers leave zlib's
    frame away."""
    framed = start[0] & 0x0F == 8 and int.from_bytes(start[:2]) % 31 == 0
    return zlib.MAX_WBITS if framed else -zlib.MAX_WBITS
