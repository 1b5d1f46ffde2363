"""podium serve: the server, run by the same command."""

from collections.abc import Iterator
from contextlib import contextmanager

import click
from podium_server.settings import Settings, options

from podium.cli.session import Session, pass_session


@click.command(params=options())
@pass_session
@click.pass_context
def serve(context: click.Context, session: Session, /, **_given: object) -> None:
    """Run a server until Ctrl-C or SIGTERM. One line on stdout says when it is ready, and where.

    Each option is also a variable of the environment (--log-level is PODIUM_SERVE_LOG_LEVEL) and a key of the file of
    --config (log_level). The command line wins over the environment, and that over the file.
    """
    if session.json:
        raise click.UsageError("serve has no --json: its one line is for whoever waits until it is ready")
    settings = Settings.of(context)
    with needs_server("serve"):
        from podium_server.__main__ import run
    run(settings)


@contextmanager
def needs_server(command: str) -> Iterator[None]:
    """Says that what is imported is another extra."""
    try:
        yield
    except ModuleNotFoundError as error:
        message = f"podium {command} needs the server: pip install 'podium[server]' (there is no module {error.name})"
        raise click.ClickException(message) from error
