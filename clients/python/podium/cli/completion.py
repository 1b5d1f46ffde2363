"""podium completion: what a shell needs to complete the command line."""

import click
from click.shell_completion import get_completion_class


@click.command
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    r"""Print the completion script for a shell.

    \b
    bash   podium completion bash > ~/.local/share/bash-completion/completions/podium
    zsh    podium completion zsh > a folder of $fpath, as _podium
    fish   podium completion fish > ~/.config/fish/completions/podium.fish
    """
    complete = get_completion_class(shell)
    if complete is None:
        raise click.ClickException(f"this click cannot complete in {shell}")
    click.echo(complete(context.find_root().command, {}, "podium", "_PODIUM_COMPLETE").source())
