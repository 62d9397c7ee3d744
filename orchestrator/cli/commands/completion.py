"""`zq completion`: the lines that let a shell complete the words of `zq`."""

from __future__ import annotations

import click

from orchestrator.cli.terminal.output import say


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> int:
    """Print what makes SHELL complete the words of `zq`.

    \b
    bash: eval "$(zq completion bash)"  in ~/.bashrc
    zsh:  eval "$(zq completion zsh)"   in ~/.zshrc, after compinit
    fish: zq completion fish | source   in ~/.config/fish/config.fish
    """
    from click.shell_completion import get_completion_class

    from orchestrator.cli.app import cli

    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"click knows no {shell}")
    # Not `.source()`: for bash that runs bash to ask for its version.
    completion = found(cli, {}, "zq", "_ZQ_COMPLETE")
    say(completion.source_template % completion.source_vars())
    return 0
