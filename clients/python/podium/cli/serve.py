"""podium serve: the server, run by the same command."""

import click

from podium.cli.session import Session, pass_session


@click.command
@click.option("--data", metavar="DIR", default="./podium-data", show_default=True, help="Where everything is kept.")
@click.option(
    "--database", metavar="URL", help="Keeps all but the blobs elsewhere: postgresql://USER@HOST/NAME, or sqlite:///PATH."
)
@click.option("--blobs", metavar="URL", help="Keeps the blobs elsewhere: gs://BUCKET/PREFIX, or file:///DIR.")
@click.option("--listen", metavar="HOST:PORT", help="A loopback address; port 0 takes a free one.  [127.0.0.1:7070]")
@click.option("--insecure-listen", metavar="HOST:PORT", help="Any address: whoever reaches it may do everything.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="How much stderr tells.  [info]")
@click.option("--grace", metavar="SECONDS", type=float, help="How long transfers may go on at the end.  [30]")
@pass_session
def serve(session: Session, /, **options: object) -> None:
    """Run a server until Ctrl-C or SIGTERM. One line on stdout says when it is ready, and where."""
    if session.json:
        raise click.UsageError("serve has no --json: its one line is for whoever waits until it is ready")
    if options["listen"] and options["insecure_listen"]:
        raise click.UsageError("--listen and --insecure-listen exclude each other")
    try:
        from podium_server.__main__ import main
    except ModuleNotFoundError as error:
        message = f"podium serve needs the server: pip install 'podium[server]' (there is no module {error.name})"
        raise click.ClickException(message) from error
    given = {name.replace("_", "-"): value for name, value in options.items() if value is not None}
    main([f"--{name}={value}" for name, value in given.items()])
