"""The command line as a tree: the commands by name, each in a module that is imported when it is wanted."""

from importlib import import_module

import click

from podium.cli.exits import EXIT_CODES
from podium.cli.session import Session, shared_options

_MODULES = {
    "serve": "serve",
    "migrate": "migrate",
    "push": "push",
    "models": "models",
    "model": "models",
    "versions": "versions",
    "version": "versions",
    "show": "show",
    "note": "versions",
    "resolve": "resolve",
    "manifest": "pull",
    "pull": "pull",
    "verify": "pull",
    "watch": "watch",
    "follow": "follow",
    "materialize": "follow",
    "cache": "cache",
    "transition": "transition",
    "alias": "aliases",
    "events": "events",
    "status": "status",
    "completion": "completion",
}


class LazyGroup(click.Group):
    """A group that imports a command's module when that command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return list(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  click's signature
        if cmd_name not in _MODULES:
            return None
        command: click.Command = getattr(import_module(f"podium.cli.{_MODULES[cmd_name]}"), cmd_name)
        return command


@click.command(
    "podium",
    cls=LazyGroup,
    invoke_without_command=True,
    params=shared_options(),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=EXIT_CODES,
)
@click.version_option(package_name="podium", message="podium %(version)s")
@click.pass_context
def app(context: click.Context) -> None:
    """A model registry: push versions, move them through stages and aliases, pull their exact bytes.

    REF names one version: fraud:1.4.0, fraud:7 (the number), fraud@champion (an alias), fraud#production (a stage),
    fraud@latest or fraud@sha256:… (a digest).

    With --json, every line of stdout is one JSON object: one line for a thing, a line for each row of a list. The
    objects are the messages of the API as protobuf writes JSON, with the field names of protos/podium/v1; 64-bit
    numbers are strings, times are ISO 8601 in UTC. An error is then an object on stderr. The options below may also
    stand after the command.
    """
    context.ensure_object(Session)
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
