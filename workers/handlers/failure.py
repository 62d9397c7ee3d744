"""From an exception to a Failure: a stable code, one line for people, the user's own frames."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

from orchestrator.errors import ExpressionError, HandlerError, ServiceUnavailable, ZQError
from orchestrator.models.runs.task import Failure, TaskError
from orchestrator.models.text import printable
from orchestrator.services.secrets.masking import MASK, Masker
from workers.handlers.context import StopRequested

#: Hides the secrets of the attempt at work in this context, if it has any.
MASKER: ContextVar[Masker | None] = ContextVar("masker", default=None)
_USERINFO = re.compile(r"(://)[^\s/@?#]+@")
MAX_MESSAGE = 2000
MAX_TRACEBACK_BYTES = 8192
MAX_FRAMES = 10
_MAX_CHAIN = 3
_OURS = tuple(
    str(Path(__file__).resolve().parents[2] / part) + os.sep
    for part in ("workers", "orchestrator/models", "orchestrator/ports", "orchestrator/adapters")
)


def of(error: BaseException) -> Failure:
    """Return what an exception means for the attempt.

    HandlerError and ZQError carry their code; ExpressionError is never worth another attempt.
    Anything else gets its class name as code (`ValueError` -> `value_error`), `sys.exit` `exited`.
    """
    if isinstance(error, HandlerError):
        return _failure(error.error_code, error.detail, retryable=error.retryable)
    if isinstance(error, ExpressionError):
        return _failure(error.code, error.detail, retryable=False)
    if isinstance(error, ZQError):
        retryable = isinstance(error, ServiceUnavailable)
        return _failure(error.code, error.detail, retryable=retryable)
    if isinstance(error, SystemExit):
        message = f"the handler called sys.exit({_text(error)})"
        return _failure("exited", message, where=error)
    name = type(error).__name__
    told = _text(error)
    return _failure(_code(name), f"{name}: {told}" if told else name, where=error)


def timed_out(stop: StopRequested) -> Failure:
    """Return the failure of an attempt that was stopped at its deadline, and where it was then."""
    error = TaskError(
        code="timeout", message="the attempt ran past its timeout", traceback=_frames(stop)
    )
    return Failure(error=error, timed_out=True)


def stop_behind(error: BaseException) -> StopRequested | None:
    """Return the request to stop that `error` replaced on its way out, if there was one."""
    chain = _chain(error, suppressed=True)
    return next((e for e in chain if isinstance(e, StopRequested)), None)


def _failure(
    code: str, message: str, *, retryable: bool = True, where: BaseException | None = None
) -> Failure:
    line = printable(" ".join(shown(message).split()))[:MAX_MESSAGE]
    frames = _frames(where) if where is not None else None
    return Failure(error=TaskError(code=code, message=line, traceback=frames), retryable=retryable)


def _text(error: BaseException) -> str:
    try:
        return shown(str(error))[: 2 * MAX_MESSAGE]
    except Exception:
        return "(its text cannot be shown)"


def _code(name: str) -> str:
    """`HTTPError` -> `http_error`; `error` for a name that makes no code."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
    code = snake.strip("_")[:64]
    return code if re.fullmatch(r"[a-z][a-z0-9_.]*", code) else "error"


def _chain(error: BaseException, *, suppressed: bool = False) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen and len(seen) < 100:
        seen.add(id(current))
        yield current
        hidden = current.__suppress_context__ and not suppressed
        current = current.__cause__ or (None if hidden else current.__context__)


def _frames(error: BaseException) -> str | None:
    """Return the traceback of `error` and of what led to it, without our own frames.

    The innermost 10 frames each, at most 8 KB: the end is kept, for there the trouble is.
    """
    try:
        told = [*_chain(error)][:_MAX_CHAIN]
        parts = [_one(each) for each in reversed(told)]
    except Exception:
        # What cannot even be described (no memory, a hostile __str__) has at least its code.
        return None
    text = "\nwhich led to\n".join(parts)
    text = "\n".join(printable(line) for line in text.splitlines())
    data = text.encode()
    if len(data) > MAX_TRACEBACK_BYTES:
        cut = data[len(data) - MAX_TRACEBACK_BYTES + 8 :].decode(errors="ignore")
        text = f"...{cut[cut.find(chr(10)) :]}"
    return text


def _one(error: BaseException) -> str:
    stack = traceback.extract_tb(error.__traceback__, limit=-200)
    frames = [f for f in stack if not f.filename.startswith(_OURS)] or list(stack)
    left_out = len(frames) - MAX_FRAMES
    lines = [f"  ... {left_out} outer frames\n"] if left_out > 0 else []
    for frame in frames[-MAX_FRAMES:]:
        lines.append(f'  File "{_short(frame.filename)}", line {frame.lineno}, in {frame.name}\n')
        if frame.line:
            lines.append(f"    {shown(frame.line)[:300]}\n")
    last = traceback.format_exception_only(error)[-1].rstrip()
    return "".join(lines) + shown(last)[:MAX_MESSAGE]


def _short(filename: str) -> str:
    roots = sorted((p for p in {*sys.path, str(Path.cwd())} if p), key=len, reverse=True)
    for root in roots:
        if filename.startswith(root.rstrip(os.sep) + os.sep):
            return filename[len(root.rstrip(os.sep)) + 1 :]
    return filename if filename.startswith("<") else Path(filename).name


def shown(text: str) -> str:
    """Return a text that may be shown; do it before cutting, for a piece is not recognised."""
    masker = MASKER.get()
    if masker is not None:
        text = masker.error(text)
    return _USERINFO.sub(rf"\1{MASK}@", text) if "://" in text else text
