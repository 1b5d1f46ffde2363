"""Following: what a reference means is in memory with its verified files, whoever reads it, for as long as anybody uses it."""

import asyncio
import dis
import logging
import os
import subprocess
import sys
import threading
import types
from pathlib import Path

import podium
import pytest
from following import HEARTBEAT, SECONDS, FaultyRelay, interrupted, push, reaches, says
from podium import State
from podium.sink import Sink
from relay import Relay
from streams import until
from test_cache import content_of
from watching import Watching

SERVER_OPTIONS = HEARTBEAT
MIB = 1 << 20


@pytest.fixture
def registry(server, tmp_path):
    with podium.connect(server.address, cache=tmp_path / "cache") as connected:
        yield connected


@pytest.fixture
def cache(tmp_path):
    return podium.Cache(tmp_path / "cache")


@pytest.fixture
def follower(registry, model):
    with registry.follow(f"{model}@champion") as following:
        yield following


@pytest.fixture
def calls(monkeypatch):
    """Calls back into a list; `calls.reach(n)` waits for the nth."""

    class Calls(list):
        changed = threading.Condition()

        def __call__(self, current):
            with self.changed:
                self.append(current)
                self.changed.notify_all()

        def reach(self, count):
            with self.changed:
                assert self.changed.wait_for(lambda: len(self) >= count, SECONDS), self

    return Calls()


# What is current.


def test_it_begins_with_what_the_reference_means(registry, model, follower, tmp_path):
    target = registry.resolve(f"{model}@champion")
    current = follower.current
    assert (follower.reference, current.reference) == (f"{model}@champion", f"{model}@champion")
    assert (current.model, current.model_uid, current.number, current.version) == (model, target.model_uid, 1, target.version)
    assert (current.digest, current.record_digest) == (target.digest, target.record_digest)
    assert (current.stage, current.servable, current.warnings) == (target.stage, True, ())
    assert current.path == registry.cache.version_path(target.digest)
    assert says(current) == "1"
    assert (follower.state, follower.problem, follower.warnings) == (State.CONNECTED, None, ())
    with pytest.raises(AttributeError):
        current.number = 2


def test_it_switches_when_the_reference_moves(registry, model, follower):
    for number in (2, 3, 1, 2):
        registry.set_alias(model, "champion", number)
        reaches(follower, number)
        assert says(follower.current) == str(number)


@pytest.mark.parametrize("reference", ["#production", "@latest"])
def test_stages_and_latest_are_followed_too(registry, model, reference, tmp_path):
    registry.transition(f"{model}:2", "production")
    with registry.follow(model + reference) as follower:
        assert follower.current.number == (2 if reference == "#production" else 3)
        push(registry, model, tmp_path)
        registry.transition(f"{model}:4", "production")
        reaches(follower, 4)


def test_current_is_a_plain_attribute(follower):
    """A read of it is the look into a dict that every instance has: no property, no slot's descriptor of ours, no lock."""
    assert vars(follower)["current"] is follower.current
    assert not any("current" in vars(one) or "__getattribute__" in vars(one) for one in type(follower).__mro__[:-1])
    assert not hasattr(type(follower), "__getattr__")
    assert isinstance(type(follower), type)
    read = [step.opname for step in dis.get_instructions(lambda: follower.current)]
    assert [name for name in read if name.startswith(("LOAD_ATTR", "LOAD_METHOD"))] == ["LOAD_ATTR"]
    assert isinstance(follower.state, State)
    assert not isinstance(vars(type(follower)).get("state"), property | types.MemberDescriptorType)


def test_what_changes_about_a_version_is_no_other_version(registry, model, calls):
    with registry.follow(f"{model}@champion", on_change=calls) as follower:
        path, read = follower.current.path, []
        reader = threading.Thread(target=lambda: [read.append((one.number, one.stage)) for one in follower.changes()])
        reader.start()
        until(lambda: read == [(1, "development")])
        registry.transition(f"{model}:1", "archived")
        reaches(follower, lambda one: one.current.stage == "archived")
        assert follower.current.warnings
        assert follower.current.path == path
        assert follower.state is State.CONNECTED
        registry.set_alias(model, "champion", 2)
        calls.reach(1)
        assert [current.number for current in calls] == [2]
        until(lambda: read[-1][0] == 2)
    reader.join(SECONDS)
    assert read == [(1, "development"), (2, "development")]


def test_two_versions_with_the_same_files_are_two(registry, model, tmp_path, calls):
    (tmp_path / "same").write_text("same")
    for name in ("a", "b"):
        registry.push(f"{model}x", tmp_path / "same", labels={"name": name}, params={"name": name})
    registry.set_alias(f"{model}x", "champion", 1)
    with registry.follow(f"{model}x@champion", on_change=calls) as follower:
        path = follower.current.path
        registry.set_alias(f"{model}x", "champion", 2)
        reaches(follower, 2)
        assert follower.current.path == path
        calls.reach(1)
        registry.cache.prune(0)
        assert says_nothing_else(path, "same")


def says_nothing_else(folder, content):
    return [path.read_text() for path in folder.iterdir()] == [content]


def test_nothing_switches_before_all_files_are_verified(server, registry, model, tmp_path):
    """The last bytes of the next version are held back on the wire: until they come, the old one is current and on its path."""
    push(registry, model, tmp_path, content=os.urandom(8 * MIB))
    relay = Relay(server.address)
    stuck, release = threading.Event(), threading.Event()

    def hold():
        stuck.set()
        release.wait(SECONDS)

    with podium.connect(relay.address, cache=tmp_path / "other") as watching, watching.follow(f"{model}@champion") as follower:
        before = follower.current
        relay.when_cut = hold
        relay.cut_after(down=4 * MIB)
        registry.set_alias(model, "champion", 4)
        assert stuck.wait(SECONDS)
        assert follower.current is before
        assert not watching.cache.version_path(registry.resolve(f"{model}:4").digest).exists()
        release.set()
        reaches(follower, 4)
        assert watching.verify(f"{model}:4", follower.current.path) == []
    relay.close()


def test_bytes_that_arrive_wrong_never_become_current(registry, model, follower, monkeypatch):
    """Somebody between client and server changes them: what is current stays, and says why."""
    digest = Sink.hexdigest
    monkeypatch.setattr(Sink, "hexdigest", lambda sink: digest(sink)[::-1])
    registry.set_alias(model, "champion", 2)
    reaches(follower, lambda one: one.problem)
    assert "arrived as" in follower.problem
    assert follower.problem.startswith(f"{model}:2 cannot be had")
    assert (follower.current.number, follower.state) == (1, State.CONNECTED)
    monkeypatch.undo()
    reaches(follower, 2)
    assert follower.problem is None


def test_heartbeats_are_read_while_a_pull_runs(server, registry, model, tmp_path, monkeypatch):
    """The disk stands still, and with it the download: the watch on the same connection goes on."""
    push(registry, model, tmp_path, content=os.urandom(64 * MIB))
    stuck, release, write = threading.Event(), threading.Event(), Sink.write

    def hold(sink, chunk):
        stuck.set()
        assert release.wait(SECONDS)
        write(sink, chunk)

    relay = FaultyRelay(server.address)
    with podium.connect(relay.address, cache=tmp_path / "other") as watching, watching.follow(f"{model}@champion") as follower:
        monkeypatch.setattr(Sink, "write", hold)
        registry.set_alias(model, "champion", 4)
        assert stuck.wait(SECONDS)
        with Watching(server.stub, {"model": "nothing"}) as clock:
            for number in (1, 2) * 4:  # a stream that says nothing for three intervals is given up
                position = registry.set_alias(model, "other", number).position
                while follower._reader.watch.position != position:
                    clock.any_step()
        assert (follower.current.number, follower.state) == (1, State.CONNECTED)
        release.set()
        reaches(follower, 4)
        assert relay.connections == 1
    relay.close()


def test_a_pull_that_nobody_wants_any_more_is_ended(server, registry, model, tmp_path, monkeypatch):
    """Its bytes stay for the next one that wants them."""
    push(registry, model, tmp_path, content=os.urandom(64 * MIB))
    stuck, release, write = threading.Event(), threading.Event(), Sink.write

    def hold(sink, chunk):
        write(sink, chunk)
        if sink.size > 8 * MIB:
            stuck.set()
            assert release.wait(SECONDS)

    relay = FaultyRelay(server.address)
    with podium.connect(relay.address, cache=tmp_path / "other") as watching, watching.follow(f"{model}@champion") as follower:
        monkeypatch.setattr(Sink, "write", hold)
        registry.set_alias(model, "champion", 4)
        assert stuck.wait(SECONDS)
        registry.set_alias(model, "champion", 3)
        until(lambda: follower._puller._given_up)
        release.set()
        reaches(follower, 3)
        assert [entry.kind for entry in watching.cache.entries() if entry.size_bytes > MIB] == ["partial"]
        assert follower.problem is None
        monkeypatch.undo()
        registry.set_alias(model, "champion", 4)
        reaches(follower, 4)
        assert relay.down < (64 + 40) * MIB  # what was on its way came again
    relay.close()


# Who is told.


def test_callbacks_come_after_the_switch_and_may_fail(registry, model, caplog):
    seen, told = [], threading.Condition()

    def fail(current):
        with told:
            seen.append((current, follower.current, says(current), threading.current_thread()))
            told.notify_all()
        raise RuntimeError("the callback's own")

    with registry.follow(f"{model}@champion", on_change=fail) as follower:
        for number in (2, 3):
            registry.set_alias(model, "champion", number)
            reaches(follower, number)
        with told:
            assert told.wait_for(lambda: len(seen) == 2, SECONDS)
        assert [(current is now, text) for current, now, text, _ in seen] == [(True, "2"), (True, "3")]
        assert {thread.name for *_, thread in seen} == {"podium-puller"}
        reaches(follower, 3)
        assert follower.problem is None
    assert caplog.text.count("what is called when") == caplog.text.count("RuntimeError: the callback's own") == 2


def test_a_callback_may_close_its_follower(registry, model):
    with registry.follow(f"{model}@champion", on_change=lambda _: follower.close()) as follower:
        registry.set_alias(model, "champion", 2)
        assert [current.number for current in follower.changes()] in ([1], [1, 2])


def test_an_iterator_gives_the_current_version_and_then_each_change(registry, model, follower):
    changes = follower.changes()
    assert next(changes) is follower.current
    for number in (2, 3, 1):
        registry.set_alias(model, "champion", number)
        assert next(changes).number == number


def test_iterators_end_when_the_follower_does(registry, model, follower):
    changes = follower.changes()
    next(changes)
    reader = threading.Thread(target=list, args=(changes,))
    reader.start()
    follower.close()
    reader.join(SECONDS)
    assert not reader.is_alive()
    assert list(changes) == []
    assert list(follower.changes()) == []


def test_a_slow_reader_gets_the_newest(registry, model, follower):
    slow, quick = follower.changes(), follower.changes()
    assert next(slow).number == next(quick).number == 1
    for number in (2, 3, 1, 3):
        registry.set_alias(model, "champion", number)
        assert next(quick).number == number
    assert next(slow).number == 3
    registry.set_alias(model, "champion", 2)
    assert next(slow).number == next(quick).number == 2


def test_on_an_event_loop(registry, model):
    async def serve():
        follower = await asyncio.to_thread(registry.follow, f"{model}@champion")
        before, got = threading.active_count(), []

        async def read():
            async for current in follower.changes():
                got.append(current.number)
                turned.set()

        turned = asyncio.Event()
        readers = [asyncio.create_task(read()) for _ in range(20)]
        for number in (2, 3):
            while len(got) < 20 * (number - 1):
                turned.clear()
                await asyncio.wait_for(turned.wait(), SECONDS)
            assert threading.active_count() < before + len(readers)  # no thread waits for each
            await asyncio.to_thread(registry.set_alias, model, "champion", number)
        while len(got) < 60:
            turned.clear()
            await asyncio.wait_for(turned.wait(), SECONDS)
        readers[0].cancel()
        await asyncio.to_thread(follower.close)
        await asyncio.wait_for(asyncio.gather(*readers, return_exceptions=True), SECONDS)
        assert not follower._newest._wakes
        return got

    # The event loop's own pool has its threads already when they are counted.
    assert sorted(asyncio.run(serve())) == [1] * 20 + [2] * 20 + [3] * 20


def test_a_loop_that_is_closed_harms_nobody(registry, model, follower):
    loop = asyncio.new_event_loop()
    changes = follower.changes()
    loop.run_until_complete(changes.__anext__())
    waiting = loop.create_task(changes.__anext__())
    loop.run_until_complete(asyncio.sleep(0))
    assert follower._newest._wakes
    loop.close()
    registry.set_alias(model, "champion", 2)
    reaches(follower, 2)
    registry.set_alias(model, "champion", 3)
    reaches(follower, 3)
    waiting._log_destroy_pending = False


# How long files stay.


def test_what_is_current_is_not_pruned_and_what_was_is(registry, model, follower, cache):
    first = follower.current
    assert cache.prune(0).entries == ()
    registry.set_alias(model, "champion", 2)
    reaches(follower, 2)
    reaches_release(cache, first.digest)
    assert cache.prune().entries == ()  # it was used until now
    assert [entry.digest for entry in cache.prune(0).entries if entry.kind == "version"] == [first.digest]
    assert says(follower.current) == "2"
    follower.close()
    assert [entry.kind for entry in cache.prune(0).entries] == ["version"]
    assert follower.current.number == 2


def reaches_release(cache, digest):
    """A version is released right after the switch."""
    waited = threading.Event()
    for _ in range(SECONDS * 100):
        if not cache._locks("holds").is_taken(digest):
            return
        waited.wait(0.01)
    raise AssertionError("it is still held")


def test_a_version_that_is_used_stays_until_it_is_not(registry, model, follower, cache):
    with follower.use() as first:
        with follower.use() as again:
            assert again is first
        registry.set_alias(model, "champion", 2)
        reaches(follower, 2)
        with follower.use() as second:
            assert second.number == 2
            assert cache.prune(0).entries == ()
            assert says(first) == "1"
    reaches_release(cache, first.digest)
    assert [entry.digest for entry in cache.prune(0).entries if entry.kind == "version"] == [first.digest]


def test_a_use_outlasts_its_follower(registry, model, cache):
    follower = registry.follow(f"{model}@champion")
    with follower.use() as current:
        follower.close()
        assert cache.prune(0).entries == ()
        assert says(current) == "1"
        with pytest.raises(podium.PodiumError, match="closed"), follower.use():
            pass
    assert len(cache.prune(0).entries) == 1


def test_a_follower_takes_nothing_from_a_pull(registry, model, cache):
    """A pull holds until the process ends, also where the follower came first."""
    with registry.follow(f"{model}@champion") as follower:
        folder = registry.pull(f"{model}:1")
        assert folder == follower.current.path
    assert cache.prune(0).entries == ()
    assert content_of(folder)


def test_followers_of_the_same_version_hold_it_each(registry, model, cache):
    registry.set_alias(model, "other", 1)
    with registry.follow(f"{model}@champion"):
        with registry.follow(f"{model}@other") as other:
            assert other.current.number == 1
        assert cache.prune(0).entries == ()


# What the reference means, and may not.


def test_gone_and_set_anew(registry, model, follower, calls):
    registry.delete_alias(model, "champion")
    reaches(follower, lambda one: one.state is State.GONE)
    assert (follower.current.number, says(follower.current)) == (1, "1")
    registry.set_alias(model, "champion", 2)
    reaches(follower, 2)
    reaches(follower, lambda one: one.state is State.CONNECTED)


def test_unservable_and_back(registry, model, follower):
    registry.transition(f"{model}:1", "deprecated")
    reaches(follower, lambda one: one.state is State.UNSERVABLE)
    assert "deprecated" in follower.warnings[0]
    assert says(follower.current) == "1"
    registry.transition(f"{model}:1", "production")
    reaches(follower, lambda one: one.state is State.CONNECTED)
    assert (follower.warnings, follower.current.stage) == ((), "production")
    registry.transition(f"{model}:1", "deprecated")
    reaches(follower, lambda one: one.state is State.UNSERVABLE)
    registry.set_alias(model, "champion", 2)
    reaches(follower, 2)
    assert (follower.state, follower.warnings) == (State.CONNECTED, ())


def test_who_does_not_serve_follows_what_may_not(registry, model):
    with registry.follow(f"{model}@champion", for_serving=False) as follower:
        registry.transition(f"{model}:1", "deprecated")
        reaches(follower, lambda one: not one.current.servable)
        assert (follower.state, follower.current.stage) == (State.CONNECTED, "deprecated")


def test_what_means_nothing_is_refused_as_resolve_refuses_it(registry, model):
    for reference in (f"{model}@absent", f"{model}#staging", "absent@champion"):
        with pytest.raises(podium.NotFound) as refused:
            registry.resolve(reference)
        with pytest.raises(podium.NotFound) as same:
            registry.follow(reference)
        assert (str(same.value), same.value.reason) == (str(refused.value), refused.value.reason)
    registry.transition(f"{model}:1", "deprecated")
    with pytest.raises(podium.FailedPrecondition) as refused:
        registry.follow(f"{model}@champion")
    assert refused.value.reason == "NOT_SERVABLE"


# Its end.


def test_closing_leaves_nothing_running(registry, model):
    before = threading.active_count()
    for _ in range(3):
        follower = registry.follow(f"{model}@champion")
        assert follower.wait_for(State.CONNECTED, SECONDS)
        follower.close()
        follower.close()
        assert follower.state is State.STALE
        assert follower.current.number == 1
    gone = threading.Event()
    while threading.active_count() > before and not gone.wait(0.01):  # gRPC's own thread of the stream ends by itself
        pass
    assert not follower.wait_for(State.CONNECTED, SECONDS)


def test_three_threads_a_follower(registry, model):
    registry.info()
    before = {thread.name for thread in threading.enumerate()}
    followers = [registry.follow(f"{model}@champion") for _ in range(3)]
    assert all(follower.wait_for(State.CONNECTED, SECONDS) for follower in followers)
    ours = sorted(thread.name for thread in threading.enumerate() if thread.name not in before and "podium" in thread.name)
    assert ours == ["podium-puller"] * 3 + ["podium-reader"] * 3 + ["podium-receiver"] * 3 + ["podium-watchdog"]
    for follower in followers:
        follower.close()


def test_ctrl_c_ends_every_wait(registry, model):
    registry.set_alias(model, "champion", 1)
    with registry.follow(f"{model}@champion") as follower:
        with interrupted():
            follower.wait_for(lambda _: False)
        changes = follower.changes()
        assert next(changes).number == 1
        with interrupted():
            next(changes)
    with registry.watch(f"{model}@champion") as watch:
        next(watch)
        with interrupted():
            next(watch)


def test_closing_a_registry_closes_its_followers(server, model, tmp_path):
    registry = podium.connect(server.address, cache=tmp_path / "cache")
    followers = [registry.follow(f"{model}@champion") for _ in range(2)]
    registry.close()
    assert [list(follower.changes()) for follower in followers] == [[], []]
    assert {follower.state for follower in followers} == {State.STALE}


EXIT = """
import sys, time, podium
follower = podium.follow(sys.argv[1] + "@champion")
if sys.argv[2] == "pulling":
    podium.set_alias(sys.argv[1], "champion", 4)
    while not any(entry.kind == "partial" and entry.size_bytes for entry in podium.Cache().entries()):
        time.sleep(0.01)
print("ends", flush=True)
"""


@pytest.mark.parametrize("doing", ["nothing", "pulling"])
def test_a_program_that_does_not_close_ends(server, registry, model, tmp_path, doing):
    push(registry, model, tmp_path, content=os.urandom(64 * MIB))
    relay = Relay(server.address)
    release = threading.Event()
    relay.when_cut = lambda: release.wait(SECONDS)  # the pull stands still
    relay.cut_after(down=8 * MIB)
    environment = {**os.environ, "PODIUM_URL": relay.address, "PODIUM_CACHE": str(tmp_path / "other")}
    ran = subprocess.run(
        [sys.executable, "-c", EXIT, model, doing],
        env=environment,
        text=True,
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "ends\n", "")
    release.set()
    relay.close()


def test_the_module_has_the_same(server, model, tmp_path, monkeypatch):
    monkeypatch.setenv("PODIUM_URL", server.address)
    monkeypatch.setenv("PODIUM_CACHE", str(tmp_path / "named"))
    follower = podium.follow(f"{model}@champion")
    assert tmp_path / "named" in follower.current.path.parents
    with podium.watch(f"{model}@champion") as watch:
        assert next(watch).references[0].target.number == 1
    podium.close()
    assert follower.state is State.STALE


def test_one_connection_a_follower(server, registry, model, tmp_path):
    """The watch, the calls and the downloads share it."""
    relay = FaultyRelay(server.address)
    with podium.connect(relay.address, cache=tmp_path / "other") as watching, watching.follow(f"{model}@champion") as follower:
        registry.set_alias(model, "champion", 2)
        reaches(follower, 2)
        assert watching.info().version
        assert relay.connections == 1
    relay.close()


def test_a_follower_is_quiet(registry, model, caplog):
    with caplog.at_level(logging.INFO, "podium"), registry.follow(f"{model}@champion") as follower:
        registry.set_alias(model, "champion", 2)
        reaches(follower, 2)
    assert caplog.records == []
    assert isinstance(follower.current.path, Path)
