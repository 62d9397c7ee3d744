"""An S3 server for tests: moto's, in this process, on a port of its own, and empty."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager

import fsspec
import pytest

_NUMBERS = itertools.count()


@contextmanager
def bucket() -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the address of a new bucket, and the environment by which a process reaches it (this
    one has it already)."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key-of-tests",
        "AWS_SECRET_ACCESS_KEY": "secret-of-tests",
    }
    # moto keeps buckets for a whole process, whatever server they were made by.
    name = f"artifacts-{os.getpid()}-{next(_NUMBERS)}"
    try:
        with pytest.MonkeyPatch.context() as here:
            for key, value in environment.items():
                here.setenv(key, value)
            fsspec.filesystem("s3", skip_instance_cache=True).mkdir(name)
            yield f"s3://{name}", environment
    finally:
        server.stop()
