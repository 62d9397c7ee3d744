"""What every verb begins with: its server, how it prints, and the exit code that it ends with.

@verb("list", of=key_command)
def list_keys(call: Call) -> None:
    \"\"\"Print the keys of your tenant.\"\"\"
    call.show([*call.client.keys.list()], _COLUMNS)
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.terminal.options import PATIENCE_S, format_option, server_option
from orchestrator.cli.terminal.output import say, show

if TYPE_CHECKING:
    from orchestrator.client.http import Client


@dataclass
class Call:
    """One call of a verb."""

    server: str | None = None
    #: `table`, `json` or `yaml`.
    shape: str = "table"
    patience_s: float = 0.0

    @cached_property
    def client(self) -> Client:
        """A session with the server that is meant; it ends with the call."""
        from orchestrator.client.discovery import connect

        return connect(self.server, patience_s=self.patience_s)

    @property
    def for_people(self) -> bool:
        """Whether lines and tables are wanted, not the API's own fields."""
        return self.shape == "table"

    def show(
        self, value: Any, columns: Mapping[str, Callable[[Any], Any]], *, empty: str = ""
    ) -> None:
        """Print a list, or one thing; `columns` are heading -> cell of an item."""
        show(self.shape, value, columns, empty=empty)

    def tell(self, value: Any, line: str) -> None:
        """Print what became of one thing: a line for people, or the whole of it."""
        if self.for_people:
            say(line)
        else:
            show(self.shape, value, {})

    def close(self) -> None:
        """End the session, if there is one."""
        if "client" in self.__dict__:
            self.client.close()


Verb = Callable[..., int | None]


def verb(
    name: str,
    of: click.Group | None = None,
    *,
    server: bool = True,
    printed: Callable[[Verb], Verb] | None = format_option,
    patient: bool = False,
) -> Callable[[Verb], click.Command]:
    """Make a function of a call a verb of its own, or one of a group; None is exit code 0.

    It gets `--server`, unless it asks none, and `-o` last. One that follows or watches puts up
    with a server that is away for a while, and so does a `patient` one.
    """

    def decorate(function: Verb) -> click.Command:
        @functools.wraps(function)
        def run(**given: Any) -> int:
            lasting = patient or given.get("follow") or given.get("watch_s")
            call = Call(
                given.pop("server", None),
                given.pop("shape", "table"),
                PATIENCE_S if lasting else 0.0,
            )
            try:
                return function(call, **given) or 0
            finally:
                call.close()

        own: list[click.Parameter] = getattr(function, "__click_params__", [])
        run.__click_params__ = []  # type: ignore[attr-defined]  # click's own, where wraps copied
        command: Any = printed(run) if printed else run
        if server:
            command = server_option(command)
        command.__click_params__ += own
        return (of or click).command(name)(command)

    return decorate
