"""Watches that are many, late or slow: what the server goes on doing, and what it keeps for them."""

import resource
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
from podium.v1.aliases_pb2 import SetAliasRequest
from podium.v1.events_pb2 import EVENT_KIND_MODEL_UPDATED
from podium.v1.models_pb2 import UpdateModelRequest
from podium.v1.registry_service_pb2_grpc import RegistryServiceStub
from podium.v1.watch_pb2 import WatchFilter, WatchRequest
from podium_server.errors import Overloaded
from podium_server.feed import Feed, Watcher
from podium_server.filters import Chosen
from podium_server.limits import MAX_WATCHES
from podium_server.positions import Position
from story import create_model, register
from watching import Watching

MIB = 1 << 20
# The client's end takes 64 KiB, and then nothing more is sent.
SMALL_WINDOW = [("grpc.use_local_subchannel_pool", 1), ("grpc.http2.lookahead_bytes", 65_536), ("grpc.http2.bdp_probe", 0)]


def describe(stub, model, *letters):
    """Changes a description of 60,000 bytes as often as there are letters; the last position."""
    for letter in letters:
        request = UpdateModelRequest(model={"name": model, "description": letter * 60_000})
        request.update_mask.paths.append("description")
        position = stub.UpdateModel(request).position
    return position


def resident_bytes(process):
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def test_heartbeats_come_while_others_read_the_log(start_server):
    """More late watches than read the log at once: those that wait for it are told that they are alive, where they are."""
    server = start_server("--heartbeat", "0.05")
    create_model(server.stub, "late")
    start = describe(server.stub, "late", "a")
    describe(server.stub, "late", *"bc" * 200)
    server.stop()
    server.start()
    watches = [Watching(server.stub, {"model": "of-nothing"}, position=start) for _ in range(40)]
    with ExitStack() as stack:
        firsts = [stack.enter_context(watch).heartbeat() for watch in watches]
    assert start in firsts


def test_what_is_kept_for_slow_watches_is_bounded_in_bytes(start_server):
    """600 changes of 120 KB, and watches that read nothing: memory grows by what SQLite caches, not by them."""
    server = start_server()
    create_model(server.stub, "large")
    describe(server.stub, "large", *"ab" * 100)
    start = describe(server.stub, "large", "c")
    describe(server.stub, "large", *"ab" * 25)
    request = WatchRequest(filters=[WatchFilter(model="large", kinds=[EVENT_KIND_MODEL_UPDATED])], position=start)
    with grpc.insecure_channel(server.address, options=SMALL_WINDOW) as channel:
        before = resident_bytes(server.process)
        streams = [RegistryServiceStub(channel).Watch(request) for _ in range(20)]
        for stream in streams:
            next(stream)
        describe(server.stub, "large", *"ab" * 300)
        assert resident_bytes(server.process) - before < 64 * MIB
        count = sum(1 for message in until_event(streams[0], 650) for _ in message.events)
        assert count == 650
        for stream in streams:
            stream.cancel()


def until_event(stream, count):
    """The messages of a stream up to that with this event."""
    for message in stream:
        yield message
        count -= len(message.events)
        if count <= 0:
            return


def test_a_burst_of_new_watches(start_server):
    server = start_server()
    create_model(server.stub, "burst")
    register(server.stub, "burst")
    server.stub.SetAlias(SetAliasRequest(reference="burst:1", alias="champion"))
    request = WatchRequest(filters=[WatchFilter(model="burst", name="champion")])
    streams = [server.stub.Watch(request) for _ in range(2500)]
    for stream in streams:
        assert next(stream).heartbeat_interval.seconds
        assert next(stream).references[0].target.number == 1
    for stream in streams:
        stream.cancel()


def test_one_watch_too_many_is_refused_until_another_ends():
    feed = Feed()
    feed.restart(Position(0, b"00000000"), [])
    watchers = [
        Watcher(Chosen([WatchFilter(model="m")]), feed.position, feed.history, for_serving=False) for _ in range(MAX_WATCHES + 1)
    ]
    for watcher in watchers[:-1]:
        feed.join(watcher)
    with pytest.raises(Overloaded):
        feed.join(watchers[-1])
    feed.leave(watchers[0])
    feed.join(watchers[-1])


def test_a_server_may_have_as_many_connections_as_the_system_allows(start_server):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, hard - 1, 512), hard))
    try:
        server = start_server()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE) == (hard, hard)


@pytest.mark.parametrize("seconds", ["0", "0.001", "3601", "-1", "nan", "soon"])
def test_an_interval_that_makes_no_sense_is_refused(tmp_path, seconds):
    command = [sys.executable, "-m", "podium_server", "--data", str(tmp_path / "data"), "--heartbeat", seconds]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "--heartbeat" in ended.stderr.splitlines()[-1]
    assert not (tmp_path / "data").exists()
