"""The database or the bucket is away at start, goes, stands still, comes back, cannot be written, or is another's.

Each shows what is said, what still works, and that nobody has to do anything once it is back.
"""

import math
import os
import shutil
import signal

import grpc
import postgres
import psycopg
import pytest
from conftest import Refusal
from disks import SmallDisk
from free_ports import free_port
from gcs_servers import BUCKET
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from metrics_page import SHOWN, Page
from podium.v1.registry_service_pb2_grpc import RegistryServiceStub
from streams import until
from test_postgres import champion, set_alias
from watching import Watching
from wire import request_of

SECONDS = 60
SERVICE = "podium.v1.RegistryService"
OK, AWAY = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING

try:
    postgres.program("postgres")
except FileNotFoundError as error:
    pytest.skip(str(error), allow_module_level=True)


@pytest.fixture(scope="module")
def database():
    """A server of PostgreSQL."""
    server = postgres.PostgresServer()
    yield server
    server.close()


@pytest.fixture
def url(database, request):
    """The URL of a database of this test."""
    name = request.node.name.removeprefix("test_")[:50]
    database.run(f'CREATE DATABASE "{name}"')
    return database.url(name)


@pytest.fixture
def served(start_server, url):
    """A server over it, and a model with two versions, of which the first is champion."""
    server = start_server("--database", url, "--heartbeat", "0.3", "--grace", "1")
    fill(server.stub)
    return server


def fill(stub):
    stub.CreateModel(request_of("CreateModel", name="m"))
    for number in (1, 2):
        stub.RegisterVersion(request_of("RegisterVersion", model="m", record={"author": f"{number}"}))
    stub.SetAlias(request_of("SetAlias", reference="m:1", alias="champion"))


def await_health(channel, name, status):
    """Waits until health says so."""
    stub = health_pb2_grpc.HealthStub(channel)
    states = stub.Watch(health_pb2.HealthCheckRequest(service=name), timeout=SECONDS, wait_for_ready=True)
    assert any(state.status == status for state in states)
    states.cancel()


def health(channel, name):
    return health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=name)).status


def refusal(call, *arguments):
    with pytest.raises(grpc.RpcError) as refused:
        call(*arguments)
    return refused.value.code(), Refusal(refused.value).reason


UNAVAILABLE = (StatusCode.UNAVAILABLE, "STORAGE_UNAVAILABLE")


class Waiting:
    """A server that is not ready yet, at an address that is known."""

    def __init__(self, start_server, *options, **how):
        address = f"127.0.0.1:{free_port()}"
        self.server = start_server(*options, "--listen", address, wait=False, **how)
        self.channel = grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        self.stub = RegistryServiceStub(self.channel)

    def is_refused(self, said):
        """It says so in a line of its log, and to whoever asks."""
        for name in ("", SERVICE, "database"):
            await_health(self.channel, name, AWAY)
        assert refusal(self.stub.GetServerInfo, request_of("GetServerInfo")) == UNAVAILABLE
        asked = self.stub.GetServerInfo.future(request_of("GetServerInfo"), metadata=(("x-request-id", "early"),))
        assert ("x-request-id", "early") in asked.trailing_metadata()
        assert refusal(self.stub.SetAlias, request_of("SetAlias", reference="m:1", alias="a")) == UNAVAILABLE
        (line,) = [line for line in self.server.output().splitlines() if "standby: not ready" in line]
        assert said in line

    def becomes_ready(self):
        self.server.await_ready()
        await_health(self.channel, SERVICE, OK)
        await_health(self.channel, "database", OK)
        self.channel.close()
        assert "Traceback" not in self.server.output()
        return self.server


def test_a_database_away_at_start(start_server, database, url):
    database.end()
    try:
        waiting = Waiting(start_server, "--database", url, *SHOWN)
        waiting.is_refused(f"postgresql://127.0.0.1:{database.port}/")
        assert Page(waiting.server).value("podium_view_lag_seconds") == math.inf
    finally:
        database.start()
    fill(waiting.becomes_ready().stub)
    until(lambda: Page(waiting.server).value("podium_view_lag_seconds") < 1)


@pytest.mark.parametrize("port", ["1", "port"])
def test_no_password_is_told(start_server, port):
    waiting = Waiting(start_server, environment={"PODIUM_SERVE_DATABASE": f"postgresql://podium:secret@127.0.0.1:{port}/registry"})
    waiting.is_refused(f"postgresql://127.0.0.1:{port}/registry cannot be opened")
    waiting.channel.close()
    waiting.server.stop()
    assert "secret" not in waiting.server.output()


def test_a_server_that_waits_for_its_database_ends_when_told(start_server):
    waiting = Waiting(start_server, "--database", "postgresql://podium@127.0.0.1:1/registry")
    waiting.is_refused("postgresql://127.0.0.1:1/registry cannot be opened")
    waiting.channel.close()
    waiting.server.stop()
    assert waiting.server.process.returncode == 0


def test_a_database_that_does_not_answer_at_start(start_server, served, url, tmp_path):
    served.stop()
    with psycopg.connect(url) as holder:
        holder.execute("LOCK TABLE model IN ACCESS EXCLUSIVE MODE")
        ended, waiting = (Waiting(start_server, "--database", url, data=tmp_path / name) for name in ("ended", "data"))
        for server in (ended, waiting):
            server.is_refused("opening the registry takes more than 5 s")
        ended.channel.close()
        ended.server.stop()
        assert ended.server.process.returncode == 0
    assert champion(waiting.becomes_ready()) == 1


def test_a_newer_schema_at_start(start_server, database, served, url):
    name = url.rpartition("/")[2]
    served.stop()
    database.run("INSERT INTO schema_migration (name, applied) VALUES ('9999_later', now())", database=name)
    waiting = Waiting(start_server, "--database", url)
    waiting.is_refused("made by a newer server (it has 9999_later)")
    database.run("DELETE FROM schema_migration WHERE name = '9999_later'", database=name)
    assert champion(waiting.becomes_ready()) == 1


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["stopped", "crashed"])
def test_a_database_that_goes_and_comes_back(served, database, how):
    with Watching(served.stub) as watch:
        watch.snapshot()
        database.end(how)
        assert champion(served) == 1, "what is in memory is answered"
        assert refusal(set_alias, served, 2) == UNAVAILABLE
        await_health(served.channel, "database", AWAY)
        assert health(served.channel, SERVICE) == OK
        database.start()
        await_health(served.channel, "database", OK)
        position = set_alias(served, 2)
        assert champion(served, at_least=position) == 2
        assert watch.end().code() is StatusCode.UNAVAILABLE
    with Watching(served.stub, position=watch.position) as again:
        assert [event.after.target.number for event in again.events(1)] == [2]
    assert "Traceback" not in served.output()


def test_a_database_that_stands_still(served, database):
    with Watching(served.stub) as watch:
        watch.snapshot()
        database.pause()
        try:
            await_health(served.channel, "database", AWAY)
            assert health(served.channel, SERVICE) == health(served.channel, "") == OK
            assert champion(served) == 1, "what is in memory is answered"
            assert refusal(set_alias, served, 2) == UNAVAILABLE
            assert refusal(served.stub.GetModel, request_of("GetModel", name="m")) == UNAVAILABLE
            assert watch.end().code() is StatusCode.UNAVAILABLE, "it cannot vouch that there is nothing new"
        finally:
            database.go_on()
    await_health(served.channel, "database", OK)
    with Watching(served.stub, position=watch.position) as again:
        set_alias(served, 2)
        assert [event.after.target.number for event in again.events(1)] == [2]
    assert "the database cannot be used: it has not answered for 3 s" in served.output()
    assert "the database can be used again" in served.output()


def test_a_server_ends_when_told_while_its_database_stands_still(served, database):
    database.pause()
    try:
        asked = served.stub.SetAlias.future(request_of("SetAlias", reference="m:2", alias="champion"))
        read = served.stub.GetModel.future(request_of("GetModel", name="m"))
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(SECONDS) == 0
        served.close()
        assert {asked.exception().code(), read.exception().code()} <= {StatusCode.UNAVAILABLE, StatusCode.CANCELLED}
    finally:
        database.go_on()
    assert "what waits for it is given up" in served.output()


def test_a_database_that_cannot_be_written(served, database):
    """As a copy is that a failover has not made the first one yet."""
    database.end()
    standby = database.folder / "data" / "standby.signal"
    standby.touch()
    database.start()
    try:
        until(lambda: "the database cannot be used: cannot execute LISTEN during recovery" in served.output())
        assert health(served.channel, "database") == AWAY
        assert champion(served) == 1
        assert refusal(set_alias, served, 2) == UNAVAILABLE
    finally:
        database.end()
        standby.unlink()
        database.start()
    await_health(served.channel, "database", OK)
    assert champion(served, at_least=set_alias(served, 2)) == 2


def test_a_database_that_is_full(start_server, database):
    folder = database.folder / "small"
    disk = SmallDisk(folder, 64 << 20)
    if not disk.mounted:
        disk.close()
        pytest.fail("a file system of its own cannot be mounted, which takes root")
    try:
        shutil.chown(folder, "postgres")
        database.run(f"CREATE TABLESPACE small LOCATION '{folder}'")
        database.run("CREATE DATABASE small TABLESPACE small")
        server = start_server("--database", database.url("small"))
        fill(server.stub)
        with (folder / "ballast").open("wb") as ballast, pytest.raises(OSError, match="No space"):
            while True:
                os.write(ballast.fileno(), bytes(1 << 12))
        code, reason = StatusCode.OK, ""
        for number in range(10_000):
            record = {"params": [{"name": f"p{place}", "string_value": "x" * 200} for place in range(50)]}
            try:
                server.stub.RegisterVersion(request_of("RegisterVersion", model="m", record=record, version=f"2.0.{number}"))
            except grpc.RpcError as error:
                code, reason = error.code(), Refusal(error).reason
                break
        assert (code, reason) == (StatusCode.RESOURCE_EXHAUSTED, "STORAGE_FULL")
        assert champion(server) == 1
        (folder / "ballast").unlink()
        assert champion(server, at_least=set_alias(server, 2)) == 2
        server.stop()
        database.run("DROP DATABASE small")
        database.run("DROP TABLESPACE small")
    finally:
        disk.close()


def test_the_database_of_another_registry(start_server, served, database, url, tmp_path):
    name = url.rpartition("/")[2]
    database.run("CREATE DATABASE other")
    other = start_server("--database", database.url("other"), data=tmp_path / "other")
    other.stub.CreateModel(request_of("CreateModel", name="theirs"))
    other.stop()
    exchange(database, name, "kept", "other", name)
    await_health(served.channel, "database", AWAY)
    assert champion(served) == 1
    assert refusal(set_alias, served, 2) == UNAVAILABLE
    assert refusal(served.stub.GetModel, request_of("GetModel", name="theirs")) == UNAVAILABLE
    until(lambda: "that of another registry" in served.output())
    assert database.run("SELECT revision FROM head", database=name) == [(1,)], "nothing was written to it"
    exchange(database, name, "other", "kept", name)
    await_health(served.channel, "database", OK)
    assert champion(served, at_least=set_alias(served, 2)) == 2


def exchange(database, *names):
    """Renames databases: each to the next, by pairs."""
    for old, new in zip(names[::2], names[1::2], strict=True):
        database.run(f'ALTER DATABASE "{old}" ALLOW_CONNECTIONS false')
        database.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", old)
        database.run(f'ALTER DATABASE "{old}" RENAME TO "{new}"')
    for new in names[1::2]:
        database.run(f'ALTER DATABASE "{new}" ALLOW_CONNECTIONS true')


# The bucket


@pytest.fixture
def bucket(start_server, strict_gcs):
    """A server over the strict fake's bucket, and the fake."""
    return start_server("--blobs", f"gs://{BUCKET}/outages", environment=strict_gcs.environment), strict_gcs


def test_a_bucket_that_goes_and_comes_back(bucket):
    server, fake = bucket
    await_health(server.channel, "blobs", OK)
    fake.set_away(away=True)
    await_health(server.channel, "blobs", AWAY)
    assert health(server.channel, SERVICE) == health(server.channel, "database") == OK
    fill(server.stub)
    assert champion(server) == 1, "what needs no bytes works"
    fake.set_away(away=False)
    await_health(server.channel, "blobs", OK)
    assert f"the blobs cannot be used: the bucket {BUCKET} is not there" in server.output()


def test_a_bucket_away_at_start(start_server, strict_gcs):
    strict_gcs.kill()
    server = start_server("--blobs", f"gs://{BUCKET}/start", environment=strict_gcs.environment)
    await_health(server.channel, "blobs", AWAY)
    strict_gcs.start()
    await_health(server.channel, "blobs", OK)


def test_the_blobs_of_another_registry(start_server, strict_gcs, tmp_path):
    options = ("--blobs", f"gs://{BUCKET}/both")
    start_server(*options, environment=strict_gcs.environment).stop()
    waiting = Waiting(start_server, *options, data=tmp_path / "other", environment=strict_gcs.environment)
    waiting.is_refused("the blobs are those of another registry")
    waiting.channel.close()
    waiting.server.stop()
