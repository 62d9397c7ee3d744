"""Smaller answers for clients that take zstd or gzip; a strong ETag then names the encoding too.

Request bodies are never decompressed, and sockets never compressed.
"""

from __future__ import annotations

from flask import Flask
from flask_compress import Compress

ENCODINGS = ("zstd", "gzip")
_TYPES = ("application/json", "application/yaml", "text/html", "text/css", "text/plain", "text/csv")


def install(app: Flask) -> None:
    """Compress what is text and larger than a packet."""
    app.config["COMPRESS_ALGORITHM"] = list(ENCODINGS)
    app.config["COMPRESS_MIMETYPES"] = list(_TYPES)
    app.config["COMPRESS_MIN_SIZE"] = 1024
    Compress(app)
