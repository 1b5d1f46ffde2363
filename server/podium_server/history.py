"""Reads the log: what was committed after a position, in order, and what its events are as messages."""

from collections.abc import Iterable
from typing import NamedTuple, Protocol, TypeVar

from podium.v1 import events_pb2 as pb

from podium_server.errors import PositionUnknown
from podium_server.positions import Position
from podium_server.rows import Reader, timestamp

REFERENCE_KINDS = frozenset({pb.EVENT_KIND_ALIAS, pb.EVENT_KIND_STAGE, pb.EVENT_KIND_LATEST})
PIECE_EVENTS = 256
ALL = 1 << 62
PIECE_BYTES = 256 * 1024


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

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return 300 + len(self.before or b"") + len(self.after or b"") + len(self.text or "") + len(self.reason)

    def to_proto(self) -> pb.Event:
        """The message: its fields have the names of the columns."""
        gone = self.after is None and self.kind in REFERENCE_KINDS
        fields = self._asdict()
        position = Position(self.revision, fields.pop("nonce"))
        fields |= {"time": timestamp(self.time), "before": _state(self.before), "after": _state(self.after)}
        return pb.Event(**fields, position=str(position), absence=pb.ABSENCE_GONE if gone else pb.ABSENCE_UNSPECIFIED)


class Revision(NamedTuple):
    """One committed mutation."""

    position: Position
    events: list[Event]

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return sum(event.size for event in self.events)


class Measured(Protocol):
    """What says how many bytes it takes."""

    @property
    def size(self) -> int: ...


Item = TypeVar("Item", bound=Measured)

_COLUMNS = ", ".join(f'"{name}"' for name in Event._fields)
_AFTER = f"SELECT {_COLUMNS} FROM event WHERE revision > ? ORDER BY revision, ordinal"

_BETWEEN = f"SELECT {_COLUMNS} FROM event WHERE revision > ? AND revision <= ? ORDER BY revision, ordinal LIMIT ?"


def nonce_at(reader: Reader, revision: int) -> bytes | None:
    """The nonce of a revision in the database's history, None if it has no such revision."""
    row = reader.one("SELECT nonce FROM event WHERE revision = ? AND ordinal = 0", revision)
    if row is None and revision == 0:
        # Nothing happened yet, or everything did after it: revision 0 has the nonce of the registry itself.
        row = reader.one("SELECT origin FROM head")
    return None if row is None else row[0]


def in_history(reader: Reader, position: Position) -> bool:
    """Whether the database's history has a position. Who knows it from memory asks within the transaction that reads the rest: a
    moment ago the database may have become an older copy of itself.
    """
    return nonce_at(reader, position.revision) == position.nonce


def check_in_history(reader: Reader, position: Position, field: str | None = None) -> None:
    """PositionUnknown if the database's history does not have a position."""
    if not in_history(reader, position):
        raise PositionUnknown(
            "this registry's history does not have that position: it is of another registry, or history was cut", field=field
        )


def read_since(reader: Reader, known: Position) -> list[Revision] | None:
    """The revisions after a known position; None if the database's history does not have that position: it was cut."""
    if not in_history(reader, known):
        return None
    return _revisions(reader.all(_AFTER, known.revision))


def read_piece(reader: Reader, known: Position, last: int) -> list[Revision] | None:
    """As `read_since`, but only the next few, up to the revision `last`: none if there are no more."""
    if not in_history(reader, known):
        return None
    revisions = _revisions(reader.all(_BETWEEN, known.revision, last, PIECE_EVENTS))
    if sum(len(revision.events) for revision in revisions) == PIECE_EVENTS:
        # The last one may have more events than were read.
        revisions = revisions[:-1] or _revisions(reader.all(_BETWEEN, known.revision, known.revision + 1, ALL))
    return first_bytes(revisions, PIECE_BYTES)


def first_bytes(items: Iterable[Item], count: int) -> list[Item]:
    """As many of the first as have so many bytes together, or the one that has more."""
    taken: list[Item] = []
    size = 0
    for item in items:
        taken.append(item)
        size += item.size
        if size >= count:
            break
    return taken


def read_recent(reader: Reader, head: Position, count: int) -> tuple[Position, list[Revision]]:
    """The last so many revisions up to the head, and the position before them; the reader must be within one transaction."""
    first = max(0, head.revision - count)
    nonce = nonce_at(reader, first)
    assert nonce is not None
    return Position(first, nonce), _revisions(reader.all(_AFTER, first))


def _revisions(rows: Iterable[tuple[object, ...]]) -> list[Revision]:
    revisions: list[Revision] = []
    for row in rows:
        event = Event(*row)  # type: ignore[arg-type]  # the columns are its fields
        if event.ordinal == 0:
            revisions.append(Revision(Position(event.revision, event.nonce), []))
        revisions[-1].events.append(event)
    return revisions


def _state(content: bytes | None) -> pb.EventState | None:
    return None if content is None else pb.EventState.FromString(content)
