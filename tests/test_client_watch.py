"""The client's watch: words become filters, and whatever happens to server and connection, its reader sees every change once."""

import signal
import threading
from types import SimpleNamespace

import grpc
import podium
import pytest
from following import HEARTBEAT, SECONDS, FaultyRelay, copy_data, name_of, push, replace_data, start_again
from google.protobuf.duration_pb2 import Duration
from podium.seen import Seen
from podium.v1.events_pb2 import EventKind
from podium.v1.watch_pb2 import WatchFilter, WatchResponse
from podium.watch_filters import followed, watch_filters
from podium.watching import Watch
from test_client import in_child
from watching import Watching

SERVER_OPTIONS = HEARTBEAT
ALIAS, STAGE, LATEST = EventKind.EVENT_KIND_ALIAS, EventKind.EVENT_KIND_STAGE, EventKind.EVENT_KIND_LATEST
REGISTERED = EventKind.EVENT_KIND_VERSION_REGISTERED


@pytest.fixture
def registry(server):
    with podium.connect(server.address) as connected:
        yield connected


@pytest.fixture
def watcher(relay):
    """A registry whose watches go through the relay."""
    with podium.connect(relay.address) as connected:
        yield connected


@pytest.fixture
def model(request, registry, tmp_path):
    """A model with three versions."""
    name = name_of(request)
    push(registry, name, tmp_path, 3)
    return name


@pytest.fixture
def own(start_server, tmp_path):
    """A server of this test alone behind a relay, with a model `m` of three versions."""
    server = start_server(*HEARTBEAT)
    relay = FaultyRelay(server.address)
    with podium.connect(server.address) as registry:
        push(registry, "m", tmp_path, 3)
    yield server, relay
    relay.close()


def set_alias(address, *targets, model="m", alias="champion"):
    with podium.connect(address) as registry:
        for number in targets:
            registry.set_alias(model, alias, number)


def targets(step):
    if isinstance(step, podium.Snapshot):
        return {reference.name: reference.target.number for reference in step.references}
    return [event.after.target.number for event in step.events]


def numbers(watch, count):
    """The targets of the next changes, which come one by one or together."""
    found = []
    while len(found) < count:
        step = next(watch)
        assert isinstance(step, podium.Changes)
        found += targets(step)
    return found


# Words.


@pytest.mark.parametrize(
    ("words", "filters"),
    [
        ([], [{}]),
        (["fraud"], [{"model": "fraud"}]),
        (["team/*"], [{"model": "team/*"}]),
        (["**"], [{"model": "**"}]),
        (["fraud@champion"], [{"model": "fraud", "name": "champion", "kinds": [ALIAS]}]),
        (["risk/fraud@latest"], [{"model": "risk/fraud", "name": "latest", "kinds": [LATEST]}]),
        (["team/*#production"], [{"model": "team/*", "name": "production", "kinds": [STAGE]}]),
        (["a", "b@c"], [{"model": "a"}, {"model": "b", "name": "c", "kinds": [ALIAS]}]),
    ],
)
def test_words_become_filters(words, filters):
    assert watch_filters(words) == [WatchFilter(**one) for one in filters]


def test_kinds_are_for_models():
    assert watch_filters([], [REGISTERED]) == [WatchFilter(kinds=[REGISTERED])]
    assert watch_filters(["a", "b/*"], [REGISTERED, ALIAS]) == [
        WatchFilter(model=model, kinds=[REGISTERED, ALIAS]) for model in ("a", "b/*")
    ]


@pytest.mark.parametrize(
    "word",
    [
        "",
        "@champion",
        "fraud@",
        "fraud#",
        "fraud:1",
        "fraud:1.0.0",
        "fraud@sha256:" + "0" * 64,
        "a//b",
        "/a",
        "a/",
        "-a",
        "a b",
        "ä",
    ]
    + ["fraud@a/b", "fraud@champion#x", "fraud@champ*", "a" * 257, "a*" * 129, "fraud@" + "x" * 129, "fraud\n", "fraud@champion\n"],
)
def test_wrong_words_are_refused_before_any_call(word):
    with podium.connect("127.0.0.1:1") as registry:
        with pytest.raises(podium.InvalidArgument) as refused:
            registry.watch("fraud", word)
        assert "reference" in refused.value.fields
        with pytest.raises(podium.InvalidArgument):
            registry.follow(word)


def test_wrong_kinds_are_refused_before_any_call():
    with podium.connect("127.0.0.1:1") as registry:
        for words, kinds in (("fraud@champion", [ALIAS]), ("fraud", [0]), ("fraud", [99])):
            with pytest.raises(podium.InvalidArgument):
                registry.watch(words, kinds=kinds)


@pytest.mark.parametrize("word", ["fraud", "fraud:1", "fraud@sha256:" + "0" * 64, "team/*@champion", "**"])
def test_what_does_not_move_cannot_be_followed(word):
    with pytest.raises(podium.InvalidArgument):
        followed(word)


# What it yields.


def test_a_snapshot_and_then_changes(registry, model):
    registry.set_alias(model, "champion", 1)
    with registry.watch(f"{model}@champion") as watch:
        assert watch.position == ""
        snapshot = next(watch)
        assert targets(snapshot) == {"champion": 1}
        assert (snapshot.restored, snapshot.position) == (False, watch.position)
        registry.set_alias(model, "other", 1)
        moved = registry.set_alias(model, "champion", 2)
        changes = next(watch)
        assert (targets(changes), changes.position) == ([2], moved.position)
        assert changes.events[0].before.target.number == 1
        registry.delete_alias(model, "champion")
        (gone,) = next(watch).events
        assert gone.absence == podium.Absence.ABSENCE_GONE
    assert list(watch) == []


def test_an_empty_snapshot_and_what_comes_later(registry, model, tmp_path):
    with registry.watch(f"{model}x@champion") as watch:
        assert next(watch).references == ()
        push(registry, f"{model}x", tmp_path)
        registry.set_alias(f"{model}x", "champion", 1)
        assert numbers(watch, 1) == [1]


def test_kinds_that_are_asked_for(registry, model, tmp_path):
    with registry.watch(model, kinds=[REGISTERED]) as watch:
        assert next(watch).references == ()
        push(registry, model, tmp_path)
        assert [event.kind for event in next(watch).events] == [REGISTERED]


def test_for_serving_withholds_what_may_not_serve(registry, model):
    registry.set_alias(model, "champion", 1)
    registry.transition(f"{model}:1", "deprecated")
    with registry.watch(f"{model}@champion", for_serving=True) as watch:
        (reference,) = next(watch).references
        assert reference.absence == podium.Absence.ABSENCE_UNSERVABLE
        assert not reference.HasField("target")


def test_a_watch_begins_where_another_ended(registry, model):
    with registry.watch(f"{model}@champion") as watch:
        position = next(watch).position
    registry.set_alias(model, "champion", 2)
    with registry.watch(f"{model}@champion", since=position) as watch:
        assert watch.position == position
        assert targets(next(watch)) == [2]


def test_the_position_moves_while_nothing_happens(registry, model, server):
    """Heartbeats say it, and are nothing that a reader sees."""
    with registry.watch(f"{model}@champion") as watch:
        before = next(watch).position
        elsewhere = registry.set_alias(model, "other", 1).position
        reader = threading.Thread(target=next, args=(watch, None))
        reader.start()
        with Watching(server.stub, {"model": "nothing"}) as clock:
            while watch.position == before:
                clock.any_step()
        assert watch.position == elsewhere
        watch.close()
        reader.join(SECONDS)


def test_a_snapshot_shows_a_position_that_it_must_show(registry, model):
    moved = registry.set_alias(model, "champion", 3)
    with registry.watch(f"{model}@champion", at_least=moved.position) as watch:
        assert targets(next(watch)) == {"champion": 3}


def test_a_position_that_is_none_is_raised(registry, model):
    with registry.watch(model, since="nonsense") as watch, pytest.raises(podium.InvalidArgument):
        next(watch)


def test_a_position_of_another_history_is_a_restored_snapshot(registry, model):
    registry.set_alias(model, "champion", 1)
    with registry.watch(f"{model}@champion", since="00000000000000010000000000000000") as watch:
        snapshot = next(watch)
        assert (targets(snapshot), snapshot.restored) == ({"champion": 1}, True)
        registry.set_alias(model, "champion", 2)
        assert targets(next(watch)) == [2]


# Its end.


@pytest.mark.parametrize("how", ["watch", "registry"])
def test_closing_ends_a_reader_that_waits(server, model, how):
    registry = podium.connect(server.address)
    watch, read = registry.watch(model), []
    waiting = threading.Event()

    def iterate():
        for step in watch:
            read.append(step)
            waiting.set()

    reader = threading.Thread(target=iterate)
    reader.start()
    assert waiting.wait(SECONDS)
    (watch if how == "watch" else registry).close()
    reader.join(SECONDS)
    assert not reader.is_alive()
    assert len(read) == 1
    watch.close()
    registry.close()
    assert registry.resolve(f"{model}:1").number == 1
    registry.close()


def test_a_watch_that_was_closed_asks_for_nothing(registry, model):
    watch = registry.watch(model)
    watch.close()
    assert list(watch) == []


def test_a_server_of_another_kind():
    other = grpc.server(None, options=[("grpc.so_reuseport", 0)])
    port = other.add_insecure_port("127.0.0.1:0")
    other.start()
    with podium.connect(f"127.0.0.1:{port}") as registry, pytest.raises(podium.InternalError, match="no Podium server"):
        next(registry.watch())
    other.stop(None)


# What happens to connection and server.


def cut_while_reading(relay, break_it):
    """Three changes: one before the fault, two while there may be no connection."""
    told = []
    with podium.connect(relay.address) as registry, registry.watch("m@champion", on_connection=told.append) as watch:
        assert targets(next(watch)) == {"champion": 1}
        set_alias(relay.address, 2)
        assert numbers(watch, 1) == [2]
        break_it()
        assert numbers(watch, 2) == [3, 1]
    return told


@pytest.mark.parametrize("fault", ["cut", "stall", "half_close"])
def test_nothing_is_lost_where_the_connection_breaks(own, fault):
    server, relay = own
    set_alias(server.address, 1)

    def break_it():
        getattr(relay, fault)()
        set_alias(server.address, 3, 1)

    told = cut_while_reading(relay, break_it)
    assert told[0] is True
    assert False in told


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_lost_where_the_server_ends_and_starts(own, number):
    server, relay = own
    set_alias(server.address, 1)

    def break_it():
        set_alias(server.address, 3)
        server.end(number)
        start_again(server, relay)
        set_alias(server.address, 1)

    cut_while_reading(relay, break_it)


def test_a_server_that_stands_still_is_left_and_found_again(own):
    server, relay = own
    set_alias(server.address, 1)
    told, lost = [], threading.Event()

    def tell(connected):
        told.append(connected)
        if not connected:
            lost.set()

    with podium.connect(relay.address) as registry, registry.watch("m@champion", on_connection=tell) as watch:
        next(watch)
        server.process.send_signal(signal.SIGSTOP)

        def go_on():
            assert lost.wait(SECONDS)
            server.process.send_signal(signal.SIGCONT)
            set_alias(server.address, 2)

        helper = threading.Thread(target=go_on)
        helper.start()
        assert numbers(watch, 1) == [2]
        helper.join()
        set_alias(server.address, 1)
        assert numbers(watch, 1) == [1]
        assert watch.error is None, "what was missed has been read"
    assert told[:2] == [True, False]
    assert told[-1] is True


def test_a_connection_that_is_silent_is_not_used_again(own):
    """It may be dead without gRPC's knowing, which asks no sooner than after half a minute."""
    server, relay = own
    set_alias(server.address, 1)
    lost = []
    with podium.connect(relay.address) as registry:

        def tell(connected):
            if not connected:
                lost.append((registry._transport._connection, str(watch.error)))

        with registry.watch("m@champion", on_connection=tell) as watch:
            next(watch)
            assert registry._transport._connection is not None
            relay.stall()
            set_alias(server.address, 2)
            assert numbers(watch, 1) == [2]
    assert lost == [(None, f"the server at {relay.address} said nothing for 0.9 s")]


def test_a_call_that_grpc_never_ends_is_left_behind(own, monkeypatch):
    """grpcio was seen to lose the end of a call: what was asked of it never comes, whether it is cancelled or not."""
    server, relay = own
    set_alias(server.address, 1)
    ended, callbacks, cancelled = threading.Event(), [], threading.Event()

    class Lost:
        def add_callback(self, callback):
            callbacks.append(callback)
            return True

        def cancel(self):
            cancelled.set()

        def __next__(self):
            ended.wait()
            raise StopIteration

    with podium.connect(relay.address, timeout=0.5) as registry:
        connection = registry._transport._connect()
        monkeypatch.setattr(connection.stub, "Watch", lambda *_, **__: Lost())
        with registry.watch("m@champion") as watch:
            assert next(watch).references[0].target.number == 1
            assert cancelled.is_set()
            assert registry._transport._connect() is not connection
    ended.set()
    for callback in callbacks:  # as gRPC would have
        callback()


def test_a_slow_reader_is_not_a_dead_stream(server, relay, watcher, registry, model):
    registry.set_alias(model, "champion", 1)
    with watcher.watch(f"{model}@champion") as watch:
        next(watch)
        before = relay.connections
        with Watching(server.stub, {"model": "nothing"}) as clock:
            for _ in range(6):  # intervals
                clock.any_step()
        registry.set_alias(model, "champion", 2)
        assert numbers(watch, 1) == [2]
    assert relay.connections == before


def test_history_that_was_cut_is_a_restored_snapshot(own, tmp_path):
    server, relay = own
    set_alias(server.address, 1)
    server.stop()
    copy_data(server, tmp_path / "copy")
    start_again(server, relay)
    with podium.connect(relay.address) as registry, registry.watch("m@champion") as watch:
        assert not next(watch).restored
        set_alias(server.address, 2, 3)
        assert numbers(watch, 2) == [2, 3]
        server.stop()
        replace_data(server, tmp_path / "copy")
        start_again(server, relay)
        snapshot = next(watch)
        assert (targets(snapshot), snapshot.restored) == ({"champion": 1}, True)
        set_alias(server.address, 3)
        assert numbers(watch, 1) == [3]


# Forks.


def test_a_fork_among_watches(registry, model, caplog):
    """One waits for its next step, one's reader is busy with the last: neither hangs the child, and both go on."""
    busy, waiting, steps = registry.watch(f"{model}@busy"), registry.watch(f"{model}@waiting"), []
    next(busy)
    next(waiting)
    reader = threading.Thread(target=lambda: steps.append(next(waiting)))
    reader.start()

    def work():
        registry.set_alias(model, "busy", 1)
        assert numbers(busy, 1) == [1]
        busy.close()

    assert in_child(work)
    assert numbers(busy, 1) == [1]
    registry.set_alias(model, "waiting", 2)
    reader.join(SECONDS)
    assert targets(steps[0]) == [2]
    assert not caplog.records  # such as one that says that a fork did not wait
    busy.close()
    waiting.close()


# Rules that no real server shows at will.


class Script:
    """A transport whose watches say what a test wrote down: messages, and errors that end a stream."""

    timeout = SECONDS

    def __init__(self, *streams):
        self.streams = list(streams)
        self.requests = []
        self.seen = Seen()

    def watch(self, request, crew, guard):
        self.requests.append(request)
        self.guard = guard
        for item in self.streams.pop(0):
            if isinstance(item, Exception):
                raise item
            yield WatchResponse(**item)

    def steps(self, count, **values):
        watch = Watch(self, [], **values)
        return [next(watch) for _ in range(count)]


def ended(code, reason=""):
    return podium.PodiumError("ended", code=code, reason=reason)


HELLO = {"heartbeat_interval": Duration(seconds=2)}
REFERENCE = {"name": "champion"}
EVENT = {"name": "champion"}
AWAY = ended(grpc.StatusCode.UNAVAILABLE)


@pytest.fixture(autouse=True)
def _brief_pauses(monkeypatch):
    monkeypatch.setattr("podium.watching.FIRST_PAUSE", 0.001)


def test_parts_are_one_step_when_a_position_comes():
    script = Script(
        [
            HELLO,
            {"snapshot": True, "references": [REFERENCE]},
            {"snapshot": True, "references": [REFERENCE, REFERENCE], "position": "1"},
            {"events": [EVENT]},
            {"events": [EVENT], "position": "2"},
            {"position": "3"},
            {"events": [EVENT], "position": "4"},
        ]
    )
    snapshot, first, second = script.steps(3)
    assert (len(snapshot.references), snapshot.position) == (3, "1")
    assert (len(first.events), first.position) == (2, "2")
    assert (len(second.events), second.position) == (1, "4")
    assert script.guard.seconds == 6


def test_what_a_stream_said_in_part_comes_again():
    script = Script(
        [HELLO, {"snapshot": True, "references": [REFERENCE]}, AWAY],
        [HELLO, {"snapshot": True, "references": [REFERENCE], "position": "1"}, {"events": [EVENT]}, AWAY],
        [HELLO, {"events": [EVENT], "position": "2"}],
    )
    snapshot, changes = script.steps(2)
    assert (len(snapshot.references), len(changes.events)) == (1, 1)
    assert [request.position for request in script.requests] == ["", "", "1"]


@pytest.mark.parametrize(
    "code", ["UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "RESOURCE_EXHAUSTED", "INTERNAL", "UNKNOWN", "OK"]
)
def test_streams_that_end_are_opened_again(code):
    end = [] if code == "OK" else [ended(grpc.StatusCode[code])]
    script = Script(end, [{"position": "2"}, *end], [{"events": [EVENT], "position": "3"}])
    assert [step.position for step in script.steps(1, since="1")] == ["3"]
    assert [request.position for request in script.requests] == ["1", "1", "2"]


@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "UNIMPLEMENTED", "NOT_FOUND", "PERMISSION_DENIED", "UNAUTHENTICATED"])
def test_what_would_come_back_is_raised(code):
    with pytest.raises(podium.PodiumError) as raised:
        Script([ended(grpc.StatusCode[code])]).steps(1)
    assert raised.value.code is grpc.StatusCode[code]


def test_a_snapshot_instead_of_changes_does_not_go_back():
    """The server may end any watch so; a replica that lags behind must not answer then."""
    script = Script(
        [{"snapshot": True, "position": "1"}, {"position": "2"}, ended(grpc.StatusCode.OUT_OF_RANGE, "SNAPSHOT_REQUIRED")],
        [AWAY],
        [{"snapshot": True, "position": "3"}],
    )
    assert [(step.position, step.restored) for step in script.steps(2)] == [("1", False), ("3", False)]
    assert [(request.position, request.at_least) for request in script.requests] == [("", ""), ("", "2"), ("", "2")]


def test_history_that_was_cut_before_the_snapshot_is_told_with_it():
    cut = ended(grpc.StatusCode.OUT_OF_RANGE, "POSITION_UNKNOWN")
    script = Script(
        [ended(grpc.StatusCode.OUT_OF_RANGE, "SNAPSHOT_REQUIRED")],
        [cut],
        [AWAY],
        [{"snapshot": True, "position": "3"}, {"snapshot": True, "position": "4"}],
    )
    assert [(step.position, step.restored) for step in script.steps(2, since="2")] == [("3", True), ("4", False)]
    assert [(request.position, request.at_least) for request in script.requests] == [("2", ""), ("", "2"), ("", ""), ("", "")]


def test_pauses_grow_until_a_message_comes(monkeypatch):
    monkeypatch.setattr("podium.watching.FIRST_PAUSE", 0.1)
    limits, paused = [], []
    monkeypatch.setattr("podium.backoff.random", SimpleNamespace(uniform=lambda _, limit: limits.append(limit) or 0))
    monkeypatch.setattr("podium.transfers.Crew.pause", lambda _, seconds: paused.append(seconds))
    Script(*[[AWAY]] * 7, [HELLO, AWAY], [AWAY], [{"snapshot": True, "position": "1"}]).steps(1)
    assert limits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.0, 3.0, 0.1, 0.2]
    assert len(paused) == len(limits)


def test_the_connection_is_told_when_its_reader_has_what_it_missed():
    told = []
    missed, later = {"events": [EVENT], "position": "2"}, {"events": [EVENT], "position": "3"}
    script = Script([HELLO, {"snapshot": True, "position": "1"}, AWAY], [HELLO, missed, later])
    watch = Watch(script, [], on_connection=told.append)
    next(watch)
    assert told == []
    next(watch)
    assert told == [True, False]
    next(watch)
    assert told == [True, False, True]
