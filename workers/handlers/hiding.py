"""What texts on their way out of an attempt pass before they are cut: its secrets are masked, and
so are user and password in URLs, whosever they are."""

from __future__ import annotations

import re
from contextvars import ContextVar

from orchestrator.services.secrets.masking import MASK, Masker

#: Hides the secrets of the attempt at work in this context, if it has any.
CURRENT: ContextVar[Masker | None] = ContextVar("masker", default=None)
_USERINFO = re.compile(r"(://)[^\s/@?#]+@")


def shown(text: str) -> str:
    """Return a text that may be shown; do it before cutting, for a piece is not recognised."""
    masker = CURRENT.get()
    if masker is not None:
        text = masker.error(text)
    return _USERINFO.sub(rf"\1{MASK}@", text) if "://" in text else text
