"""The command line as a page: every verb, argument and option, from the click tree itself."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from orchestrator.cli.app import cli


def commands() -> str:
    """Return a section for each command, groups before what is in them."""
    return "\n".join(line for path, command in walk() for line in _section(path, command))


def walk(
    command: click.Command = cli, path: tuple[str, ...] = ("zq",)
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command with its words, in the order of the help."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=path[-1])
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None and not inner.hidden:
                yield from walk(inner, (*path, name))


def _section(path: tuple[str, ...], command: click.Command) -> Iterator[str]:
    context = click.Context(command, info_name=" ".join(path))
    yield f"{'#' * min(2 + len(path) - 1, 4)} {' '.join(path)}\n"
    pieces = " ".join(command.collect_usage_pieces(context))
    yield f"`{' '.join(path)} {pieces}`\n"
    yield _paragraphs(command.help or "")
    options = [p for p in command.get_params(context) if isinstance(p, click.Option)]
    shown = [option for option in options if "--help" not in option.opts and not option.hidden]
    if shown:
        yield "\n| option | meaning |\n|---|---|"
        yield from (_option(option, context) for option in shown)
    yield ""


def _paragraphs(text: str) -> str:
    parts = [inspect.cleandoc(part).strip() for part in text.split("\n\n")]
    # click keeps the lines of a paragraph that begins with \\b.
    shown = [f"```text\n{p[1:].strip()}\n```" if p.startswith("\b") else p for p in parts]
    return "\n\n".join(part for part in shown if part)


def _option(option: click.Option, context: click.Context) -> str:
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    metavar = option.make_metavar(context).replace("INTEGER RANGE", "NUMBER")
    kind = "" if option.is_flag or option.count else f" {metavar}"
    meaning = (option.help or "").rstrip(".")
    more = ["may be repeated"] if option.multiple and "repeated" not in meaning else []
    if option.required:
        more.append("required")
    default = option.default
    if isinstance(default, str | int | float) and not isinstance(default, bool) and option.help:
        more.append(f"default {default}")
    told = "; ".join([meaning, *more] if meaning else more)
    return f"| {names}{_escaped(kind)} | {_escaped(told)} |"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
