"""A replica whose clock is an hour wrong, beside one whose clock is right: it changes nothing that is promised.

On PostgreSQL, whose clock is that of events and leases. With SQLite all is on one machine, which has one clock.
"""

import time
import uuid
from functools import partial

import grpc
import postgres
import pytest
from clocks import HOURS, wrong_clock
from conftest import Refusal
from replay import Replay, read_events
from streams import MIB, OpenUpload, chunks_of, header_of, until, upload
from wire import request_of

SLACK_SECONDS = 60  # far less than an hour

try:
    postgres.program("postgres")
    wrong_clock(HOURS[0])
except FileNotFoundError as missing:  # scripts/test says it aloud
    pytest.skip(str(missing), allow_module_level=True)


@pytest.fixture
def database():
    """The name of a database of this test alone."""
    name = f"clocks{uuid.uuid4().hex}"
    postgres.shared_server().run(f"CREATE DATABASE {name}")
    return name


@pytest.fixture(params=HOURS)
def replicas(request, start_server, database):
    """One with a wrong clock, which also makes the registry, and one with the right one."""
    url = ("--database", postgres.shared_server().url(database))
    wrong = start_server(*url, environment=wrong_clock(request.param))
    return wrong, start_server(*url)


def test_times_are_right_whoever_writes(replicas):
    began = time.time()
    for turn in range(6):
        stub = replicas[turn % 2].stub
        if turn < 2:
            stub.CreateModel(request_of("CreateModel", name=f"m{turn}"))
        stub.RegisterVersion(request_of("RegisterVersion", model=f"m{turn % 2}", record={"author": f"{turn}"}))
    written = time.mktime(time.strptime(replicas[0].output()[:19], "%Y-%m-%d %H:%M:%S"))
    assert abs(written - time.time()) > SLACK_SECONDS, "its clock is wrong, as its log shows"
    told = replicas[0].stub.GetServerInfo(request_of("GetServerInfo")).time.ToNanoseconds() / 1e9
    assert abs(told - time.time()) < SLACK_SECONDS
    events = read_events(replicas[1].stub)
    Replay(events).agree(replicas[0].stub)
    times = [event.time.ToNanoseconds() / 1e9 for event in events]
    for version in replicas[0].stub.ListVersions(request_of("ListVersions", model="m1")).versions:
        times += [version.create_time.ToNanoseconds() / 1e9, version.update_time.ToNanoseconds() / 1e9]
    assert began - SLACK_SECONDS < min(times) and max(times) < time.time() + SLACK_SECONDS


def test_a_lease_is_neither_taken_early_nor_held_for_an_hour(replicas, database):
    replicas[0].stub.CreateModel(request_of("CreateModel", name="m"))
    for one, other in (replicas, replicas[::-1]):
        content = one.address.encode().ljust(16) * (MIB // 8)
        with OpenUpload(one.stub, [header_of("m", content), chunks_of(content)[0]]):
            until(lambda: postgres.shared_server().run("SELECT 1 FROM upload WHERE lease != ''", database=database))
            refusal = refusal_of(other, content)
            assert refusal and refusal.reason == "UPLOAD_BUSY"
            assert 0 <= int(refusal.metadata["retry_after_seconds"]) <= 5
            # Its writer stands still from now on.
            until(partial(takes_over, other, content))


def takes_over(server, content):
    refusal = refusal_of(server, content)
    assert not refusal or refusal.reason == "UPLOAD_BUSY"
    return not refusal


def refusal_of(server, content):
    """Why an upload was refused; None if it came to its end."""
    try:
        assert upload(server.stub, "m", content).complete
    except grpc.RpcError as error:
        return Refusal(error)
    return None
