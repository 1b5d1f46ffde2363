"""The log, replayed in the order of its revisions against a small model of a registry: what must hold after each of them."""

import struct
from bisect import bisect_right
from collections import defaultdict
from itertools import groupby
from operator import itemgetter

from podium.v1.events_pb2 import Event, EventFilter, EventKind, EventState, ListEventsRequest
from podium.v1.registry_service_pb2_grpc import RegistryServiceStub
from podium.v1.resolve_pb2 import ResolveVersionRequest, Target
from podium.v1.versions_pb2 import GetVersionRequest

ALIAS, STAGE, LATEST = EventKind.EVENT_KIND_ALIAS, EventKind.EVENT_KIND_STAGE, EventKind.EVENT_KIND_LATEST
SIGNS = {ALIAS: "@", STAGE: "#", LATEST: "@"}
ENTERS = {EventKind.EVENT_KIND_VERSION_REGISTERED, EventKind.EVENT_KIND_VERSION_TRANSITIONED}


def revision_of(position: str) -> int:
    """What clients must not look at: the revision in a position."""
    return struct.unpack(">Q8s", bytes.fromhex(position))[0]


def read_events(stub: RegistryServiceStub, after: str = "") -> list[Event]:
    """All events after a position."""
    events: list[Event] = []
    request = ListEventsRequest(filter=EventFilter(after=after), page_size=1_000)
    while True:
        page = stub.ListEvents(request)
        events.extend(page.events)
        if not page.next_page_token:
            return events
        request.page_token = page.next_page_token


class Replay:
    """A registry as its events tell it. Keys are `model@alias`, `model#stage`, `model@latest` and `model:number`."""

    def __init__(self, events: list[Event]) -> None:
        self.events = events
        self.revisions: dict[int, list[Event]] = {}
        self.targets: dict[str, Target] = {}
        self.meant: dict[str, dict[int, Target]] = defaultdict(dict)  # by the revisions at which it changed
        self.versions: dict[str, dict[int, object]] = defaultdict(dict)
        self.changes: dict[str, list[tuple[int, object]]] = defaultdict(list)
        self.entered: dict[tuple[str, int], int] = {}
        self.registered: dict[tuple[str, int], int] = {}
        self.states: dict[tuple, EventState] = {}
        for revision, group in groupby(events, key=lambda event: event.revision):
            self.apply(revision, list(group))

    def apply(self, revision: int, events: list[Event]) -> None:
        """One revision: its events in a row, after all before it, and then every rule."""
        assert revision == len(self.revisions) + 1, "revisions have no gap"
        assert [event.ordinal for event in events] == list(range(len(events)))
        assert len({(event.position, str(event.time), event.actor, event.peer, event.request_id) for event in events}) == 1
        assert revision_of(events[0].position) == revision
        if earlier := self.revisions.get(revision - 1):
            assert events[0].time.ToNanoseconds() >= earlier[0].time.ToNanoseconds(), "time never goes back"
        self.revisions[revision] = events
        for event in events:
            self.follow(event)
        for model in {event.model for event in events}:
            self.check(model)

    def follow(self, event: Event) -> None:
        """What was before an event is what an earlier one left."""
        state = event.after if event.HasField("after") else event.before
        kind = state.WhichOneof("state")
        thing = event.name if kind == "target" else state.version.number if kind == "version" else 0
        key = (event.model_uid, kind, event.kind if kind == "target" else 0, thing)
        before, self.states[key] = self.states.get(key), event.after
        assert (event.before if event.HasField("before") else EventState()) == (before or EventState()), event
        if kind == "target":
            name = f"{event.model}{SIGNS[event.kind]}{event.name}"
            self.targets[name] = event.after.target
            if not event.HasField("after"):
                del self.targets[name]
            self.meant[name][event.revision] = event.after.target
            self.changes[name].append((event.revision, event.after.target.number))
        elif kind == "version":
            version = event.after.version
            if event.kind in ENTERS:
                self.entered[event.model, version.number] = event.revision
                self.registered.setdefault((event.model, version.number), event.revision)
            self.versions[event.model][version.number] = version
            self.changes[f"{event.model}:{version.number}"].append((event.revision, version.stage))

    def check(self, model: str) -> None:
        """What a model's references mean is what its versions say."""
        versions = self.versions.get(model, {})
        assert sorted(versions) == list(range(1, len(versions) + 1)), "numbers have no gap"
        assert len({version.version for version in versions.values()}) == len(versions)
        expected = {f"{model}@latest": max(versions)} if versions else {}
        for stage in {version.stage for version in versions.values()} - {""}:
            entrants = [number for number, version in versions.items() if version.stage == stage]
            expected[f"{model}#{stage}"] = max(entrants, key=lambda number: (self.entered[model, number], number))
        named = {name: target for name, target in self.targets.items() if target.model == model}
        kept = {name: target.number for name, target in named.items() if "#" in name or name.endswith("@latest")}
        assert kept == expected
        for target in named.values():
            version = versions[target.number]
            for field in ("version", "digest", "record_digest", "file_count", "size_bytes", "stage", "model_uid"):
                assert getattr(target, field) == getattr(version, field)
            assert target.servable is (version.stage != "deprecated")

    def at(self, key: str, revision: int) -> object:
        """The number that a reference meant at a revision (0: nothing), or the stage of a version (None: no version)."""
        place = self._place(key, revision)
        if place:
            return self.changes[key][place - 1][1]
        return None if ":" in key else 0

    def between(self, key: str, first: int, last: int) -> set[object]:
        """All values from one revision to another."""
        changes = self.changes[key][self._place(key, first) : self._place(key, last)]
        return {self.at(key, first)} | {value for _, value in changes}

    def moments(self, keys: list[str], first: int, last: int) -> list[int]:
        """A revision, and all up to another at which one of these changed."""
        changes = (change for key in keys for change in self.changes[key][self._place(key, first) : self._place(key, last)])
        return sorted({first, *(revision for revision, _ in changes)})

    def target(self, key: str, revision: int) -> Target:
        """All that a reference meant at a revision; empty: nothing."""
        place = self._place(key, revision)
        return self.meant[key][self.changes[key][place - 1][0]] if place else Target()

    def position(self, revision: int) -> str:
        """The position at a revision, which is not 0."""
        return self.revisions[revision][0].position

    def _place(self, key: str, revision: int) -> int:
        """How many changes there were up to a revision."""
        return bisect_right(self.changes[key], revision, key=itemgetter(0))

    def aliases(self, model: str, number: int) -> list[str]:
        """The aliases that mean a version at the end."""
        named = (name for name, target in self.targets.items() if (target.model, target.number) == (model, number))
        return sorted(alias for _, sign, alias in (name.partition("@") for name in named) if sign and alias != "latest")

    def agree(self, stub: RegistryServiceStub) -> None:
        """What a server resolves and returns is what the events say, once it has seen the last of them."""
        position = self.events[-1].position if self.events else ""
        for name, target in self.targets.items():
            reply = stub.ResolveVersion(ResolveVersionRequest(reference=name, at_least=position))
            assert reply.target == target
        for model, versions in self.versions.items():
            for number, version in versions.items():
                reply = stub.GetVersion(GetVersionRequest(reference=f"{model}:{number}", at_least=position)).version
                assert list(reply.aliases) == self.aliases(model, number)
                for field in ("version", "digest", "record_digest", "stage", "note_count", "etag", "labels"):
                    assert getattr(reply, field) == getattr(version, field)
