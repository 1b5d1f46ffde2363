"""A watch that goes on for ever: it reconnects from its position, and takes a snapshot where it cannot."""

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeAlias

from grpc import StatusCode

from podium.backoff import Backoff
from podium.errors import PodiumError
from podium.transfers import Crew, Stopped
from podium.transport import Transport
from podium.v1.events_pb2 import Event
from podium.v1.watch_pb2 import Reference, WatchFilter, WatchRequest
from podium.watchdog import Guard

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 3.0  # seconds
MISSED = 3  # heartbeat intervals of silence, after which a stream is dead

_PASSING = {
    StatusCode.UNAVAILABLE,
    StatusCode.DEADLINE_EXCEEDED,
    StatusCode.CANCELLED,
    StatusCode.RESOURCE_EXHAUSTED,
    StatusCode.INTERNAL,
    StatusCode.UNKNOWN,
}


@dataclass(frozen=True)
class Snapshot:
    """All that the watched references mean: it replaces whatever was known, also what it does not mention.

    `restored` says that history was cut since the position before it: a backup was restored, or the address leads to another
    registry. Then this may be older than what was known.
    """

    references: tuple[Reference, ...]
    position: str
    restored: bool


@dataclass(frozen=True)
class Changes:
    """What happened next, in order; all of it holds at the position. An event's `before` and `after` are EventStates."""

    events: tuple[Event, ...]
    position: str


Step: TypeAlias = Snapshot | Changes


class Watch:
    """An iterator over what happens, without an end: a Snapshot first (unless it began at a position), then Changes.

    Cuts, restarts and heartbeats are none of its reader's business: nothing is left out, doubled or out of order. After history
    was cut comes another Snapshot. One thread reads it, any may `close` it, which ends the iteration. A forked child may read
    on, as its parent does. What comes back however often one tries is raised: InvalidArgument for a `since` that is no position.
    """

    def __init__(
        self,
        transport: Transport,
        filters: list[WatchFilter],
        *,
        since: str = "",
        at_least: str = "",
        for_serving: bool = False,
        on_connection: Callable[[bool], object] | None = None,
    ) -> None:
        self.error: PodiumError | None = None  # why there is no connection
        self._transport = transport
        self._filters = filters
        self._for_serving = for_serving
        self._on_connection = on_connection
        self._position = since
        self._newest = since or at_least
        self._restored = False
        self._connected: bool | None = None  # until the first stream is up, or is not
        self._crew = Crew()
        self._backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        self._steps = self._run()

    @property
    def position(self) -> str:
        """Up to where everything has been said, which also moves while nothing happens. Another watch can begin there.

        Keep that of a step once you are done with it. Empty before the first snapshot.
        """
        return self._position

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Step:
        return next(self._steps)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the stream, and the iteration. Any thread may call it, and more than once."""
        self._crew.stop()

    def _run(self) -> Generator[Step]:
        while True:
            try:
                yield from self._read()
            except PodiumError as error:
                if self._crew.stopped:
                    return
                self.error = error
                self._judge(error)
            self._tell(connected=False)
            try:
                self._crew.pause(self._backoff.next())
            except Stopped:
                return

    def _read(self) -> Generator[Step]:
        """The steps of one stream."""
        self._newest = self._newest or self._transport.seen.newest
        request = WatchRequest(
            filters=self._filters,
            position=self._position,
            for_serving=self._for_serving,
            at_least="" if self._position else self._newest,
        )
        guard = Guard(self._transport.timeout)
        snapshot: list[Reference] | None = None
        events: list[Event] = []
        with closing(self._transport.watch(request, self._crew, guard)) as messages:
            for message in messages:
                self._backoff.reset()
                if message.heartbeat_interval.ToNanoseconds():
                    guard.allow(MISSED * message.heartbeat_interval.ToNanoseconds() / 1e9)
                if message.snapshot:
                    snapshot = snapshot or []
                    snapshot += message.references
                events += message.events
                if message.position:
                    self._position = self._newest = message.position
                if message.position and snapshot is not None:
                    restored, self._restored = self._restored, False
                    yield Snapshot(tuple(snapshot), message.position, restored)
                elif message.position and events:
                    yield Changes(tuple(events), message.position)
                if message.position:
                    snapshot, events = None, []
                    self._tell(connected=True)

    def _judge(self, error: PodiumError) -> None:
        """Raises what would come back; forgets a position that leads nowhere."""
        if error.code is StatusCode.OUT_OF_RANGE:
            if error.reason == "POSITION_UNKNOWN" or not self._position:
                self._transport.seen.forget(self._newest)
                self._newest = ""
            self._restored |= error.reason == "POSITION_UNKNOWN"
            self._position = ""
        elif error.code not in _PASSING:
            raise error

    def _tell(self, *, connected: bool) -> None:
        if connected is not self._connected:
            self._connected = connected
            self.error = None if connected else self.error
            if self._on_connection is not None:
                self._on_connection(connected)
