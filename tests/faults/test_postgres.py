"""Servers over one PostgreSQL database, which is restarted, cut off, and not there."""

import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from functools import partial

import grpc
import podium
import postgres
import pytest
from conftest import Refusal, RunningServer
from following import push, reaches
from grpc import StatusCode
from metrics_page import SHOWN, Page
from outages import patiently
from podium import State
from replay import Replay, read_events
from streams import until
from test_workers import see_that_each_shows_what_the_other_acknowledged
from watching import Watching
from wire import request_of

SECONDS = 60

try:
    postgres.program("postgres")
except FileNotFoundError as missing:  # scripts/install-postgresql says it aloud
    pytest.skip(str(missing), allow_module_level=True)


@pytest.fixture
def database():
    """A server of PostgreSQL of this test alone."""
    server = postgres.PostgresServer()
    server.run("CREATE DATABASE registry")
    yield server
    server.close()


@pytest.fixture
def replicas(start_server, database):
    """Two servers over one database, and a model with two versions, of which the first is champion."""
    one, other = (start_server("--database", database.url("registry"), "--heartbeat", "0.3") for _ in range(2))
    one.stub.CreateModel(request_of("CreateModel", name="m"))
    for number in (1, 2):
        one.stub.RegisterVersion(request_of("RegisterVersion", model="m", record={"author": f"{number}"}))
    assert champion(other, at_least=set_alias(one, 1)) == 1
    return one, other


def set_alias(server: RunningServer, number: int) -> str:
    """Moves the champion; the position."""
    return server.stub.SetAlias(request_of("SetAlias", reference=f"m:{number}", alias="champion"), timeout=SECONDS).position


def champion(server: RunningServer, at_least: str = "") -> int:
    reply = server.stub.ResolveVersion(request_of("ResolveVersion", reference="m@champion", at_least=at_least))
    return reply.target.number


def test_each_shows_what_the_other_acknowledged(replicas):
    one, other = replicas
    with Watching(other.stub) as watch:
        watch.snapshot()
        for turn in range(20):
            writes, reads = (one, other) if turn % 2 else (other, one)
            number = 2 - turn % 2
            assert champion(reads, at_least=set_alias(writes, number)) == number
        assert [event.after.target.number for event in watch.events(20)] == [2, 1] * 10
    Replay(read_events(one.stub)).agree(other.stub)


def test_workers_are_replicas_on_one_machine(start_server, database):
    see_that_each_shows_what_the_other_acknowledged(start_server("--database", database.url("registry"), "--workers", "2"))


def test_a_connection_that_is_cut_is_not_noticed(replicas, database):
    for turn in range(3):
        database.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'registry'")
        for server, other in (replicas, replicas[::-1]):
            position = set_alias(server, 1 + turn % 2)
            server.stub.GetModel(request_of("GetModel", name="m"))
            assert champion(other, at_least=position) == 1 + turn % 2  # it follows again: two cuts in a row would be an outage
    assert "Traceback" not in replicas[0].output() + replicas[1].output()


def test_the_metrics_tell_how_far_a_server_may_be_behind(start_server, database):
    server = start_server("--database", database.url("registry"), *SHOWN)
    until(lambda: Page(server).value("podium_view_lag_seconds") < 1)
    database.end(signal.SIGINT)
    until(lambda: Page(server).value("podium_view_lag_seconds") > 2)
    until(lambda: Page(server).value("podium_storage_errors_total", seen_by="tailer"))
    database.start()
    until(lambda: Page(server).value("podium_view_lag_seconds") < 1)


def test_a_server_that_is_killed_holds_nobody_up(replicas):
    one, other = replicas
    asked = [one.stub.SetAlias.future(request_of("SetAlias", reference="m:2", alias=f"a{turn}")) for turn in range(50)]
    one.kill()
    assert champion(other, at_least=set_alias(other, 2)) == 2
    replay = Replay(read_events(other.stub))
    replay.agree(other.stub)
    assert {call.code() for call in asked} <= {StatusCode.OK, StatusCode.UNAVAILABLE, StatusCode.CANCELLED}


def test_a_server_that_stands_still_holds_nobody_up(replicas, database):
    one, other = replicas

    def holds_the_head() -> bool:
        found = database.run(
            "SELECT 1 FROM pg_locks WHERE mode = 'RowShareLock' AND relation = 'head'::regclass", database="registry"
        )
        return bool(found)

    for turn in range(1000):
        asked = [one.stub.SetAlias.future(request_of("SetAlias", reference="m:2", alias=f"a{turn % 40}")) for _ in range(20)]
        one.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, one.process.pid, os.WSTOPPED | os.WNOWAIT)
        if holds_the_head():
            break
        one.process.send_signal(signal.SIGCONT)
        assert [call.result(SECONDS) for call in asked]
    assert holds_the_head(), "it was never amid a change"
    try:
        assert champion(other, at_least=set_alias(other, 2)) == 2
    finally:
        one.process.send_signal(signal.SIGCONT)


def test_an_older_copy_of_the_database_that_goes_on(start_server, database, tmp_path):
    """Replicas, watches and followers of both learn that history was cut, and none mixes the two."""
    servers = [start_server("--database", database.url("registry"), "--heartbeat", "0.3") for _ in range(2)]
    with ExitStack() as stack:
        clients = [stack.enter_context(podium.connect(server.address, cache=tmp_path / f"{server.address}")) for server in servers]
        push(clients[0], "m", tmp_path, 3)
        clients[0].set_alias("m", "champion", 1)
        database.end()
        database.keep("older")
        database.start()
        assert [patiently(partial(read, server)) for server in servers] == [1, 1]
        watches = [stack.enter_context(Watching(server.stub)) for server in servers]
        followers = [stack.enter_context(client.follow("m@champion")) for client in clients]
        assert [watch.snapshot()["m@champion"].target.number for watch in watches] == [1, 1]
        lost = [patiently(partial(set_alias, servers[turn % 2], 2 - turn % 2)) for turn in range(10)]
        lost.append(set_alias(servers[0], 2))
        for watch, follower in zip(watches, followers, strict=True):
            watch.reach(lost[-1])
            reaches(follower, 2)
        database.end()
        database.replace("older", aside="cut")
        database.start()
        for server, watch, follower in zip(servers, watches, followers, strict=True):
            assert Refusal(watch.end()).reason in ("POSITION_UNKNOWN", "STORAGE_UNAVAILABLE")  # whichever it noticed first
            reaches(follower, lambda one: one.state is State.RESTORED and one.current.number == 1)
            assert patiently(partial(read, server)) == champion(server) == 1
        for turn in range(20):  # beyond the revisions that were lost
            fresh = set_alias(servers[turn % 2], 3 - 2 * (turn % 2))
            assert champion(servers[1 - turn % 2], at_least=fresh) == 3 - 2 * (turn % 2)
        fresh = set_alias(servers[0], 3)
        for server, follower in zip(servers, followers, strict=True):
            for position in lost:
                resumed = server.stub.Watch(request_of("Watch", position=position))
                for call in (partial(champion, server, position), partial(list, resumed)):
                    with pytest.raises(grpc.RpcError) as refused:
                        call()
                    assert (refused.value.code(), Refusal(refused.value).reason) == (StatusCode.OUT_OF_RANGE, "POSITION_UNKNOWN")
            with Watching(server.stub, at_least=fresh) as again:
                assert again.snapshot()["m@champion"].target.number == 3
            reaches(follower, lambda one: one.state is State.CONNECTED and one.current.number == 3)
            Replay(read_events(server.stub)).agree(server.stub)


def read(server: RunningServer) -> int:
    """What the champion is by the database."""
    return server.stub.GetVersion(request_of("GetVersion", reference="m@champion")).version.number


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://podium:secret@[::1/registry", "the URL of the database is none that libpq reads"),
        ("mysql://podium:secret@127.0.0.1/registry", "--database is not sqlite:///PATH"),
        ("sqlite://relative.db", "--database is not sqlite:///PATH"),
        ("host=db user=podium password=secret", "--database is not sqlite:///PATH"),
    ],
)
def test_a_database_that_is_none_is_said_in_one_line_without_its_password(tmp_path, url, says):
    command = [sys.executable, "-m", "podium_server", "--data", tmp_path, "--listen", "127.0.0.1:0"]
    environment = {**os.environ, "PODIUM_SERVE_DATABASE": url}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False, env=environment)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"podium serve: {says}")
    assert "secret" not in ended.stderr
    assert "Traceback" not in ended.stderr


def test_names_sort_by_bytes_whatever_the_locale(start_server, database):
    database.run("CREATE DATABASE other LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LOCALE 'C' TEMPLATE template0")
    server = start_server("--database", database.url("other"))
    names = ["a", "B", "a-b", "ab", "A/b", "Z", "_z", "z"]
    made = [name for name in names if not refused_name(server, name)]
    listed = server.stub.ListModels(request_of("ListModels")).models
    assert [model.name for model in listed] == sorted(made)
    assert len(made) > 4


def refused_name(server: RunningServer, name: str) -> bool:
    try:
        server.stub.CreateModel(request_of("CreateModel", name=name))
    except grpc.RpcError as error:
        assert error.code() is StatusCode.INVALID_ARGUMENT
        return True
    return False


def test_what_the_url_says_counts(start_server, database, tmp_path):
    """And a schema of one's own keeps two registries apart in one database."""
    for schema in ("one", "other"):
        database.run(f"CREATE SCHEMA {schema}", database="registry")
    url = database.url("registry") + "?application_name=ours&options=-csearch_path%3D"
    one, other = (start_server("--database", url + name, data=tmp_path / name) for name in ("one", "other"))
    one.stub.CreateModel(request_of("CreateModel", name="m"))
    assert [model.name for model in one.stub.ListModels(request_of("ListModels")).models] == ["m"]
    assert not other.stub.ListModels(request_of("ListModels")).models
    assert database.run("SELECT 1 FROM pg_stat_activity WHERE application_name = 'ours'")


def test_a_description_says_which_database_it_is(replicas):
    info = replicas[0].stub.GetServerInfo(request_of("GetServerInfo"))
    assert info.database.startswith("postgresql 1")
