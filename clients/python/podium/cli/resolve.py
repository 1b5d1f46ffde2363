"""podium resolve: which version a reference means now."""

import click

from podium.cli.output import files, named, safe, short, size
from podium.cli.session import Command, Session, pass_session


@click.command(cls=Command)
@click.argument("reference", metavar="REF")
@click.option("--for-serving", is_flag=True, help="Refuse a version whose stage says that it may not serve.")
@pass_session
def resolve(session: Session, /, reference: str, *, for_serving: bool) -> None:
    """Say which version REF means now."""
    with session.registry() as registry:
        target = registry.resolve(reference, for_serving=for_serving)
    amount = f"{files(target.file_count)}, {size(target.size_bytes)}"
    session.answer(target, lambda: f"{named(target)}  {safe(target.stage or '-')}  {amount}  {short(target.digest)}")
    if not session.json:
        for warning in target.warnings:
            click.echo(f"warning: {safe(warning)}", err=True)
