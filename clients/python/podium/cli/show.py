"""podium show: all that is known of a version or of a model."""

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import click

from podium.cli.output import facts, files, named, numbered, safe, size, when, word
from podium.cli.session import Command, Session, pass_session

if TYPE_CHECKING:
    from podium.v1.aliases_pb2 import Alias
    from podium.v1.models_pb2 import Model
    from podium.v1.versions_pb2 import Note, Version


@click.command(cls=Command)
@click.argument("reference", metavar="REF|NAME")
@pass_session
def show(session: Session, /, reference: str) -> None:
    """Show all of the version REF, also its record and its latest notes; or of the model NAME."""
    with session.registry() as registry:
        if re.search("[:@#]", reference):
            version = registry.get(reference)
            session.answer(version, lambda: _version(version))
        else:
            model = registry.model(reference)
            session.answer(model, lambda: _model(model, registry.aliases(reference)))


def _version(version: "Version") -> str:
    from podium.cli.record import record_facts

    external = f", {files(version.external_file_count)} elsewhere" if version.external_file_count else ""
    older = version.note_count - len(version.notes)
    known = [
        ("stage", version.stage or "none"),
        ("aliases", ", ".join(version.aliases)),
        ("digest", version.digest),
        ("record digest", version.record_digest),
        ("files", f"{files(version.file_count)}, {size(version.size_bytes)}{external}"),
        ("registered", f"{when(version.create_time)} by {version.actor}"),
        ("changed", when(version.update_time)),
        ("etag", version.etag),
        ("description", version.description),
        ("labels", _labels(version.labels)),
        *record_facts(version.record),
        ("notes", [line for note in version.notes for line in _note(note)]),
        ("", [f"… and {older:,} older: podium events {version.model} --kind note-added"] if older > 0 else []),
    ]
    return f"{named(version)}\n{facts(known)}"


def _note(note: "Note") -> list[str]:
    first, *others = note.text.splitlines() or [""]
    return [f"{when(note.create_time)}  {note.actor}: {first}", *others]


def _model(model: "Model", aliases: "Iterable[Alias]") -> str:
    from podium.v1.models_pb2 import VersionStrategy

    known = [
        ("uid", model.uid),
        ("strategy", word(VersionStrategy, model.strategy)),
        ("lifecycle", model.lifecycle),
        ("versions", str(model.last_number)),
        ("aliases", [f"{alias.alias} → {numbered(alias)}" for alias in aliases]),
        ("created", when(model.create_time)),
        ("changed", when(model.update_time)),
        ("etag", model.etag),
        ("description", model.description),
        ("labels", _labels(model.labels)),
    ]
    return f"{safe(model.name)}\n{facts(known)}"


def _labels(labels: "Mapping[str, str]") -> list[str]:
    return [f"{key}={value}" for key, value in sorted(labels.items())]
