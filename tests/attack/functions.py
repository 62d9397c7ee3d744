"""What attackers have in a worker: functions that say and store what they like; a name server."""

from __future__ import annotations

import itertools
import os
import socket
from typing import Any

from workers.functions import Fail, function
from workers.handlers import Context


@function("attack.artifact")
def artifact(context: Context, name: str, kind: str) -> str:
    """Store a file of this name."""
    return context.artifacts.put(name, "<script>alert(1)</script>", kind)


@function("attack.say")
def say(context: Context, text: str) -> str:
    """Say a text in three ways and put it out."""
    print(text)
    context.log.warning(text)
    context.log.info("%s", text)
    return text


@function("attack.fail")
def fail(text: str) -> None:
    """Fail with a text."""
    raise Fail("attack", text)


#: What an attacker's name server answers: names below `attack.test`, and the sets that each look-up
#: gets in turn, again and again.
ZONE = {
    "inner": [["127.0.0.1"]],
    "inner6": [["::1"]],
    "mixed": [["8.8.8.8", "127.0.0.1"]],
    "mapped": [["::ffff:127.0.0.1"]],
    "metadata": [["169.254.169.254"]],
    "rebind": [["127.0.0.1"], ["127.0.0.2"]],
    "here": [["127.0.0.1"]],
}
_TURNS = {f"{name}.attack.test": itertools.cycle(sets) for name, sets in ZONE.items()}
_look_up = socket.getaddrinfo


def _answered(host: Any, port: Any, *more: Any, **options: Any) -> list[Any]:
    name = host.decode() if isinstance(host, bytes) else host
    if name not in _TURNS:
        return list(_look_up(host, port, *more, **options))
    return [
        (socket.AF_INET6 if ":" in a else socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port))
        for a in next(_TURNS[name])
    ]


if "ATTACK_CANARY" in os.environ:
    # In the workers of the stack alone: no resolver here answers with such names.
    socket.getaddrinfo = _answered  # type: ignore[assignment]
