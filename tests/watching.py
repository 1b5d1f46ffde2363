"""A watch as the contract tells a client author to read one: what arrives is applied whenever a position arrives."""

import queue
import threading
import time
from typing import NamedTuple

import grpc
from podium.v1.events_pb2 import EVENT_KIND_ALIAS, EVENT_KIND_LATEST, EVENT_KIND_STAGE
from podium.v1.watch_pb2 import WatchFilter, WatchRequest

REFERENCE_KINDS = {EVENT_KIND_ALIAS, EVENT_KIND_STAGE, EVENT_KIND_LATEST}
PATIENCE_SECONDS = 20


class Step(NamedTuple):
    """All that one position completes. `references` is None unless it is a snapshot."""

    position: str
    references: list | None
    events: list


class Ended(NamedTuple):
    """The end of a stream."""

    error: grpc.RpcError | None


class Watching:
    """One stream, read by a thread. `step` waits for the next step that says something, `end` for the end."""

    def __init__(self, stub, *filters, **values):
        chosen = [WatchFilter(**one) if isinstance(one, dict) else one for one in filters]
        self.call = stub.Watch(WatchRequest(filters=chosen, **values))
        self.interval = 0.0
        self.position = values.get("position", "")
        self._steps = queue.Queue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.call.cancel()
        self._thread.join(PATIENCE_SECONDS)

    def any_step(self):
        """The next step, or the end; also a heartbeat, which has no events."""
        found = self._steps.get(timeout=PATIENCE_SECONDS)
        if isinstance(found, Step):
            self.position = found.position
        return found

    def step(self):
        """The next step that is not a heartbeat."""
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            found = self.any_step()
            assert isinstance(found, Step), found
            if found.references is not None or found.events:
                return found
        raise AssertionError("nothing but heartbeats")

    def snapshot(self):
        """The first step, by reference: `model@alias` or `model#stage`, to the whole Reference."""
        references = self.step().references
        assert references is not None
        return {text(reference): reference for reference in references}

    def heartbeat(self):
        """The position of the next step, which is a heartbeat."""
        found = self.any_step()
        assert isinstance(found, Step) and not found.events and found.references is None
        return found.position

    def reach(self, position):
        """The events that come until this position has come."""
        end, events = time.monotonic() + PATIENCE_SECONDS, []
        while self.position != position:
            assert time.monotonic() < end, f"at {self.position}, not at {position}"
            found = self.any_step()
            assert isinstance(found, Step), found
            events += found.events
        return events

    def events(self, count):
        """The next events."""
        found = []
        while len(found) < count:
            found += self.step().events
        assert len(found) == count
        return found

    def end(self):
        """How the stream ended, whatever was said before."""
        while isinstance(found := self.any_step(), Step):
            pass
        return found.error

    def _read(self):
        references, events = None, []
        try:
            for place, message in enumerate(self.call):
                assert message.HasField("heartbeat_interval") == (place == 0)
                if place == 0:
                    self.interval = message.heartbeat_interval.ToTimedelta().total_seconds()
                if message.snapshot:
                    references = (references or []) + list(message.references)
                events += message.events
                if message.position:
                    self._steps.put(Step(message.position, references, events))
                    references, events = None, []
            self._steps.put(Ended(None))
        except grpc.RpcError as error:
            self._steps.put(Ended(error))


def text(reference):
    """The reference, or that of an event, as text."""
    return f"{reference.model}{'#' if reference.kind == EVENT_KIND_STAGE else '@'}{reference.name}"


def targets(references):
    """What references mean: text to version number, None where the target is withheld."""
    return {name: reference.target.number if reference.HasField("target") else None for name, reference in references.items()}
