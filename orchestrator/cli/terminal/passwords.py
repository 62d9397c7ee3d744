"""Passwords and keys that people type or pipe in. Never an argument: everybody could read it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from orchestrator.errors import ZQError

F = TypeVar("F", bound=Callable[..., Any])

password_option: Callable[[F], F] = click.option(
    "--password-stdin", is_flag=True, help="Read the password from standard input, one line."
)


class NoPassword(ZQError):
    """There is nothing to read it from."""

    code = "no_password"


def asked(what: str, *, stdin: bool, twice: bool = False, flag: str = "--password-stdin") -> str:
    """Return a line of standard input, or what is typed unseen; NoPassword where neither is."""
    if stdin:
        try:
            line = sys.stdin.readline().removesuffix("\n").removesuffix("\r")
            # Where the locale is not UTF-8, what is none comes as surrogates.
            line.encode()
        except UnicodeError:
            raise NoPassword(f"the {what} on standard input is no UTF-8") from None
        if not line:
            raise NoPassword(f"there is no {what} on standard input")
        return line
    if not sys.stdin.isatty():
        raise NoPassword(f"nobody can be asked for the {what} here: pipe it in, with {flag}")
    title = what[:1].upper() + what[1:]
    return str(click.prompt(title, hide_input=True, confirmation_prompt=twice, err=True))
