"""A client that keeps watch as the contract says, over streams that end, and remembers all that it was told."""

import random
import re
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import grpc
from conftest import Refusal
from google.protobuf.message import Message
from podium.v1.events_pb2 import ABSENCE_UNSERVABLE, Event
from podium.v1.registry_service_pb2_grpc import RegistryServiceStub
from podium.v1.watch_pb2 import WatchFilter, WatchRequest, WatchResponse
from podium.watchdog import Left, Receiver
from relay import Relay
from replay import ALIAS, SIGNS, STAGE

SECONDS = 60.0
OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 200),
]


class Filter(NamedTuple):
    """A WatchFilter, and what it means by another way than the server's."""

    model: str
    name: str = ""
    kinds: tuple[int, ...] = ()

    def chooses(self, model: str, kind: int, name: str) -> bool:
        parts = re.split(r"(\*+)", self.model or "**")
        pattern = "".join("[^/]*" if part == "*" else ".*" if part.startswith("*") else re.escape(part) for part in parts)
        return bool(re.fullmatch(pattern, model)) and self.name in ("", name) and kind in (self.kinds or (ALIAS, STAGE))


class Choice(NamedTuple):
    """What a watch is about."""

    filters: tuple[Filter, ...]
    for_serving: bool = False

    def chooses(self, event: Event) -> bool:
        return any(one.chooses(event.model, event.kind, event.name) for one in self.filters)

    def shown(self, event: Event) -> Event:
        """An event as the watch is told it."""
        if not self.for_serving or event.kind not in SIGNS:
            return event
        told = Event()
        told.CopyFrom(event)
        if event.HasField("before") and not event.before.target.servable:
            told.ClearField("before")
        if event.HasField("after") and not event.after.target.servable:
            told.ClearField("after")
            told.absence = ABSENCE_UNSERVABLE
            told.warnings.extend(event.after.target.warnings)
        return told


class Segment:
    """What one watch was told from a snapshot on, over all its streams: it is of one history, or two were mixed."""

    def __init__(self, position: str, references: list[Message]) -> None:
        self.positions = [position]
        self.references = references
        self.events: list[Event] = []
        self.counts = [0]  # of the events that were told with each position and those before it

    def add(self, position: str, events: list[Event]) -> None:
        """What was applied as one step."""
        self.events += events
        self.positions.append(position)
        self.counts.append(len(self.events))


class Watcher(threading.Thread):
    """Keeps watch as the contract says, by way of one relay or another, and remembers all of it."""

    def __init__(self, relays: Sequence[Relay], choice: Choice, seed: float, heartbeat: float) -> None:
        super().__init__(daemon=True)
        self.relays = relays
        self.choice = choice
        self.silence = 3 * heartbeat + 0.5
        self.random = random.Random(seed)
        self.segments: list[Segment] = []
        self.streams = 0
        self.cuts_told = 0
        self.failure: Exception | None = None
        self.silent = False
        self.closing = threading.Event()
        self.heard = time.monotonic()
        self.reached = threading.Condition()
        self.position = ""
        self.newest = ""
        self.call: grpc.Call | None = None
        self.receiver: Receiver[WatchResponse] | None = None
        self.ends: deque[str] = deque(maxlen=5)

    def run(self) -> None:
        try:
            while not self.closing.is_set():
                self.silent = False
                with grpc.insecure_channel(self.random.choice(self.relays).address, options=OPTIONS) as channel:
                    self.use(RegistryServiceStub(channel))
        except Exception as error:
            self.failure = error

    def use(self, stub: RegistryServiceStub) -> None:
        """Watches over one connection, until that may be dead."""
        while not (self.closing.is_set() or self.silent):
            try:
                self.listen(stub)
            except grpc.RpcError as error:
                self.take_end(error)
            except Left:
                self.ends.append("left")
            # A server without its database refuses at once, and again.
            self.closing.wait((0.5 if self.ends and "cannot be used" in self.ends[-1] else 0.05) * self.random.random())

    def take_end(self, error: grpc.RpcError) -> None:
        self.ends.append(f"{error.code().name} {error.details()}")
        if error.code() is grpc.StatusCode.OUT_OF_RANGE:
            assert Refusal(error).reason == "POSITION_UNKNOWN"
            self.position = self.newest = ""
            self.cuts_told += 1
        elif error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
            self.failure = error
            self.closing.set()

    def listen(self, stub: RegistryServiceStub) -> None:
        """One stream, until it ends or this watcher has had enough of it."""
        if self.random.random() < 0.1:
            self.position = ""  # as one that lost it: but what it saw, it saw
        filters = [WatchFilter(**one._asdict()) for one in self.choice.filters]
        at_least = "" if self.position else self.newest
        request = WatchRequest(filters=filters, position=self.position, at_least=at_least, for_serving=self.choice.for_serving)
        self.heard = time.monotonic()
        self.call = call = stub.Watch(request)
        self.streams += 1
        self.receiver = receiver = Receiver[WatchResponse](lambda: next(call, None))
        try:
            self.take(call, receiver)
        finally:
            receiver.leave()

    def take(self, call: grpc.Call, receiver: Receiver[WatchResponse]) -> None:
        """Applies what a stream brings, until it ends."""
        patience = self.random.choice([1, 5, 50, 1000])
        references: list[Message] | None = None
        events: list[Event] = []
        while (message := receiver.next()) is not None:
            self.heard = time.monotonic()
            if message.snapshot:
                references = [*(references or []), *message.references]
            events += message.events
            if message.position:
                self.apply(message.position, references, events)
                references, events = None, []
            patience -= 1
            if not patience or self.closing.is_set():
                call.cancel()
            if self.random.random() < 0.02:
                self.closing.wait(0.3)  # a slow reader

    def apply(self, position: str, references: list[Message] | None, events: list[Event]) -> None:
        with self.reached:
            if references is not None:
                assert not events
                self.segments.append(Segment(position, references))
            else:
                self.segments[-1].add(position, events)
            self.position = self.newest = position
            self.reached.notify_all()

    def cancel_if_dead(self) -> None:
        """A stream that is silent for three heartbeats is dead."""
        if self.call and time.monotonic() - self.heard > self.silence:
            self.silent = True
            self.leave()

    def leave(self) -> None:
        if self.call:
            self.call.cancel()
        if self.receiver:
            self.receiver.leave()

    def wait_for(self, position: str, seconds: float = SECONDS) -> None:
        with self.reached:
            there = self.reached.wait_for(lambda: self.failure or self.position == position, seconds)
        if self.failure:
            raise self.failure
        heard = time.monotonic() - self.heard
        told = f"{self.choice} is at {self.position}, not at {position}: heard {heard:.1f} s ago"
        assert there, f"{told}, {self.streams} streams, ended {list(self.ends)}, now in\n{self.stack()}"

    def stack(self) -> str:
        """Where this thread is."""
        frame = sys._current_frames().get(self.ident or 0)
        return "".join(traceback.format_stack(frame)) if frame else "no thread"

    def close(self) -> None:
        self.closing.set()
        self.leave()
        if self.is_alive():
            self.join(SECONDS)
