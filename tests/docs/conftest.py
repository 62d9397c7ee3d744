"""The one installation that the documents' commands run in."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from orchestrator.adapters.embedded import find_binaries
from orchestrator.errors import EmbeddedUnavailable
from tests.docs.installation import Installation, installed


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    missing = [name for name in ("bash", "curl") if shutil.which(name) is None]
    try:
        find_binaries()
    except EmbeddedUnavailable as error:
        missing.append(error.detail)
    if missing and not os.environ.get("CI"):
        pytest.skip(f"not on this machine: {', '.join(missing)}")
    assert not missing
    with installed(tmp_path_factory.mktemp("docs")) as installation:
        yield installation
    installation.zq.nothing_left()
