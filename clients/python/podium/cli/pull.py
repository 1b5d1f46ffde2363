"""podium pull, podium verify and podium manifest: the bytes of a version."""

from pathlib import Path

import click

from podium.cli.exits import DAMAGED, resumable
from podium.cli.output import files, named, safe
from podium.cli.session import Command, Session, direct_option, pass_session


@click.command(cls=Command)
@click.argument("reference", metavar="REF")
@click.argument("destination", metavar="[DEST]", required=False, type=click.Path(path_type=Path))
@direct_option
@pass_session
def pull(session: Session, /, reference: str, destination: Path | None, *, direct: bool) -> None:
    """Fetch the files of REF, verified, into the new folder DEST, and print its path.

    Without DEST it is a read-only folder in the cache. What the cache has is not fetched again. The folder appears
    whole or not at all.
    """
    with resumable("pull"), session.registry(direct=direct) as registry:
        path = registry.pull(reference, destination)
    session.answer({"reference": reference, "path": str(path)}, str(path))


@click.command(cls=Command)
@click.argument("reference", metavar="REF")
@click.argument("directory", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@pass_session
def verify(session: Session, /, reference: str, directory: Path) -> None:
    """Compare every byte in DIR with REF. Differences are listed and end in exit code 7."""
    with session.registry() as registry:
        target = registry.resolve(reference)
        differences = registry.verify(f"{target.model}:{target.number}", directory)
    document = {
        "target": target,
        "equal": not differences,
        "differences": [{"path": difference.path, "problem": difference.problem} for difference in differences],
    }
    lines = [f"{difference.problem:7}  {safe(difference.path)}" for difference in differences]
    session.answer(document, "\n".join(lines or [f"{named(target)}  equal, {files(target.file_count)}"]))
    if differences:
        raise click.exceptions.Exit(DAMAGED)


@click.command(cls=Command)
@click.argument("reference", metavar="REF")
@pass_session
def manifest(session: Session, /, reference: str) -> None:
    """Print what sha256sum would print for the files of REF; sha256sum -c takes it. --json lists external files too."""
    with session.registry() as registry:
        if session.json:
            session.rows(registry.files(reference), ())
        else:
            click.echo(registry.manifest(reference).encode(), nl=False)
