"""Watch: what is promised of it, one test each, and what else a client relies on."""

import asyncio
import itertools
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing

import grpc
import pytest
from conftest import Refusal
from following import copy_data, replace_data
from podium.v1.aliases_pb2 import DeleteAliasRequest, SetAliasRequest
from podium.v1.events_pb2 import (
    ABSENCE_GONE,
    ABSENCE_UNSERVABLE,
    EVENT_KIND_ALIAS,
    EVENT_KIND_LATEST,
    EVENT_KIND_MODEL_CREATED,
    EVENT_KIND_MODEL_UPDATED,
    EVENT_KIND_STAGE,
    EVENT_KIND_VERSION_REGISTERED,
    EVENT_KIND_VERSION_TRANSITIONED,
    ListEventsRequest,
)
from podium.v1.models_pb2 import UpdateModelRequest
from podium.v1.stages_pb2 import TransitionStageRequest
from podium.v1.watch_pb2 import WatchFilter, WatchRequest, WatchResponse
from podium_server.database import open_database
from podium_server.dependencies import Dependency
from podium_server.feed import Feed
from podium_server.view import View, load
from podium_server.watch import Watch
from replay import read_events
from story import create_model, register, resolve
from watching import Watching, targets, text


def set_alias(stub, model, alias, number):
    return stub.SetAlias(SetAliasRequest(reference=f"{model}:{number}", alias=alias))


def delete_alias(stub, model, alias):
    return stub.DeleteAlias(DeleteAliasRequest(model=model, alias=alias))


def move(stub, model, number, stage):
    return stub.TransitionStage(TransitionStageRequest(reference=f"{model}:{number}", stage=stage))


def seed(stub, model, versions=2):
    """A model with versions and the alias champion on the first."""
    create_model(stub, model, lifecycle="permissive")
    for _ in range(versions):
        register(stub, model)
    return set_alias(stub, model, "champion", 1).position


def log(stub, after):
    """All events after a position, from the log."""
    return read_events(stub, after)


async def parsed(messages):
    """The messages of the server's own Watch, which are bytes."""
    async with aclosing(messages):
        async for message in messages:
            yield WatchResponse.FromString(message)


class TestPromises:
    def test_filtered_by_model_name_and_kind(self, stub):
        seed(stub, "filtered")
        seed(stub, "filtered-not")
        with Watching(stub, {"model": "filtered", "name": "champion"}) as watch:
            assert targets(watch.snapshot()) == {"filtered@champion": 1}
            set_alias(stub, "filtered", "other", 2)
            set_alias(stub, "filtered-not", "champion", 2)
            move(stub, "filtered", 1, "staging")  # of the events of this revision, one is about champion's target
            set_alias(stub, "filtered", "champion", 2)
            first, second = watch.events(2)
            assert [text(first), text(second)] == ["filtered@champion"] * 2
            assert (first.after.target.stage, second.after.target.number) == ("staging", 2)

    def test_bookmarkable_while_nothing_happens_that_it_chose(self, start_server):
        server = start_server("--heartbeat", "0.05")
        seed(server.stub, "quiet")
        with Watching(server.stub, {"model": "quiet"}) as watch:
            watch.snapshot()
            create_model(server.stub, "loud")
            head = register(server.stub, "loud").position
            assert watch.reach(head) == []
        with Watching(server.stub, {"model": "**"}, position=head) as watch:
            set_alias(server.stub, "quiet", "champion", 2)
            assert [text(event) for event in watch.events(1)] == ["quiet@champion"]

    def test_ordered_unique_and_reliable(self, stub):
        seed(stub, "ordered")
        with Watching(stub, {"model": "ordered", "kinds": [EVENT_KIND_ALIAS]}) as watch:
            watch.snapshot()
            start = watch.position
            for round_ in range(100):
                set_alias(stub, "ordered", "champion", 2 - round_ % 2)
            seen = watch.events(100)
        places = [(event.revision, event.ordinal) for event in seen]
        assert places == sorted(set(places))
        assert seen == log(stub, start)

    def test_reliable_when_many_are_committed_at_once(self, stub):
        seed(stub, "at-once")
        with Watching(stub, {"model": "at-once", "kinds": [EVENT_KIND_ALIAS]}) as watch, ThreadPoolExecutor(16) as clients:
            watch.snapshot()
            start = watch.position
            for round_ in range(5):
                list(clients.map(lambda alias: set_alias(stub, "at-once", f"{round_}-{alias}", 1), range(100)))  # noqa: B023
            assert watch.events(500) == log(stub, start)

    def test_atomic_a_revision_comes_with_one_position(self, stub):
        seed(stub, "atomic", versions=1)
        for alias in range(300):  # more than one message holds
            set_alias(stub, "atomic", f"alias-with-a-rather-long-name-{alias}", 1)
        with Watching(stub, {"model": "atomic"}) as watch:
            watch.snapshot()
            start = watch.position
            reply = move(stub, "atomic", 1, "production")
            step = watch.step()
        assert step.position == reply.position
        assert step.events == [event for event in log(stub, start) if event.kind in (EVENT_KIND_ALIAS, EVENT_KIND_STAGE)]
        assert len(step.events) > 300

    def test_resumable_after_the_stream_and_the_server_ended(self, start_server):
        server = start_server()
        seed(server.stub, "resumed")
        with Watching(server.stub, {"model": "resumed"}) as watch:
            watch.snapshot()
            set_alias(server.stub, "resumed", "champion", 2)
            seen = watch.events(1)
            position = watch.position
        set_alias(server.stub, "resumed", "champion", 1)
        server.kill()
        server.start()
        set_alias(server.stub, "resumed", "champion", 2)
        with Watching(server.stub, {"model": "resumed"}, position=position) as watch:
            seen += watch.events(2)
            set_alias(server.stub, "resumed", "champion", 1)
            seen += watch.events(1)
        assert [event.after.target.number for event in seen] == [2, 1, 2, 1]

    def test_who_resumes_is_told_at_once_that_it_has_everything(self, start_server):
        server = start_server("--heartbeat", "3600")
        head = seed(server.stub, "up-to-date")
        with Watching(server.stub, {"model": "up-to-date"}, position=head) as watch:
            assert watch.heartbeat() == head

    def test_previous_value(self, stub):
        seed(stub, "previous")
        with Watching(stub, {"model": "previous"}) as watch:
            known = watch.snapshot()["previous@champion"].target
            set_alias(stub, "previous", "champion", 2)
            move(stub, "previous", 2, "staging")
            delete_alias(stub, "previous", "champion")
            set_alias(stub, "previous", "champion", 1)
            changes = [event for event in watch.events(6) if event.name == "champion"]
        assert changes[0].before.target == known
        for earlier, later in itertools.pairwise(changes):
            assert earlier.after == later.before
        gone, again = changes[2:]
        assert not gone.HasField("after") and gone.absence == ABSENCE_GONE
        assert not again.HasField("before") and again.after.target.number == 1

    def test_snapshot_fits_the_changes_that_follow(self, stub):
        """While the alias moves all the time: what a snapshot shows is what the first change after it says was there before."""
        seed(stub, "fits")
        closing = threading.Event()

        def move_on():
            while not closing.is_set():
                for number in (2, 1):
                    set_alias(stub, "fits", "champion", number)

        mover = threading.Thread(target=move_on)
        mover.start()
        try:
            for _ in range(50):
                with Watching(stub, {"model": "fits", "name": "champion"}) as watch:
                    shown = watch.snapshot()["fits@champion"].target
                    assert watch.step().events[0].before.target == shown
        finally:
            closing.set()
            mover.join()


class TestSnapshots:
    def test_shows_what_resolve_shows(self, stub):
        seed(stub, "shows/a")
        seed(stub, "shows/b")
        move(stub, "shows/a", 2, "production")
        with Watching(stub, {"model": "shows/*"}) as watch:
            references = watch.snapshot()
        assert set(references) == {"shows/a@champion", "shows/b@champion", "shows/a#production"} | {
            name for name in references if name.endswith("#development")
        }
        for name, reference in references.items():
            assert reference.target == resolve(stub, name)
            assert reference.model_uid == reference.target.model_uid

    def test_one_that_spans_messages(self, stub):
        create_model(stub, "many")
        register(stub, "many")
        for alias in range(500):
            set_alias(stub, "many", f"alias-with-a-rather-long-name-{alias}", 1)
        messages = []
        call = stub.Watch(WatchRequest(filters=[WatchFilter(model="many", kinds=[EVENT_KIND_ALIAS])]))
        for message in call:
            messages.append(message)
            if message.position:
                break
        call.cancel()
        assert len(messages) > 2
        assert [message.snapshot for message in messages] == [False] + [True] * (len(messages) - 1)
        assert sum(len(message.references) for message in messages) == 500

    def test_latest_comes_where_it_is_asked_for(self, stub):
        seed(stub, "newest")
        with Watching(stub, {"model": "newest", "kinds": [EVENT_KIND_LATEST]}) as watch:
            assert targets(watch.snapshot()) == {"newest@latest": 2}
            register(stub, "newest")
            assert [event.after.target.number for event in watch.events(1)] == [3]

    @pytest.mark.parametrize("model", ["nothing-has-this-name", "nothing/*/**", "", "**", "*"])
    def test_globs_of_nothing_and_everything(self, stub, model):
        if not stub.ListEvents(ListEventsRequest(page_size=1)).events:
            seed(stub, "everything")
        with Watching(stub, {"model": model}) as watch:
            found = watch.snapshot()
            assert bool(found) == ("nothing" not in model)
            assert watch.position

    def test_at_least(self, stub, refused):
        position = seed(stub, "at-least")
        with Watching(stub, {"model": "at-least"}, at_least=position) as watch:
            assert targets(watch.snapshot())["at-least@champion"] == 1
        foreign = "00000000000000010000000000000000"
        refusal = refused(stub.Watch, WatchRequest(at_least=foreign))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.OUT_OF_RANGE, "POSITION_UNKNOWN")

    def test_of_a_model_that_comes_later(self, stub):
        with Watching(stub, {"model": "comes-later"}, {"model": "comes-l*", "kinds": [EVENT_KIND_MODEL_CREATED]}) as watch:
            assert watch.snapshot() == {}
            seed(stub, "comes-later")
            events = watch.events(4)
        assert [event.kind for event in events] == [
            EVENT_KIND_MODEL_CREATED,
            EVENT_KIND_STAGE,
            EVENT_KIND_STAGE,
            EVENT_KIND_ALIAS,
        ]


class TestForServing:
    def test_what_may_not_serve_is_withheld(self, stub):
        seed(stub, "serving")
        move(stub, "serving", 1, "production")
        with (
            Watching(stub, {"model": "serving", "name": "champion"}, for_serving=True) as careful,
            Watching(stub, {"model": "serving", "name": "champion"}) as curious,
        ):
            assert targets(careful.snapshot()) == targets(curious.snapshot()) == {"serving@champion": 1}
            move(stub, "serving", 1, "deprecated")
            (withheld,), (told,) = careful.events(1), curious.events(1)
            assert withheld.before.target.number == 1
            assert not withheld.HasField("after")
            assert withheld.absence == ABSENCE_UNSERVABLE
            assert list(withheld.warnings) == list(told.after.target.warnings) != []
            assert told.after.target.number == 1 and not told.after.target.servable and not told.absence
            set_alias(stub, "serving", "champion", 2)
            (anew,), (moved,) = careful.events(1), curious.events(1)
            assert not anew.HasField("before") and anew.after.target.number == 2
            assert moved.before.target.number == 1
        set_alias(stub, "serving", "champion", 1)
        with Watching(stub, {"model": "serving", "name": "champion"}, for_serving=True) as careful:
            (reference,) = careful.snapshot().values()
            assert reference.absence == ABSENCE_UNSERVABLE and reference.warnings and not reference.HasField("target")

    def test_gone_while_withheld(self, stub):
        seed(stub, "serving-gone")
        move(stub, "serving-gone", 1, "production")
        move(stub, "serving-gone", 1, "deprecated")
        with Watching(stub, {"model": "serving-gone", "name": "champion"}, for_serving=True) as watch:
            watch.snapshot()
            delete_alias(stub, "serving-gone", "champion")
            (event,) = watch.events(1)
        assert event.absence == ABSENCE_GONE and not event.HasField("before") and not event.HasField("after")

    def test_other_kinds_are_told_whole(self, stub):
        create_model(stub, "serving-others", lifecycle="permissive")
        kinds = [EVENT_KIND_VERSION_REGISTERED, EVENT_KIND_VERSION_TRANSITIONED]
        with Watching(stub, {"model": "serving-others", "kinds": kinds}, for_serving=True) as watch:
            watch.snapshot()
            start = watch.position
            register(stub, "serving-others")
            move(stub, "serving-others", 1, "production")
            events = watch.events(2)
        assert events == [event for event in log(stub, start) if event.kind in kinds]


class TestOtherKinds:
    def test_metadata_and_registrations(self, stub):
        seed(stub, "kinds")
        kinds = [EVENT_KIND_VERSION_REGISTERED, EVENT_KIND_MODEL_UPDATED]
        with Watching(stub, {"model": "kinds", "kinds": kinds}) as watch:
            assert watch.snapshot() == {}
            register(stub, "kinds")
            stub.UpdateModel(UpdateModelRequest(model={"name": "kinds"}, set_labels={"team": "risk"}))
            registered, updated = watch.events(2)
        assert registered.after.version.number == 3
        assert dict(updated.after.model.labels) == {"team": "risk"}

    def test_one_version_by_name(self, stub):
        create_model(stub, "by-version")
        for version in ("1.0.0", "2.0.0"):
            register(stub, "by-version", version=version)
        filters = {"model": "by-version", "name": "2.0.0", "kinds": [EVENT_KIND_VERSION_TRANSITIONED]}
        with Watching(stub, filters) as watch:
            watch.snapshot()
            move(stub, "by-version", 1, "staging")
            move(stub, "by-version", 2, "staging")
            (event,) = watch.events(1)
        assert event.name == "2.0.0"

    def test_filters_are_a_union_and_nothing_comes_twice(self, stub):
        seed(stub, "union")
        filters = [{"model": "union"}, {"model": "un*", "name": "champion"}, {"model": "**"}, {"model": "union"}]
        with Watching(stub, *filters) as watch:
            watch.snapshot()
            set_alias(stub, "union", "champion", 2)
            set_alias(stub, "union", "champion", 1)
            assert [event.after.target.number for event in watch.events(2)] == [2, 1]


class TestLateAndSlow:
    def test_older_than_what_is_in_memory(self, start_server):
        server = start_server()
        position = seed(server.stub, "late")
        for round_ in range(600):  # more than one piece of the log
            set_alias(server.stub, "late", "champion", 2 - round_ % 2)
        server.kill()
        server.start()
        with Watching(server.stub, {"model": "late"}, position=position) as watch:
            numbers = [event.after.target.number for event in watch.events(600)]
            assert numbers == [2 - round_ % 2 for round_ in range(600)]
            set_alias(server.stub, "late", "champion", 2)
            assert watch.events(1)[0].after.target.number == 2

    def test_revisions_of_many_events_are_read_whole(self, start_server):
        server = start_server()
        seed(server.stub, "wide", versions=1)
        for alias in range(100):
            set_alias(server.stub, "wide", f"alias-{alias}", 1)
        start = set_alias(server.stub, "wide", "last", 1).position
        for stage in ("staging", "production", "staging", "production"):  # none of them ends where a piece of the log ends
            move(server.stub, "wide", 1, stage)
        for alias in range(300):
            set_alias(server.stub, "wide", f"more-{alias}", 1)
        move(server.stub, "wide", 1, "staging")  # more than a piece by itself
        server.stop()
        server.start()
        expected = [event for event in log(server.stub, start) if event.kind in (EVENT_KIND_ALIAS, EVENT_KIND_STAGE)]
        with Watching(server.stub, {"model": "wide"}, position=start) as watch:
            assert watch.events(len(expected)) == expected

    def test_the_log_may_be_ahead_of_what_a_server_shows(self, start_server):
        """Another server has committed more than this one shows: a late watch that reads the log waits until it does."""
        server = start_server()
        start = seed(server.stub, "ahead")
        for round_ in range(140):  # more than a server that starts has in memory
            set_alias(server.stub, "ahead", "champion", 2 - round_ % 2)

        async def watch():
            async def read(question):
                return await asyncio.get_running_loop().run_in_executor(pool, lambda: database.read(lambda: question(database)))

            feed = Feed()
            view = View(database.read(lambda: load(database)), feed, read)
            set_alias(server.stub, "ahead", "champion", 2)
            request = WatchRequest(filters=[WatchFilter(model="ahead")], position=start)
            revisions = []
            async for message in parsed(Watch(view, feed, 0.05, pool, read, Dependency("database")).Watch(request, None)):
                revisions += [event.revision for event in message.events]
                # A heartbeat that is further than the start: there is no more to say.
                if message.position not in {"", start} and not message.events:
                    break
            return revisions, view.position.revision

        database = open_database(server.database.url)
        with ThreadPoolExecutor(2) as pool:
            revisions, shown = asyncio.run(watch())
        assert revisions == [event.revision for event in log(server.stub, start)][:-1]
        assert revisions[-1] == shown

    def test_positions_move_while_the_log_is_searched_in_vain(self, start_server):
        server = start_server("--heartbeat", "0.05")
        position = seed(server.stub, "vain")
        for round_ in range(600):
            set_alias(server.stub, "vain", "champion", 2 - round_ % 2)
        server.stop()
        server.start()
        with Watching(server.stub, {"model": "of-nothing"}, position=position) as watch:
            head = set_alias(server.stub, "vain", "other", 1).position
            assert watch.reach(head) == []

    def test_one_that_does_not_read(self, server, stub):
        """The stream's window is full long before all was said; then everything comes, in order."""
        seed(stub, "slow")
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.http2.lookahead_bytes", 65536), ("grpc.http2.bdp_probe", 0)]
        with grpc.insecure_channel(server.address, options=options) as channel:
            call = type(stub)(channel).Watch(WatchRequest(filters=[WatchFilter(model="slow", name="champion")]))
            next(call)
            for round_ in range(2000):
                set_alias(stub, "slow", "champion", 2 - round_ % 2)
            numbers = []
            for message in call:
                numbers += [event.after.target.number for event in message.events]
                if len(numbers) == 2000:
                    break
            call.cancel()
        assert numbers == [2 - round_ % 2 for round_ in range(2000)]


class TestEnds:
    def test_a_stopping_server_says_so(self, start_server):
        server = start_server()
        with Watching(server.stub) as watch:
            watch.snapshot()
            server.process.send_signal(signal.SIGTERM)
            refusal = Refusal(watch.end())
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "STOPPING")
        server.stop()
        assert server.process.returncode == 0

    def test_heartbeat_interval_is_told_and_kept(self, start_server):
        server = start_server("--heartbeat", "0.05")
        with Watching(server.stub) as watch:
            watch.snapshot()
            assert watch.heartbeat() == watch.heartbeat() == watch.position
            assert watch.interval == 0.05

    def test_history_that_was_cut_under_a_stream(self, start_server, tmp_path):
        server = start_server()
        kept = seed(server.stub, "cut")
        server.database.back_up(tmp_path / "older")
        with Watching(server.stub) as watch:
            watch.snapshot()
            lost = set_alias(server.stub, "cut", "champion", 2).position
            watch.events(1)
            server.database.restore(tmp_path / "older")
            refusal = Refusal(watch.end())
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.OUT_OF_RANGE, "POSITION_UNKNOWN")
        with Watching(server.stub, position=lost) as watch:
            assert Refusal(watch.end()).reason == "POSITION_UNKNOWN"
        with Watching(server.stub, position=kept) as watch:
            set_alias(server.stub, "cut", "champion", 2)
            assert watch.events(1)[0].before.target.number == 1

    def test_history_that_was_cut_while_the_server_was_away(self, start_server, tmp_path):
        server = start_server()
        seed(server.stub, "cut")
        server.stop()
        copy_data(server, tmp_path / "copy")
        server.start()
        lost = set_alias(server.stub, "cut", "champion", 2).position
        server.stop()
        replace_data(server, tmp_path / "copy")
        server.start()
        for name in ("another", "history"):
            seed(server.stub, name)
        with Watching(server.stub, position=lost) as watch:
            assert Refusal(watch.end()).reason == "POSITION_UNKNOWN"
        with Watching(server.stub, {"model": "cut"}) as watch:
            assert targets(watch.snapshot())["cut@champion"] == 1


class TestBadInput:
    @pytest.mark.parametrize(
        "position",
        [
            "x",
            "0000",
            "0" * 15 + "1" + "0" * 15,
            "f" * 32,
            " 0000000000000001" + "0" * 16,
            "0000000000000001" + "A" * 16,
            "0" * 100_000,
        ],
        ids=["letter", "short", "truncated", "negative", "space", "capitals", "long"],
    )
    def test_a_malformed_position(self, stub, refused, position):
        refusal = refused(stub.Watch, WatchRequest(position=position))
        assert (refusal.code, refusal.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["position"])

    def test_a_position_of_another_registry_of_the_future_or_forged(self, start_server, tmp_path, stub, refused):
        other = start_server()
        for name in ("a", "b", "c"):
            position = seed(other.stub, name)
        ours = seed(stub, "forged")
        forged = [position, ours[:-1] + ("1" if ours[-1] == "0" else "0"), "00001" + ours[5:]]
        for one in forged:
            refusal = refused(stub.Watch, WatchRequest(position=one))
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.OUT_OF_RANGE, "POSITION_UNKNOWN")

    @pytest.mark.parametrize("model", ["a b", "é", "a@b", "[ab]", "a?", "/a", "a//b", "*" * 257, "a\x00"])
    def test_what_is_no_glob_and_no_name(self, stub, refused, model):
        refusal = refused(stub.Watch, WatchRequest(filters=[WatchFilter(model="fine"), WatchFilter(model=model)]))
        assert (refusal.code, refusal.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["filters[1].model"])

    def test_ten_thousand_filters(self, stub, refused):
        refusal = refused(stub.Watch, WatchRequest(filters=[WatchFilter(model=f"m{place}") for place in range(10_000)]))
        assert (refusal.code, refusal.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["filters"])
        assert "1000" in refusal.message

    def test_a_thousand_filters(self, stub):
        seed(stub, "thousandth")
        filters = [WatchFilter(model=f"m{place}*") for place in range(999)]
        with Watching(stub, *filters, WatchFilter(model="thousandth")) as watch:
            assert "thousandth@champion" in watch.snapshot()
            set_alias(stub, "thousandth", "champion", 2)
            watch.events(1)

    @pytest.mark.parametrize("kinds", [[0], [999], [1] * 100])
    def test_no_such_kind(self, stub, refused, kinds):
        refusal = refused(stub.Watch, WatchRequest(filters=[WatchFilter(kinds=kinds)]))
        assert (refusal.code, refusal.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["filters[0].kinds"])

    @pytest.mark.parametrize("name", ["a\nb", "x" * 400])
    def test_a_name_that_nothing_has(self, stub, refused, name):
        refusal = refused(stub.Watch, WatchRequest(filters=[WatchFilter(name=name)]))
        assert (refusal.code, refusal.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["filters[0].name"])
