"""Functions for python nodes that try to get a secret out, in every way there is."""

from __future__ import annotations

import base64
import json
import logging
import sys
import threading
import traceback
from typing import Any
from urllib.parse import quote

from workers.functions import Fail, Wait, function
from workers.handlers import Context


@function("canary.say")
def say(context: Context, token: str, marker: str) -> str:
    """Say it whole, in pieces, encoded, in a traceback, from a thread, and to files."""
    print(marker, token)
    for piece in (token[:9], token[9:20], token[20:]):
        sys.stdout.write(piece)
    print()
    half = len(token) // 2
    print(token[:half])
    print(token[half:])
    context.log.warning("%s %s", marker, token)
    context.log.info("first half %s", token[:half])
    context.log.info("%s second half", token[half:])
    logging.getLogger("celery").error("%r", {"token": token})
    for encoded in (quote(token, safe=""), json.dumps({"t": token}), token.encode().hex()):
        print(encoded, file=sys.stderr)
    print(base64.b64encode(f"user:{token}".encode()).decode())
    thread = threading.Thread(target=print, args=(token,))
    thread.start()
    thread.join()
    try:
        raise ValueError(token)
    except ValueError:
        context.log.exception("caught")
        traceback.print_exc()
    context.artifacts.put("said.txt", f"{marker} {token}")
    context.artifacts.put("said.bin", b"\xff\xfe" + token.encode())
    return marker


@function("canary.return")
def give_back(token: str, marker: str) -> Any:
    """Return it, nested and as a key; so much that it becomes an artifact."""
    encoded = base64.urlsafe_b64encode(f"x{token}".encode()).decode()
    return {"marker": marker, token: [token, {"deep": encoded}], "much": [token] * 20_000}


@function("canary.raise")
def throw(context: Context, token: str, marker: str) -> None:
    """Raise it, each time in another way."""
    if context.attempt == 1:
        raise ValueError(f"{marker} {token}")
    if context.attempt == 2:
        try:
            raise KeyError(token)
        except KeyError as error:
            raise RuntimeError("x" * 1990 + token) from error
    raise Fail("canary", f"{marker} postgres://user:{token}@host/db")


@function("canary.wait")
def wait(context: Context, token: str) -> Any:
    """Leave it in the memo of a wait."""
    if context.resumed is None:
        raise Wait(0.1, {"token": token})
    return dict(context.resumed)
