"""Watch: a snapshot from the view, or what came after a position, and then every change as it comes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from concurrent.futures import Executor
from typing import TypeAlias

from google.protobuf.duration_pb2 import Duration
from podium.v1 import events_pb2 as pb
from podium.v1.watch_pb2 import Reference, WatchRequest, WatchResponse

from podium_server import metrics
from podium_server.dependencies import Dependency
from podium_server.errors import PositionUnknown
from podium_server.feed import CUT, FULL_BYTES, Feed, Moment, Packed, Watcher, pack, position_bytes
from podium_server.filters import Chosen, chooses
from podium_server.history import read_piece
from podium_server.ledger import Caller
from podium_server.positions import Position, parse_position
from podium_server.rows import Reader
from podium_server.view import Entry, View, reference_kind

CATCHING_UP = 2  # watches that read the log at once: the threads are there for others too

Copy: TypeAlias = tuple[str, str, dict[str, Entry]]  # a model's name, its uid, and what its references meant

_SNAPSHOT = WatchResponse(snapshot=True).SerializeToString()


class Watch:
    """The RPC of watching."""

    def __init__(
        self,
        view: View,
        feed: Feed,
        heartbeat_seconds: float,
        pool: Executor,
        read: Callable[[Callable[[Reader], Packed | None]], Awaitable[Packed | None]],
        standing: Dependency,
    ) -> None:
        self._view = view
        self._feed = feed
        self._pool = pool
        self._heartbeat = heartbeat_seconds
        self._read = read
        self._standing = standing
        self._catching_up = asyncio.Semaphore(CATCHING_UP)
        interval = Duration()
        interval.FromNanoseconds(int(heartbeat_seconds * 1e9))
        self._hello = WatchResponse(heartbeat_interval=interval).SerializeToString()

    async def Watch(self, request: WatchRequest, _caller: Caller) -> AsyncIterator[bytes]:
        """See the contract."""
        chosen = Chosen(request.filters)
        self._standing.check()
        if request.position:
            await self._view.reach(request.position, "position")
        cursor = parse_position(request.position) if request.position else self._feed.position
        watcher = Watcher(chosen, cursor, self._feed.history, for_serving=request.for_serving)
        # Before anything is awaited: it is what the view shows at the cursor.
        copies = [] if request.position else self._copies(chosen)
        self._feed.join(watcher)
        try:
            self._feed.check(watcher)
            yield self._hello
            if not request.position:
                async for message in self._snapshot(copies, watcher):
                    yield message
            async for message in self._changes(watcher, resumed=bool(request.position)):
                yield message
        finally:
            self._feed.leave(watcher)

    async def _snapshot(self, copies: list[Copy], watcher: Watcher) -> AsyncIterator[bytes]:
        metrics.WATCH_SNAPSHOTS.inc()
        loop = asyncio.get_running_loop()
        parts = _references(copies, watcher)
        complete = False
        while not complete:
            message, complete = await loop.run_in_executor(self._pool, _snapshot_message, parts, watcher.cursor)
            self._feed.check(watcher)
            yield message

    def _copies(self, chosen: Chosen) -> list[Copy]:
        """What the view shows now: copied at once, looked at later."""
        models = self._view.models
        names = models if chosen.has_globs else [name for name in chosen.models if name in models]
        return [(name, models[name].uid, models[name].entries.copy()) for name in names]

    async def _changes(self, watcher: Watcher, *, resumed: bool) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        due = loop.time() + self._heartbeat
        while True:
            self._feed.check(watcher)
            moments = self._feed.after(watcher)
            if moments is None:
                messages, cursor = await self._from_log(watcher, due - loop.time())
            elif moments:
                messages, cursor = pack(moments, watcher)
            elif resumed:  # and has everything, of which it is told at once
                messages, cursor, resumed = [position_bytes(watcher.cursor)], watcher.cursor, False
            else:
                before = await watcher.wait(due)
                messages, cursor = [], before or self._feed.position
            if not messages and loop.time() >= due:
                self._feed.check(watcher)
                self._standing.check()  # another server may know more: this one cannot vouch that there is nothing new
                messages = [position_bytes(cursor)]
            watcher.cursor = cursor
            for message in messages:
                yield message
                due = loop.time() + self._heartbeat

    async def _from_log(self, watcher: Watcher, seconds: float) -> Packed:
        """The next piece of the log, or nothing if it is not there in so many seconds: then it goes on, for who asks again."""
        watcher.replay = watcher.replay or asyncio.ensure_future(self._replay(watcher))
        done, _ = await asyncio.wait([watcher.replay], timeout=seconds)
        if not done:
            return [], watcher.cursor
        packed, watcher.replay = watcher.replay.result(), None
        if packed is None:
            raise PositionUnknown(CUT)
        return packed

    async def _replay(self, watcher: Watcher) -> Packed | None:
        """A piece of the log, as far as the feed is: the log may be ahead of it. None if that does not have the cursor."""
        shown = self._feed.position.revision

        def piece(reader: Reader) -> Packed | None:
            revisions = read_piece(reader, watcher.cursor, shown)
            return None if revisions is None else pack(map(Moment, revisions), watcher)

        async with self._catching_up:
            return await self._read(piece)


def _references(copies: Iterable[Copy], watcher: Watcher) -> Iterator[bytes]:
    """The references that a watcher chose, each as a field of a WatchResponse."""
    for model, uid, entries in copies:
        rules = watcher.chosen.of_model(model)
        for selector, entry in entries.items() if rules else ():
            kind, name = reference_kind(selector), selector[1:]
            if chooses(rules, kind, name):
                reference = _reference(entry, watcher)
                reference.kind, reference.model, reference.model_uid, reference.name = kind, model, uid, name
                yield WatchResponse(references=[reference]).SerializeToString()


def _reference(entry: Entry, watcher: Watcher) -> Reference:
    if watcher.for_serving and not entry.servable:
        return Reference(absence=pb.ABSENCE_UNSERVABLE, warnings=entry.warnings)
    return Reference.FromString(entry.reply)  # its target has the same number as that of a ResolveVersionResponse


def _snapshot_message(parts: Iterator[bytes], position: Position) -> tuple[bytes, bool]:
    """The next message of a snapshot, and whether it is the last."""
    taken, size = [_SNAPSHOT], 0
    for part in parts:
        taken.append(part)
        size += len(part)
        if size >= FULL_BYTES:
            return b"".join(taken), False
    return b"".join([*taken, position_bytes(position)]), True
