"""podium push: a folder or a file becomes a version."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from podium.cli.exits import resumable
from podium.cli.output import files, named, safe, short, size
from podium.cli.record_file import read_record
from podium.cli.session import Command, Session, pass_session
from podium.cli.values import (
    dataset,
    description_option,
    each,
    label_option,
    lifecycle_option,
    number,
    pairs,
    reason_option,
    run,
    strategy_option,
    typed,
)

if TYPE_CHECKING:
    from podium import Push

# The names of the parameters are those of Registry.push: whatever is given goes there as it is.


@click.command(cls=Command)
@click.argument("name")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--version", default="", metavar="V", help="The version string; else the model's strategy makes it.")
@click.option("--bump", type=click.Choice(["major", "minor", "patch"]), help="Which part of the version to raise.")
@click.option("--stage", metavar="S", help="The first stage; '' for none. Else the lifecycle's initial one.")
@click.option("--alias", "aliases", multiple=True, metavar="A", help="Point this alias here. Repeatable.")
@click.option("--metric", "metrics", multiple=True, metavar="K=V", callback=pairs(number), help="A measured value. Repeatable.")
@click.option(
    "--param",
    "params",
    multiple=True,
    metavar="K=V",
    callback=pairs(typed),
    help="A setting: 100, 0.5 and true keep their type, all else, and what is in quotes, is text. Repeatable.",
)
@label_option
@click.option(
    "--dataset",
    "inputs",
    multiple=True,
    metavar="NAME:VERSION@sha256:…",
    callback=each(dataset),
    help="A data set it was made from. Repeatable.",
)
@click.option("--parent", "parents", multiple=True, metavar="REF|URI", help="A version it descends from. Repeatable.")
@click.option("--run", metavar="SYSTEM:ID", callback=run, help="The run that made it, mlflow:8f2c for example.")
@description_option
@click.option(
    "--metadata",
    "record",
    type=click.Path(path_type=Path),
    metavar="FILE",
    callback=read_record,
    help="A VersionRecord as JSON or YAML, with the field names of records.proto; the options above win.",
)
@reason_option
@strategy_option
@lifecycle_option
@pass_session
def push(session: Session, /, name: str, path: Path, **given: Any) -> None:
    """Register PATH, a folder or a file, as a new version of the model NAME, which is created where it is new.

    Only bytes that the server does not have are sent, and a push that was interrupted goes on where it stopped. Files
    that .podiumignore names are left out. Git commit, user, Python and framework versions are taken from where it runs.
    """
    if given["version"] and given["bump"]:
        raise click.UsageError("--version and --bump exclude each other")
    with resumable("push"), session.registry() as registry:
        pushed = registry.push(name, path, **{**given, "description": given["description"] or ""})
    if pushed.left_out and not session.json:
        click.echo(f"left out, for a version holds files only: {', '.join(map(safe, pushed.left_out))}", err=True)
    session.answer(_document(pushed), lambda: _line(pushed))


def _line(pushed: "Push") -> str:
    new = f"{size(pushed.uploaded_bytes)} new" if pushed.created else "already there"
    amount = f"{files(pushed.files)}, {size(pushed.size_bytes)}, {new}"
    return f"{named(pushed.version)}  {amount}  {short(pushed.version.digest)}"


def _document(pushed: "Push") -> dict[str, object]:
    return {
        "version": pushed.version,
        "created": pushed.created,
        "uploaded_bytes": str(pushed.uploaded_bytes),  # a string, as protobuf's JSON has the 64-bit numbers beside it
        "left_out": pushed.left_out,
        "position": pushed.position,
    }
