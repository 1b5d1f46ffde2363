"""Several servers of one registry: clients/ADDRESSES.md, as the Python client and its CLI keep it."""

import json
import os
import re
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import grpc
import podium
import pytest
from following import HEARTBEAT, SECONDS, FaultyRelay, push, reaches, says
from grpc_health.v1.health import HealthServicer
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from podium.addresses import parse_address, target_of
from podium.seen import Seen
from podium.v1.aliases_pb2 import SetAliasRequest
from podium.v1.artifacts_pb2 import BlobSpec, FindMissingBlobsRequest
from podium.v1.resolve_pb2 import ResolveVersionRequest, ResolveVersionResponse
from streams import MIB, until
from test_cli import Terminal

CALLERS = 8
NOWHERE = "127.0.0.1:1"


@pytest.fixture
def both(start_server, tmp_path):
    """Two servers over one folder, each behind a relay, with a model `m` of three versions."""
    servers = [start_server(*HEARTBEAT) for _ in range(2)]
    relays = [FaultyRelay(server.address) for server in servers]
    with podium.connect(servers[0].address) as registry:
        push(registry, "m", tmp_path, 3)
        registry.set_alias("m", "champion", 1)
    yield servers, relays
    for server in servers:
        assert "Traceback" not in server.output()
    for relay in relays:
        relay.close()


@pytest.fixture
def registry(both, tmp_path):
    """A client of both."""
    _, relays = both
    with podium.connect(list_of(relays), cache=tmp_path / "cache") as connected:
        yield connected


class Names:
    """What names that end with `.test` mean: `here` has their IP addresses. While `answers` is not set, the name server is away."""

    def __init__(self):
        self.here, self.asked, self.answers = {}, [], threading.Event()
        self.answers.set()
        self._known = socket.getaddrinfo

    def look_up(self, host, port, *arguments, **values):
        self.asked.append(host)
        if not host.endswith(".test"):
            return self._known(host, port, *arguments, **values)
        assert self.answers.wait(SECONDS)
        if host not in self.here:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return self._known(self.here[host], port, *arguments, **values)


@pytest.fixture
def names(monkeypatch):
    """No test can have a name server of its own."""
    names = Names()
    monkeypatch.setattr(socket, "getaddrinfo", names.look_up)
    yield names
    names.answers.set()


def list_of(servers):
    return ",".join(server.address for server in servers)


def asks_all(registry, relays):
    """Calls until each relay has passed on some calls more."""
    before = [relay.up for relay in relays]
    for _ in range(10_000):
        registry.resolve("m:1")
        if all(relay.up > passed + 2_000 for relay, passed in zip(relays, before, strict=True)):
            return
    raise AssertionError("some server is never asked")


@contextmanager
def callers(registry):
    """Threads of which each makes changes and sees them; none of their calls may fail. Yields how to let them go on."""
    end, counts = threading.Event(), [0] * CALLERS

    def work(place):
        while not end.is_set():
            number = counts[place] % 3 + 1
            registry.set_alias("m", f"alias{place}", number)
            assert registry.resolve(f"m@alias{place}").number == number
            counts[place] += 1

    def go_on():
        before = list(counts)
        while any(count < earlier + 3 for count, earlier in zip(counts, before, strict=True)):
            for one in running:
                if one.done():
                    one.result()

    with ThreadPoolExecutor(CALLERS) as threads:
        running = [threads.submit(work, place) for place in range(CALLERS)]
        try:
            go_on()
            yield go_on
        finally:
            end.set()
        for one in running:
            one.result()


# What a list is.


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("a:1,b:2", "a:1,b:2"),
        ("grpc://a:1,b:2,grpc://c:3/", "a:1,b:2,c:3"),
        ("b:2,a:1,grpc://b:2,a:1", "b:2,a:1"),
        ("a:1,a:1", "a:1"),
        ("[::1]:1,127.0.0.1:1", "[::1]:1,127.0.0.1:1"),
    ],
)
def test_lists(url, address):
    assert parse_address(url) == address


@pytest.mark.parametrize(
    ("url", "entry"),
    [("a:1,", ""), (",a:1", ""), ("a:1,,b:2", ""), (",", ""), ("a:1, b:2", " b:2"), ("a:1,b", "b"), ("grpc://a:1,http://b:1", "http://b:1")]
    + [("a:1;b:2", "a:1;b:2"), ("a:1,b:70700", "b:70700")],
)  # fmt: skip
def test_a_list_with_what_is_no_address_is_refused_with_what_that_is(url, entry):
    with pytest.raises(podium.InvalidArgument, match=re.escape(repr(entry)) + ".*and commas between several"):
        podium.connect(url)


def test_ipv4_and_ipv6_are_written_as_one_family():
    assert target_of([("10.0.0.2", 1), ("10.0.0.1", 2)]) == "ipv4:10.0.0.1:2,10.0.0.2:1"
    assert target_of([("::1", 1)]) == "ipv6:[::1]:1"
    assert target_of([("::1", 1), ("10.0.0.1", 2)]) == "ipv6:[::ffff:10.0.0.1]:2,[::1]:1"
    assert target_of([("fe80::1%eth0", 1)]) == "ipv6:[fe80::1%25eth0]:1"


def test_nobody_at_a_list_is_said_in_one_line(names):
    with podium.connect("127.0.0.1:1,127.0.0.2:1") as registry, pytest.raises(podium.Unavailable) as away:
        registry.info()
    assert str(away.value) == "no Podium server at 127.0.0.1:1,127.0.0.2:1: start one with 'podium serve' or set PODIUM_URL"
    with podium.connect("nobody.test:1,neither..this:1") as registry, pytest.raises(podium.Unavailable, match="podium serve"):
        registry.info()


def test_the_command_line_takes_a_list(both, tmp_path):
    servers, _ = both
    terminal = Terminal(f"{list_of(servers)},{NOWHERE}", tmp_path)
    assert terminal.json("resolve", "m@champion")["number"] == "1"
    servers[0].stop()
    assert terminal.json("resolve", "m@champion", "--url", f"{NOWHERE},{servers[1].address}")["number"] == "1"
    assert "and commas between several" in terminal.error(4, "resolve", "m@champion", "--url", "a:1,,b:1")


# Where it leads.


def test_calls_go_to_all_servers(registry, both):
    asks_all(registry, both[1])


@pytest.mark.parametrize("hosts", [("127.0.0.1", "[::1]"), ("localhost", "[::1]"), ("127.0.0.1", "ip6-here.test")])
@pytest.mark.parametrize("gone", [0, 1])
def test_servers_of_both_families_and_by_name(start_server, names, hosts, gone):
    names.here["ip6-here.test"] = "::1"
    servers = [start_server("--listen", f"{host}:0") for host in ("127.0.0.1", "[::1]")]
    ports = [server.address.rpartition(":")[2] for server in servers]
    with podium.connect(",".join(map(":".join, zip(hosts, ports, strict=True)))) as registry:
        registry.create_model("m")
        servers[gone].kill()
        assert [registry.model("m").name for _ in range(4)] == ["m"] * 4


def test_what_cannot_be_looked_up_is_left_out(names, both):
    with podium.connect(f"nobody.test:1,{list_of(both[0])},neither..this:1") as registry:
        assert registry.resolve("m@champion").number == 1


NOBODY, NOBODY_EITHER = "127.0.0.2", "127.0.0.3"


@pytest.fixture
def named(names, both):
    """A client of `a.test` and `b.test`, which lead to nobody yet: at 127.0.0.1 they are the first and the second server."""
    names.here |= {"a.test": NOBODY, "b.test": NOBODY_EITHER}
    ports = [server.address.rpartition(":")[2] for server in both[0]]
    with podium.connect(f"a.test:{ports[0]},b.test:{ports[1]}") as registry:
        yield registry


def test_names_that_lead_elsewhere_are_found_by_the_call_that_finds_nobody(names, named, both):
    with pytest.raises(podium.Unavailable):
        named.info()
    names.here["a.test"] = "127.0.0.1"
    assert named.resolve("m@champion").number == 1
    names.here["b.test"] = "127.0.0.1"
    both[0][0].kill()
    assert named.resolve("m@champion").number == 1


def test_names_that_lead_elsewhere_are_found_by_the_next_leg_of_a_stream(names, named):
    with named.watch("m@champion", on_connection=lambda _: names.here.update({"a.test": "127.0.0.1"})) as watch:
        assert next(watch).references[0].target.number == 1


def test_names_that_lead_elsewhere_are_found_after_a_while(names, named, both, monkeypatch):
    names.here["a.test"] = "127.0.0.1"
    connected = []
    with named.watch("m@champion", on_connection=connected.append) as watch:
        next(watch)
        first = named._transport._connection
        names.here["b.test"] = "127.0.0.4"
        del names.asked[:]
        named.resolve("m@champion")
        assert not names.asked
        monkeypatch.setattr("podium.connection.LOOK_UP_SECONDS", 0)
        named.resolve("m@champion")
        assert named._transport._connection is not first
        both[0][0].stub.SetAlias(SetAliasRequest(reference="m:2", alias="champion", request_id="2"))
        assert next(watch).events[0].after.target.number == 2
        assert connected == [True]


def test_names_that_lead_nowhere_for_a_while_change_nothing(names, named, monkeypatch):
    names.here["a.test"] = "127.0.0.1"
    named.resolve("m@champion")
    first = named._transport._connection
    monkeypatch.setattr("podium.connection.LOOK_UP_SECONDS", 0)
    names.here.clear()
    named.resolve("m@champion")
    names.answers.clear()
    named.resolve("m@champion")
    assert named._transport._connection is first


# When one of them is not well.


def test_no_call_fails_while_one_server_drains_and_comes_back(registry, both):
    servers, relays = both
    with callers(registry) as go_on:
        for server, relay in zip(servers, relays, strict=True):
            server.stop()
            go_on()
            server.start()
            relay.lead_to(server.address)
            asks_all(registry, relays)


def test_no_call_fails_when_one_server_is_killed(registry, both):
    servers, _ = both
    with callers(registry) as go_on:
        servers[0].kill()
        go_on()


def test_no_call_fails_when_one_server_says_nothing_any_more(registry, both):
    _, relays = both
    with callers(registry) as go_on:
        relays[0].stall()
        go_on()


def test_a_server_that_says_that_it_does_not_serve_gets_no_calls(both):
    """One that knows no other call than that."""
    unwell = grpc.server(ThreadPoolExecutor(CALLERS))
    health = HealthServicer()
    add_HealthServicer_to_server(health, unwell)
    address = f"127.0.0.1:{unwell.add_insecure_port('127.0.0.1:0')}"
    unwell.start()
    with podium.connect(f"{address},{list_of(both[0])}") as registry:
        for _ in range(3):
            health.set("podium.v1.RegistryService", HealthCheckResponse.NOT_SERVING)
            assert [registry.resolve("m@champion").number for _ in range(CALLERS)] == [1] * CALLERS
            health.set("podium.v1.RegistryService", HealthCheckResponse.SERVING)
            with pytest.raises(podium.InternalError, match="does not know this call"):
                until(lambda: registry.resolve("m@champion").number != 1)
            health.set("podium.v1.RegistryService", HealthCheckResponse.NOT_SERVING)
            until(lambda: serves(registry))
    unwell.stop(None).wait()


def serves(registry):
    """Whether none of so many calls goes wrong."""
    with suppress(podium.InternalError):
        return bool([registry.resolve("m@champion") for _ in range(CALLERS)])
    return False


def test_a_large_request_is_made_again(registry, both):
    _, relays = both
    missing = [BlobSpec(digest=f"sha256:{number:064}", size_bytes=1) for number in range(10_000)]
    request = FindMissingBlobsRequest(model="m", blobs=missing)
    for relay in relays:
        asks_all(registry, relays)
        relay.cut_after(up=400_000)
        while not relay.cuts:
            assert len(registry._transport.call(lambda stub: stub.FindMissingBlobs, request).missing) == len(missing)


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_transfer_goes_on_at_the_other_server(registry, both, tmp_path, way):
    servers, relays = both
    content = os.urandom(24 * MIB)
    folder = tmp_path / "large"
    folder.mkdir()
    (folder / "content").write_bytes(content)
    if way == "down":
        with podium.connect(servers[0].address) as direct:
            direct.push("large", folder)
    killed = threading.Lock()

    def kill(server):
        if killed.acquire(blocking=False):
            server.process.kill()

    for server, relay in zip(servers, relays, strict=True):
        relay.when_cut = lambda server=server: kill(server)
        relay.cut_after(**{way: 9 * MIB})
    if way == "up":
        pushed = registry.push("large", folder)
        assert len(content) <= pushed.uploaded_bytes < 2 * len(content)
    pulled = registry.pull("large:1")
    assert killed.locked()
    assert (pulled / "content").read_bytes() == content
    assert sum(relay.down for relay in relays) < len(content) + 16 * MIB


@pytest.mark.parametrize("stage", ["uploading", "downloading"])
def test_a_transfer_goes_on_at_the_other_server_when_one_says_nothing_any_more(registry, both, tmp_path, stage):
    servers, relays = both
    content = os.urandom(24 * MIB)
    folder = tmp_path / "large"
    folder.mkdir()
    (folder / "content").write_bytes(content)
    stalled = []

    def stall(now, done, _total):
        if now == stage and done > 8 * MIB and not stalled:
            stalled.append(max(relays, key=lambda relay: relay.up + relay.down))
            stalled[0].stall()

    with podium.connect(list_of(servers)) as direct:
        (registry if stage == "uploading" else direct).push("large", folder, progress=stall)
    assert (registry.pull("large:1", progress=stall) / "content").read_bytes() == content
    assert stalled


def test_a_watch_and_a_follower_go_on_at_the_other_server(registry, both):
    """Each server goes and comes back in turn, so that they were at both."""
    servers, relays = both
    with (
        podium.connect(list_of(servers)) as direct,
        registry.watch("m@champion") as watch,
        registry.follow("m@champion") as follower,
    ):
        told = [next(watch).references[0].target.number]
        expected = [1]
        for relay, server in zip(relays * 3, servers * 3, strict=True):
            relay.lead_to(NOWHERE)
            relay.cut()
            for _ in range(2):
                expected.append(expected[-1] % 3 + 1)
                direct.set_alias("m", "champion", expected[-1])
            while len(told) < len(expected):
                told += [event.after.target.number for event in next(watch).events]
            relay.lead_to(server.address)
            asks_all(registry, relays)
        assert told == expected
        reaches(follower, told[-1])
        assert says(follower.current) == str(told[-1])


# What a client sees. Replicas lag by milliseconds, so each is asked many times.

ROUNDS = 60


def test_a_client_sees_what_it_did(registry):
    for number in (2, 3, 1) * (ROUNDS // 3):
        registry.set_alias("m", "champion", number)
        assert [registry.resolve("m@champion").number for _ in range(2)] == [number] * 2
    with registry.watch("m@champion") as watch:
        for number in (2, 3, 1) * 5:
            registry.set_alias("m", "champion", number)
            with registry.watch("m@champion") as other:
                assert next(other).references[0].target.number == number
            with registry.follow("m@champion") as follower:
                assert follower.current.number == number
        next(watch)


def test_a_client_sees_what_its_threads_did_whoever_was_answered_first(registry):
    with ThreadPoolExecutor(CALLERS) as threads:
        for turn in range(ROUNDS):
            number = turn % 3 + 1
            list(threads.map(lambda place, to=number: registry.set_alias("m", f"alias{place}", to), range(CALLERS)))
            assert [registry.resolve(f"m@alias{place}").number for place in range(CALLERS)] == [number] * CALLERS


def test_a_client_never_sees_less_than_it_saw(registry, both):
    revisions = []
    with podium.connect(both[0][0].address) as other, registry.watch("m@champion") as watch:
        next(watch)
        for number in (2, 3, 1) * (ROUNDS // 3):
            other.set_alias("m", "champion", number)
            registry.resolve("m@champion")
            revisions.append(registry._transport.seen.newest)
            assert [event.after.target.number for event in next(watch).events] == [number]
            assert [registry.resolve("m@champion").number for _ in range(2)] == [number] * 2
    assert revisions == sorted(revisions)


def test_the_newest_of_several_positions_is_asked_for_unless_the_caller_says_one():
    seen = Seen()
    for position in ("2", "1", ""):
        seen.saw(ResolveVersionResponse(position=position))
    assert seen.asked_for(ResolveVersionRequest(reference="m:1")) == (ResolveVersionRequest(reference="m:1", at_least="2"), "2")
    for request in (ResolveVersionRequest(reference="m:1", at_least="1"), SetAliasRequest(alias="a"), FindMissingBlobsRequest()):
        assert seen.asked_for(request) == (request, "")
    seen.forget("1")
    assert seen.newest == "2"
    seen.forget("2")
    assert seen.newest == ""


def test_what_was_seen_of_a_history_that_was_cut_is_forgotten_and_what_the_caller_says_is_not(registry, both, tmp_path):
    database = both[0][0].database
    database.back_up(tmp_path / "kept")
    cut = registry.set_alias("m", "champion", 2).position
    database.restore(tmp_path / "kept")
    until(lambda: registry.resolve("m@champion").number == 1)
    with pytest.raises(podium.OutOfRange) as unknown:
        registry.resolve("m@champion", at_least=cut)
    assert unknown.value.reason == "POSITION_UNKNOWN"
    registry._transport.seen.newest = cut
    with registry.watch("m@champion") as watch:
        snapshot = next(watch)
    assert (snapshot.restored, snapshot.references[0].target.number) == (True, 1)
    registry._transport.seen.newest = "nonsense"
    assert registry.resolve("m@champion").number == 1


# What is written down.


def test_a_follower_of_a_list_begins_with_what_it_had_last(both, tmp_path):
    servers, relays = both
    url = f"grpc://{list_of(relays)},{relays[0].address}"
    with podium.connect(url, cache=tmp_path / "cache") as registry, registry.follow("m@champion") as follower:
        path = follower._record.path
    assert json.loads(path.read_text())["address"] == list_of(relays)
    for server in servers:
        server.stop()
    with podium.connect(list_of(relays), cache=tmp_path / "cache") as registry, registry.follow("m@champion") as follower:
        assert (follower.state, follower.current.number) == (podium.State.STALE, 1)


def test_a_connection_on_which_a_call_had_no_answer_in_time_is_not_used_for_the_next(both):
    with podium.connect(both[1][0].address, timeout=2) as registry:
        registry.info()
        both[1][0].stall()
        with pytest.raises(podium.Unavailable, match="did not answer in time"):
            registry.info()
        assert registry.info().version
