"""podium versions, podium version edit and podium note: the versions of a model, and what may change of one."""

from typing import Any

import click

from podium.cli.output import Column, named, safe, short, size, when
from podium.cli.session import Command, Group, Session, pass_session
from podium.cli.values import (
    check_changes,
    description_option,
    etag_option,
    label_filter,
    label_option,
    remove_label_option,
)
from podium.v1.versions_pb2 import Version

_COLUMNS: tuple[Column[Version], ...] = (
    Column("VERSION", lambda version: version.version),
    Column("NUMBER", lambda version: version.number, right=True),
    Column("STAGE", lambda version: version.stage),
    Column("ALIASES", lambda version: " ".join(version.aliases)),
    Column("FILES", lambda version: version.file_count + version.external_file_count, right=True),
    Column("SIZE", lambda version: size(version.size_bytes), right=True),
    Column("REGISTERED", lambda version: when(version.create_time)),
    Column("BY", lambda version: version.actor),
    Column("DIGEST", lambda version: short(version.digest)),
)


@click.command(cls=Command)
@click.argument("name")
@click.option("--stage", metavar="S", help="Only those in this stage; '' for those in none.")
@label_filter
@pass_session
def versions(session: Session, /, name: str, stage: str | None, labels: dict[str, str]) -> None:
    """List the versions of the model NAME, the newest first."""
    with session.registry() as registry:
        session.rows(registry.versions(name, stage=stage, labels=labels), _COLUMNS)


@click.group(cls=Group)
def version() -> None:
    """Change what may change of a version; its bytes and its record never do."""


@version.command
@click.argument("reference", metavar="REF")
@description_option
@label_option
@remove_label_option
@etag_option
@pass_session
def edit(session: Session, /, reference: str, **changes: Any) -> None:
    """Change the description or labels of REF."""
    check_changes(changes)
    with session.registry() as registry:
        changed = registry.edit_version(reference, **changes)
    session.answer(changed, lambda: f"{named(changed)}  changed")


@click.command(cls=Command)
@click.argument("reference", metavar="REF")
@click.argument("text")
@pass_session
def note(session: Session, /, reference: str, text: str) -> None:
    """Add TEXT to the notes of REF, with your name and the time. Notes are never changed or removed."""
    with session.registry() as registry:
        added = registry.note(reference, text)
    session.answer(added, lambda: f"{safe(reference)}  noted")
