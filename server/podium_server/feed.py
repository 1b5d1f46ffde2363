"""The feed: the last revisions in a ring, each event serialized once for all watches, and who waits for which model.

A watcher is a cursor and not a queue, so one that reads slowly costs nothing: what has left the ring is read from the log. Only
those that wait for a change of some model are woken by one; all of this is the event loop's.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import chain
from typing import TypeAlias

from podium.v1 import events_pb2 as pb
from podium.v1.watch_pb2 import WatchResponse

from podium_server import metrics
from podium_server.errors import Overloaded, PositionUnknown, Stopping
from podium_server.filters import Chosen
from podium_server.history import REFERENCE_KINDS, Event, Revision, first_bytes
from podium_server.limits import MAX_WATCHES
from podium_server.positions import Position

RING_BYTES = 8 << 20
TAKEN_BYTES = 256 * 1024  # which one watcher takes from the ring at once
FULL_BYTES = 64 * 1024

Packed: TypeAlias = tuple[list[bytes], Position]  # messages, and the cursor after them

CUT = "history was cut, by a restored backup: watch again without a position"


def position_bytes(position: Position) -> bytes:
    """A position as the last field of a WatchResponse."""
    return WatchResponse(position=str(position)).SerializeToString()


class Line:
    """An event as a field of a WatchResponse."""

    def __init__(self, event: Event) -> None:
        self.event = event

    def bytes_for(self, watcher: "Watcher") -> bytes:
        """As this watcher may see it."""
        return self._for_serving if watcher.for_serving else self._plain

    @cached_property
    def _plain(self) -> bytes:
        """With everything."""
        return WatchResponse(events=[self.event.to_proto()]).SerializeToString()

    @cached_property
    def _for_serving(self) -> bytes:
        """Without versions that may not serve."""
        event = self.event.to_proto()
        if event.kind not in REFERENCE_KINDS:
            return self._plain
        if event.HasField("before") and not event.before.target.servable:
            event.ClearField("before")
        if event.HasField("after") and not event.after.target.servable:
            event.warnings.extend(event.after.target.warnings)
            event.absence = pb.ABSENCE_UNSERVABLE
            event.ClearField("after")
        return WatchResponse(events=[event]).SerializeToString()


class Moment:
    """A revision as watches send it."""

    def __init__(self, revision: Revision) -> None:
        self.position = revision.position
        self.size = revision.size
        self.lines = [Line(event) for event in revision.events]

    @cached_property
    def tail(self) -> bytes:
        """Its position, which ends a message."""
        return position_bytes(self.position)


class Watcher:
    """A cursor: all that it chose, up to there, is on its way. While it waits, that is all that there is."""

    __slots__ = ("_change", "_missed", "chosen", "cursor", "for_serving", "history", "replay")

    def __init__(self, chosen: Chosen, cursor: Position, history: int, *, for_serving: bool) -> None:
        self.chosen = chosen
        self.cursor = cursor
        self.history = history
        self.for_serving = for_serving
        self.replay: asyncio.Future[Packed | None] | None = None  # what it reads from the log now
        self._change: asyncio.Future[None] | None = None
        self._missed: Position | None = None

    async def wait(self, until: float) -> Position | None:
        """What came right before the first change that it chose; None if none came until then, by the loop's clock."""
        loop = asyncio.get_running_loop()
        self._change, self._missed = loop.create_future(), None
        timer = loop.call_at(until, self.wake)
        try:
            await self._change
        finally:
            self._change = None
            timer.cancel()
        return self._missed

    def notify(self, before: Position) -> None:
        """Something that it chose came right after that position. Where it does not wait, it finds that itself."""
        if self._missed is None:
            self._missed = before
        self.wake()

    def wake(self) -> None:
        """Ends its wait, if it waits."""
        if self._change is not None and not self._change.done():
            self._change.set_result(None)


class Feed:
    """What was committed last, at `position`; `history` is another number whenever history was cut."""

    def __init__(self) -> None:
        self.history = 0
        self._closed = False
        self._count = 0
        self._by_model: dict[str, set[Watcher]] = {}
        self._globbing: set[Watcher] = set()

    def restart(self, start: Position, recent: Iterable[Revision]) -> None:
        """Begins a history with the last revisions of it: watchers of the one before are woken, and find that it was cut."""
        self.history += 1
        self._wake_all()
        self.position = self._start = start
        self._ring: deque[Moment] = deque()
        self._bytes = 0
        self.publish(recent)

    def publish(self, revisions: Iterable[Revision]) -> None:
        """Takes the next revisions, in order and without gaps."""
        for revision in revisions:
            moment = Moment(revision)
            self._ring.append(moment)
            self._bytes += moment.size
            for line in moment.lines:
                for watcher in self._choosers(line):
                    watcher.notify(self.position)
            self.position = moment.position
        while self._bytes > RING_BYTES and len(self._ring) > 1:
            oldest = self._ring.popleft()
            self._bytes -= oldest.size
            self._start = oldest.position

    def close(self) -> None:
        """Ends all watches: the server stops."""
        self._closed = True
        self._wake_all()

    def join(self, watcher: Watcher) -> None:
        """From now on the watcher is woken; Overloaded if there are too many."""
        if self._count >= MAX_WATCHES:
            raise Overloaded(f"{MAX_WATCHES} watches run on this server: try again later", retry_after_seconds=5)
        self._count += 1
        for model in watcher.chosen.models:
            self._by_model.setdefault(model, set()).add(watcher)
        if watcher.chosen.has_globs:
            self._globbing.add(watcher)

    def leave(self, watcher: Watcher) -> None:
        """The watcher has gone."""
        if watcher.replay is not None:
            watcher.replay.cancel()
        self._count -= 1
        for model in watcher.chosen.models:
            self._by_model[model].discard(watcher)
            if not self._by_model[model]:
                del self._by_model[model]
        self._globbing.discard(watcher)

    def check(self, watcher: Watcher) -> None:
        """PositionUnknown if what the watcher knows is of a history that was cut, Stopping if the server stops."""
        if self._closed:
            raise Stopping("the server is stopping: watch again from the last position")
        if watcher.history != self.history:
            raise PositionUnknown(CUT)

    def after(self, watcher: Watcher) -> list[Moment] | None:
        """The next revisions after its cursor, none if there are none; None if the ring does not go back that far.

        PositionUnknown if the cursor is in another history than the feed, which is about to learn of it.
        """
        behind = self.position.revision - watcher.cursor.revision
        if behind > len(self._ring):
            return None
        if watcher.cursor != (self._ring[-behind - 1].position if behind < len(self._ring) else self._start):
            raise PositionUnknown(CUT)
        return first_bytes((self._ring[place] for place in range(-behind, 0)), TAKEN_BYTES)

    def _choosers(self, line: Line) -> Iterator[Watcher]:
        model, kind, name = line.event.model, line.event.kind, line.event.name
        for watcher in chain(self._by_model.get(model, ()), self._globbing):
            if watcher.chosen.has(model, kind, name):
                yield watcher

    def _wake_all(self) -> None:
        for watcher in {*self._globbing, *(one for some in self._by_model.values() for one in some)}:
            watcher.wake()


def pack(moments: Iterable[Moment], watcher: Watcher) -> Packed:
    """What these revisions have for a watcher, as messages of about 64 KiB, and the cursor after them.

    A revision may span messages; each message that ends with a whole one ends with its position.
    """
    packed: list[bytes] = []
    parts: list[bytes] = []
    size, count, cursor, tail = 0, 0, watcher.cursor, b""
    for moment in moments:
        for line in moment.lines:
            if watcher.chosen.has(line.event.model, line.event.kind, line.event.name):
                parts.append(line.bytes_for(watcher))
                size += len(parts[-1])
                count += 1
                if size >= FULL_BYTES and line is not moment.lines[-1]:
                    packed.append(b"".join(parts))
                    parts, size = [], 0
                tail = moment.tail
        if size >= FULL_BYTES:
            packed.append(b"".join([*parts, tail]))
            parts, size, tail = [], 0, b""
        cursor = moment.position
    if parts or tail:
        packed.append(b"".join([*parts, tail]))
    metrics.WATCH_EVENTS.inc(count)
    return packed, cursor
