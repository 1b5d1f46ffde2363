"""Reads the log: what was committed after a position, in order."""

from typing import NamedTuple

from podium_server.positions import Position
from podium_server.rows import Reader


class Event(NamedTuple):
    """A row of the event table, in the order of its columns. The states are serialized EventState messages."""

    revision: int
    ordinal: int
    time: int
    kind: int
    model: str
    model_uid: str
    name: str
    actor: str
    peer: str
    request_id: str
    reason: str
    text: str | None
    rollback: bool
    before: bytes | None
    after: bytes | None
    nonce: bytes


class Revision(NamedTuple):
    """One committed mutation."""

    position: Position
    events: list[Event]


_COLUMNS = ", ".join(f'"{name}"' for name in Event._fields)
_AFTER = f"SELECT {_COLUMNS} FROM event WHERE revision > ? ORDER BY revision, ordinal"


def nonce_at(reader: Reader, revision: int) -> bytes | None:
    """The nonce of a revision in the database's history, None if it has no such revision."""
    row = reader.one("SELECT nonce FROM event WHERE revision = ? AND ordinal = 0", revision)
    if row is None and revision == 0:
        # Nothing happened yet, or everything did after it: revision 0 has the nonce of the registry itself.
        row = reader.one("SELECT origin FROM head")
    return None if row is None else row[0]


def read_since(reader: Reader, known: Position) -> list[Revision] | None:
    """The revisions after a known position; None if the database's history does not have that position: it was cut."""
    if nonce_at(reader, known.revision) != known.nonce:
        return None
    revisions: list[Revision] = []
    for row in reader.all(_AFTER, known.revision):
        event = Event(*row)
        if event.ordinal == 0:
            revisions.append(Revision(Position(event.revision, event.nonce), []))
        revisions[-1].events.append(event)
    return revisions
