"""What is true now, in memory: the target of every movable reference at one known revision, as the bytes of its reply.

Only the event loop's thread reads and advances it. Other threads hand it revisions, in order and without gaps. The feed, which
watches read, gets each revision together with the view, so that a snapshot and what follows it fit together.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from podium.v1.events_pb2 import EventKind, EventState
from podium.v1.resolve_pb2 import ResolveVersionResponse, Target

from podium_server import metrics
from podium_server.errors import NotCaughtUp
from podium_server.feed import Feed
from podium_server.history import Event, Revision, check_in_history, in_history, read_recent
from podium_server.names import LATEST
from podium_server.positions import Position, parse_position
from podium_server.rows import Reader

CATCH_UP_SECONDS = 2.0
REMEMBERED_POSITIONS = 10_000
RECENT_REVISIONS = 128  # of a server that starts: most watches that come back are not further behind

_SIGNS: dict[int, str] = {EventKind.EVENT_KIND_ALIAS: "@", EventKind.EVENT_KIND_STAGE: "#", EventKind.EVENT_KIND_LATEST: "@"}
_TARGETS = "SELECT m.name, r.kind, r.name, r.target FROM reference r JOIN model m ON m.id = r.model_id WHERE m.deleted_at IS NULL"


def reference_kind(selector: str) -> EventKind:
    """The kind of the reference whose text ends with this: `@alias`, `#stage` or `@latest`."""
    if selector[0] == "#":
        return EventKind.EVENT_KIND_STAGE
    return EventKind.EVENT_KIND_LATEST if selector[1:] == LATEST else EventKind.EVENT_KIND_ALIAS


class Entry(NamedTuple):
    """What a reference means: the first field of a serialized ResolveVersionResponse, and what `for_serving` asks."""

    reply: bytes
    servable: bool
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, target: Target) -> "Entry":
        """The entry of a target."""
        return cls(ResolveVersionResponse(target=target).SerializeToString(), target.servable, tuple(target.warnings))


class KnownModel:
    """A model: its uid, what its references mean, by `@alias`, `#stage` or `@latest`, and the revision of its last change."""

    __slots__ = ("changed", "entries", "uid")

    def __init__(self, uid: str) -> None:
        self.uid = uid
        self.entries: dict[str, Entry] = {}
        self.changed = 0


class Snapshot(NamedTuple):
    """Everything a view holds, at one position."""

    registry: str  # its uid
    position: Position
    models: dict[str, KnownModel]
    start: Position  # before what happened last,
    recent: list[Revision]  # which is this


def load(reader: Reader) -> Snapshot:
    """Reads a snapshot; the reader must be within one transaction."""
    head = reader.one("SELECT registry_uid, revision, nonce FROM head")
    assert head is not None
    registry, *place = head
    models = {name: KnownModel(uid) for name, uid in reader.all("SELECT name, uid FROM model WHERE deleted_at IS NULL")}
    for model, kind, name, target in reader.all(_TARGETS):
        models[model].entries[_SIGNS[kind] + name] = Entry.of(Target.FromString(target))
    position = Position(*place)
    return Snapshot(registry, position, models, *read_recent(reader, position, RECENT_REVISIONS))


class View:
    """The movable references of the registry at `position`; `history` is another number whenever history was cut."""

    def __init__(
        self,
        snapshot: Snapshot,
        feed: Feed,
        read: Callable[[Callable[[Reader], bool]], Awaitable[bool]],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._feed = feed
        self._read = read
        self._posting = threading.Lock()
        self.registry = snapshot.registry
        self.posted = snapshot.position
        self._complete_at = time.monotonic()
        self._advanced = asyncio.Event()
        self.history = 0
        self._install(snapshot)
        metrics.VIEW_REVISION.set_function(lambda: self.position.revision)
        metrics.VIEW_REFERENCES.set_function(lambda: sum(len(model.entries) for model in list(self.models.values())))
        metrics.VIEW_LAG.set_function(lambda: time.monotonic() - self._complete_at)

    # Any thread.

    def post(self, known: Position, revisions: list[Revision]) -> None:
        """Hands over the revisions that were committed after a known position. What was handed over before is ignored, and so
        is what no longer follows: history was cut meanwhile, or somebody else was first.
        """
        with self._posting:
            places = [known, *(revision.position for revision in revisions)]
            if self.posted in places and (new := revisions[places.index(self.posted) :]):
                self.posted = new[-1].position
                self._loop.call_soon_threadsafe(self._apply, new)

    def replace(self, known: Position, snapshot: Snapshot) -> None:
        """Hands over a whole new state, because history does not have a known position any more; ignored if it came too late."""
        with self._posting:
            if self.posted == known or self.posted.revision < snapshot.position.revision:
                self.posted = snapshot.position
                self._loop.call_soon_threadsafe(self._install, snapshot)

    def confirm(self, moment: float) -> None:
        """At that moment of `time.monotonic`, the database had no more than what was handed over by now.

        How far the view is behind is told by that, and not by the times of events: another machine's clock may be wrong.
        """
        self._complete_at = moment

    # The event loop's thread.

    def entry(self, reference: str) -> Entry | None:
        """What a movable reference means, None if nothing."""
        cut = reference.find("@")
        if cut < 0:
            cut = reference.find("#")
        model = self.models.get(reference[:cut])
        return None if model is None else model.entries.get(reference[cut:])

    async def reach(self, text: str, field: str = "at_least") -> None:
        """Returns once this view shows the position; raises PositionUnknown or, after two seconds, NotCaughtUp."""
        wanted = parse_position(text, field)
        if self._nonces.get(wanted.revision) == wanted.nonce:
            return
        history, shown = self.history, self.position

        def question(reader: Reader) -> bool:
            check_in_history(reader, wanted)
            return in_history(reader, shown)

        is_current = await self._read(question)
        try:
            async with asyncio.timeout(CATCH_UP_SECONDS):
                # Where what this view shows has been cut, its number says nothing.
                while self.position.revision < wanted.revision or (not is_current and self.history == history):
                    await self._advanced.wait()
        except TimeoutError:
            raise NotCaughtUp("this server has not reached that position yet: try again") from None

    def _install(self, snapshot: Snapshot) -> None:
        self.history += 1
        self.models = snapshot.models
        self._nonces: dict[int, bytes] = {}
        self._arrive(snapshot.position)
        self._feed.restart(snapshot.start, snapshot.recent)
        self._wake()

    def _apply(self, revisions: list[Revision]) -> None:
        for revision in revisions:
            for event in revision.events:
                self._fold(event)
            self._arrive(revision.position)
        self._feed.publish(revisions)
        self._wake()

    def _wake(self) -> None:
        self._advanced.set()
        self._advanced = asyncio.Event()

    def _arrive(self, position: Position) -> None:
        self.position = position
        self.tail = ResolveVersionResponse(position=str(position)).SerializeToString()
        self._nonces[position.revision] = position.nonce
        self._nonces.pop(position.revision - REMEMBERED_POSITIONS, None)

    def _fold(self, event: Event) -> None:
        if event.kind == EventKind.EVENT_KIND_MODEL_CREATED:
            self.models[event.model] = KnownModel(event.model_uid)
        model, sign = self.models[event.model], _SIGNS.get(event.kind)
        if sign is None:
            model.changed = event.revision
        elif event.after is None:
            model.entries.pop(sign + event.name, None)
        else:
            target = EventState.FromString(event.after).target
            # A state that is a target has the bytes of a reply with that target: the field has the same number.
            model.entries[sign + event.name] = Entry(event.after, target.servable, tuple(target.warnings))
