"""Functions of python nodes that say and store what an attacker would have them say and store."""

from __future__ import annotations

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
