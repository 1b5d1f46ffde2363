"""Followers whose registry, connection or disk fails: what is current stays, the state says so, and it goes on by itself."""

import os
import shutil
import signal
import threading
from pathlib import Path

import podium
import pytest
from disks import SmallDisk
from following import copy_data, push, reaches, remove_data, replace_data, says, start_again
from podium import State
from podium.connection import OPTIONS
from podium.sink import Sink
from podium.transport import Transport
from streams import until

MIB = 1 << 20


@pytest.fixture
def follower(own, tmp_path):
    with podium.connect(own[1].address, cache=tmp_path / "cache") as registry, registry.follow("m@champion") as following:
        yield following


class Log:
    """All that a follower was: the versions as an iterator gives them, and the states."""

    def __init__(self, follower):
        self.numbers, self.states = [], [follower.state]
        self._follower, self._stand = follower, follower._stand
        follower._stand = self._note
        threading.Thread(target=self._read, args=(follower.changes(),), daemon=True).start()
        until(lambda: self.numbers)

    def reaches(self, *numbers):
        until(lambda: self.numbers == list(numbers))

    def _read(self, changes):
        for current in changes:
            self.numbers.append(current.number)

    def _note(self, standing):
        self._stand(standing)
        if self._follower.state is not self.states[-1]:
            self.states.append(self._follower.state)


def direct(server):
    return podium.connect(server.address)


def set_alias(server, *numbers, alias="champion"):
    with direct(server) as registry:
        for number in numbers:
            registry.set_alias("m", alias, number)


# The server and the connection.


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_server_ends_and_starts(own, follower, number):
    server, relay = own
    set_alias(server, 2)
    reaches(follower, 2)
    log = Log(follower)
    for target in (3, 1):
        set_alias(server, target)
        reaches(follower, target)
        server.end(number)
        reaches(follower, lambda one: one.state is State.STALE)
        assert says(follower.current) == str(target)
        start_again(server, relay)
        reaches(follower, lambda one: one.state is State.CONNECTED)
        assert follower.current.number == target
    log.reaches(2, 3, 1)  # no step back, and none twice
    assert log.states == [State.CONNECTED, State.STALE] * 2 + [State.CONNECTED]


def test_what_changed_while_the_follower_was_cut_off_arrives(own, follower):
    server, relay = own
    relay.lead_to("127.0.0.1:1")
    relay.cut()
    reaches(follower, lambda one: one.state is State.STALE)
    set_alias(server, 2, 3)
    assert follower.current.number == 1
    relay.lead_to(server.address)
    reaches(follower, 3)
    reaches(follower, lambda one: one.state is State.CONNECTED)


@pytest.mark.parametrize("fault", ["cut", "stall", "half_close"])
def test_the_connection_breaks(own, follower, fault):
    server, relay = own
    log = Log(follower)
    getattr(relay, fault)()
    reaches(follower, lambda one: State.STALE in log.states)
    set_alias(server, 2)
    reaches(follower, 2)
    reaches(follower, lambda one: one.state is State.CONNECTED)
    log.reaches(1, 2)


def test_a_server_that_stands_still(own, follower):
    server, _ = own
    server.process.send_signal(signal.SIGSTOP)
    reaches(follower, lambda one: one.state is State.STALE)
    assert says(follower.current) == "1"
    server.process.send_signal(signal.SIGCONT)
    reaches(follower, lambda one: one.state is State.CONNECTED)
    set_alias(server, 2)
    reaches(follower, 2)


def test_a_server_that_stands_still_in_the_middle_of_a_pull(own, follower, tmp_path):
    server, relay = own
    with direct(server) as registry:
        push(registry, "m", tmp_path, content=os.urandom(16 * MIB))
    relay.when_cut = lambda: server.process.send_signal(signal.SIGSTOP)
    relay.cut_after(down=4 * MIB)
    set_alias(server, 4)
    reaches(follower, lambda one: one.state is State.STALE)
    assert follower.current.number == 1
    server.process.send_signal(signal.SIGCONT)
    reaches(follower, 4)
    assert says(follower.current) == "4"


@pytest.mark.parametrize("amid", ["ListFiles", "DownloadArtifact"])
def test_a_pull_leaves_a_connection_that_is_silent_together_with_the_watch(own, tmp_path, monkeypatch, amid):
    """gRPC itself would notice after 20 s, or never."""
    server, relay = own
    monkeypatch.setattr("podium.connection.OPTIONS", [one for one in OPTIONS if "keepalive" not in one[0]])
    with direct(server) as registry:
        push(registry, "m", tmp_path, content=os.urandom(16 * MIB))
    registry = podium.connect(relay.address, cache=tmp_path / "cache", timeout=1000)
    with registry, registry.follow("m@champion") as follower:
        until(follower._record.path.exists)
        stalled, write, persist = [], Sink.write, Transport.persist

        def stall():
            if not stalled:
                stalled.append(relay.stall())

        def write_and_stall(sink, chunk):
            write(sink, chunk)
            stall()

        def stall_and_persist(transport, method, request, crew):
            stall()
            return persist(transport, method, request, crew)

        if amid == "ListFiles":
            monkeypatch.setattr(Transport, "persist", stall_and_persist)
        else:
            monkeypatch.setattr(Sink, "write", write_and_stall)
        set_alias(server, 4)
        reaches(follower, 4)
        assert stalled
        assert registry.verify("m:4", follower.current.path) == []


def test_a_registry_that_became_another_service_for_a_while(own, follower):
    """What it answers would come back however often it is asked, but a process that serves does not fall over."""
    import grpc

    server, relay = own
    other = grpc.server(None, options=[("grpc.so_reuseport", 0)])
    port = other.add_insecure_port("127.0.0.1:0")
    other.start()
    relay.lead_to(f"127.0.0.1:{port}")
    relay.cut()
    reaches(follower, lambda one: isinstance(one._failure, podium.InternalError))
    assert (follower.state, follower.current.number) == (State.STALE, 1)
    relay.lead_to(server.address)
    relay.cut()
    other.stop(None)
    set_alias(server, 2)
    reaches(follower, 2)
    reaches(follower, lambda one: one.state is State.CONNECTED)


# History that was cut.


def test_a_registry_that_was_restored_is_told(own, follower, tmp_path):
    server, relay = own
    log = Log(follower)
    server.stop()
    copy_data(server, tmp_path / "copy")
    start_again(server, relay)
    set_alias(server, 2, 3)
    reaches(follower, 3)
    server.stop()
    replace_data(server, tmp_path / "copy")
    start_again(server, relay)
    reaches(follower, lambda one: one.state is State.RESTORED)
    reaches(follower, 1)
    assert follower.state is State.RESTORED
    relay.cut()
    reaches(follower, lambda one: log.states[-2:] == [State.STALE, State.RESTORED])  # a reconnect does not hide it
    set_alias(server, 1, alias="other")
    set_alias(server, 2)
    reaches(follower, 2)
    assert follower.state is State.CONNECTED
    until(lambda: log.numbers in ([1, 2, 3, 1, 2], [1, 3, 1, 2]))


def test_a_snapshot_without_news_does_not_hide_a_restore(follower):
    """As a server may send instead of changes, when it was restarted for example."""
    (reference,) = snapshot_of(follower)
    follower._apply(podium.Snapshot((reference,), "1", restored=True))
    reaches(follower, lambda one: one.state is State.RESTORED)
    follower._apply(podium.Snapshot((reference,), "2", restored=False))
    assert follower.state is State.RESTORED
    moved = podium.Reference.FromString(reference.SerializeToString())
    moved.target.stage = "production"
    follower._apply(podium.Snapshot((moved,), "3", restored=False))
    assert follower.state is State.CONNECTED


def snapshot_of(follower):
    with podium.connect(follower._transport.address) as registry, registry.watch("m@champion") as watch:
        return next(watch).references


def test_a_registry_that_was_restored_to_one_without_the_reference(own, follower, tmp_path):
    server, relay = own
    server.stop()
    remove_data(server)
    start_again(server, relay)
    reaches(follower, lambda one: one.state is State.GONE)
    assert says(follower.current) == "1"
    with direct(server) as registry:
        push(registry, "m", tmp_path, 2)
        registry.set_alias("m", "champion", 2)
    reaches(follower, 2)
    reaches(follower, lambda one: one.state is State.CONNECTED)


# What cannot be pulled.


def blob_of(server, size):
    (path,) = [path for path in (server.data / "blobs").rglob("*") if path.is_file() and path.stat().st_size == size]
    return path


def test_bytes_that_are_missing_on_the_server(own, follower, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("podium.puller.LONGEST_PAUSE", 0.5)
    server, _ = own
    content = os.urandom(5 * MIB)
    with direct(server) as registry:
        push(registry, "m", tmp_path, content=content)
        blob_of(server, len(content)).unlink()
        registry.set_alias("m", "champion", 4)
        reaches(follower, lambda one: one.problem)
        assert follower.problem.startswith("m:4 cannot be had: ")
        assert (follower.current.number, follower.state) == (1, State.CONNECTED)
        assert says(follower.current) == "1"
        push(registry, "m", tmp_path, content=content)  # which brings the bytes again
    reaches(follower, 4)
    assert follower.problem is None
    assert (follower.current.path / "content").read_bytes() == content
    assert caplog.text.count("m:4 cannot be had") == 1  # however often it was tried


def test_a_problem_is_that_of_what_the_reference_means(own, follower, tmp_path):
    """Once it means something else, it is gone."""
    server, _ = own
    content = os.urandom(5 * MIB)
    with direct(server) as registry:
        push(registry, "m", tmp_path, content=content)
        blob_of(server, len(content)).unlink()
        registry.set_alias("m", "champion", 4)
        reaches(follower, lambda one: one.problem)
        registry.delete_alias("m", "champion")
        reaches(follower, lambda one: one.state is State.GONE)
        assert follower.problem is None
        registry.set_alias("m", "champion", 2)
        reaches(follower, 2)
        assert follower.problem is None


def test_a_first_version_that_cannot_be_pulled_is_why_it_does_not_begin(own, tmp_path):
    server, _ = own
    content = os.urandom(5 * MIB)
    with podium.connect(server.address, cache=tmp_path / "other") as registry:
        push(registry, "m", tmp_path, content=content)
        blob_of(server, len(content)).unlink()
        registry.set_alias("m", "champion", 4)
        with pytest.raises(podium.PodiumError) as pulled:
            registry.pull("m@champion")
        with pytest.raises(type(pulled.value)) as followed:
            registry.follow("m@champion")
        assert followed.value.reason == pulled.value.reason


def test_a_disk_without_room(own, tmp_path):
    server, _ = own
    disk = SmallDisk(tmp_path / "small", 8 * MIB)
    with direct(server) as registry:
        push(registry, "m", tmp_path, content=os.urandom(16 * MIB))
    try:
        disk.resize(8 * MIB, os.getpid())
        registry = podium.connect(server.address, cache=disk.folder / "cache")
        with registry, registry.follow("m@champion") as follower:
            registry.set_alias("m", "champion", 4)
            reaches(follower, lambda one: one.problem)
            assert (follower.current.number, follower.state) == (1, State.CONNECTED)
            assert says(follower.current) == "1"
            disk.resize(64 * MIB, os.getpid())
            reaches(follower, 4)
            assert follower.problem is None
    finally:
        disk.close()


# What is left behind.


def handles(process):
    """How many file handles a process has."""
    return len(list(Path(f"/proc/{process}/fd").iterdir()))


def kernel_threads(process):
    """How many threads a process has, with those of gRPC's own pools."""
    return len(list(Path(f"/proc/{process}/task").iterdir()))


def test_1000_reconnects_leave_nothing_behind(own, follower, tmp_path, monkeypatch):
    server, relay = own

    def again(times):
        for _ in range(times):
            made = relay.connections
            relay.cut()
            relay.wait_for_connections(made + 1)
            reaches(follower, lambda one: one.state is State.CONNECTED)

    follower._reader.watch._backoff._first = 0.001
    again(20)  # what gRPC keeps for good is there then
    processes = ["self", server.process.pid]
    threads = threading.active_count()
    before = [(handles(process), kernel_threads(process)) for process in processes]
    files = sorted(path for path in (tmp_path / "cache").rglob("*"))
    again(1000)
    until(lambda: threading.active_count() <= threads)
    for process, (open_then, threads_then) in zip(processes, before, strict=True):
        until(lambda process=process, then=open_then: handles(process) <= then)
        # gRPC's pools grow with the load of the machine, up to some tens; what each reconnection leaves would be a thousand.
        until(lambda process=process, then=threads_then: kernel_threads(process) < then + 50)
    assert sorted(path for path in (tmp_path / "cache").rglob("*")) == files
    set_alias(server, 2)
    reaches(follower, 2)


def test_connections_that_died_silently_are_not_kept(own, follower):
    _, relay = own
    for _ in range(3):
        made = relay.connections
        relay.stall()
        relay.wait_for_connections(made + 1)
        reaches(follower, lambda one: one.state is State.CONNECTED)
    until(lambda: len(relay_ends(relay)) == 2)


def relay_ends(relay):
    """The sockets of connections that neither side has left."""
    return [end for end in relay._ends if end.fileno() >= 0]


def test_a_follower_outlasts_its_cache(own, follower, tmp_path):
    """Somebody removed all of it: the next version is pulled, and what is current is what it was until then."""
    server, _ = own
    until(lambda: list(follower._cache.followed_path.glob("*.json")))  # what comes right after the start
    for path in (tmp_path / "cache").rglob("*"):
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(tmp_path / "cache")
    set_alias(server, 2)
    reaches(follower, 2)
    assert says(follower.current) == "2"
    assert follower._cache.prune(0).entries == ()
