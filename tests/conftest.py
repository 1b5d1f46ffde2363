"""Real servers on loopback ports, with real folders, for every test."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import podium
import postgres
import pytest
from databases import database_of
from following import HEARTBEAT, FaultyRelay, name_of, push
from gcs_servers import FakeGcsServer, StrictFake
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status
from podium.v1.registry_service_pb2_grpc import RegistryServiceStub

READY_SECONDS = 30


def pytest_sessionfinish() -> None:
    """Nothing runs on."""
    if postgres.shared_server.cache_info().currsize:
        postgres.shared_server().close()


# A job in the background ignores it, and so would every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


class RunningServer:
    """A server process over a folder. It can be killed, stopped and started again; `address` changes with each start."""

    def __init__(self, data: Path, *options: str, environment: dict[str, str] | None = None, wait: bool = True) -> None:
        self.data = data
        self.options = options
        self.environment = environment or {}
        self.database = database_of(data)
        self.channel: grpc.Channel | None = None
        self.launch()
        if wait:
            self.await_ready()

    def start(self) -> None:
        """Starts the process and waits until it says that it is ready."""
        self.launch()
        self.await_ready()

    def launch(self) -> None:
        """Starts the process."""
        command = [
            sys.executable,
            "-m",
            "podium_server",
            "--data",
            str(self.data),
            "--listen",
            "127.0.0.1:0",
            *self.database.options,
            *self.options,
        ]
        self.data.parent.mkdir(parents=True, exist_ok=True)
        self.log = (self.data.parent / f"{self.data.name}.log").open("ab")
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self.log, text=True, env={**os.environ, **self.environment}
        )

    def await_ready(self) -> None:
        """Waits until the process says that it is ready."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], READY_SECONDS)
        line = self.process.stdout.readline() if ready else ""
        if " serving " not in line:
            self.process.kill()
            self.process.communicate()
            self.log.close()
            pytest.fail(f"the server did not start: {self.output()}")
        self.address = line.split()[3]
        self.channel = grpc.insecure_channel(self.address, options=[("grpc.use_local_subchannel_pool", 1)])
        self.stub = RegistryServiceStub(self.channel)

    def output(self) -> str:
        """What the server logged so far."""
        return (self.data.parent / f"{self.data.name}.log").read_text()

    def kill(self) -> None:
        """Ends the process at once, as a crash does."""
        self.end(signal.SIGKILL)

    def stop(self) -> None:
        """Ends the process in order."""
        self.end(signal.SIGTERM)

    def end(self, number: int) -> None:
        if self.channel:
            self.channel.close()
        self.process.send_signal(number)
        self.process.wait(60)
        self.close()

    def close(self) -> None:
        """Closes what a process that has ended wrote to."""
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.log.close()


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server for the tests of a file, with its `SERVER_OPTIONS` if it has some; they use names of their own."""
    options = getattr(request.module, "SERVER_OPTIONS", ())
    running = RunningServer(tmp_path_factory.mktemp("server") / "data", *options)
    yield running
    if running.process.returncode is None:
        running.stop()
    assert running.process.returncode == 0, running.output()
    assert "Traceback" not in running.output()


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., RunningServer]]:
    """Starts servers of this test alone: `start_server(*options)`, over `tmp_path / "data"` unless `data` says otherwise."""
    running: list[RunningServer] = []

    def start(*options: str, data: Path = tmp_path / "data", **how: Any) -> RunningServer:
        running.append(RunningServer(data, *options, **how))
        return running[-1]

    yield start
    for one in running:
        if one.process.returncode is None:
            one.kill()


@pytest.fixture
def model(request: pytest.FixtureRequest, server: RunningServer, tmp_path: Path) -> str:
    """The name of a model of the file's server with three versions, of which the first is champion."""
    name = name_of(request)
    _fill(server, name, tmp_path)
    return name


@pytest.fixture
def relay(server: RunningServer) -> Iterator[FaultyRelay]:
    """The server by way of a relay."""
    between = FaultyRelay(server.address)
    yield between
    between.close()


@pytest.fixture
def own(start_server: Callable[..., RunningServer], tmp_path: Path) -> Iterator[tuple[RunningServer, FaultyRelay]]:
    """A server of this test alone behind a relay, with a model `m` of three versions, of which the first is champion."""
    server = start_server(*HEARTBEAT)
    relay = FaultyRelay(server.address)
    _fill(server, "m", tmp_path)
    yield server, relay
    relay.close()


def _fill(server: RunningServer, name: str, folder: Path) -> None:
    with podium.connect(server.address) as registry:
        push(registry, name, folder, 3)
        registry.set_alias(name, "champion", 1)


@pytest.fixture
def stub(server: RunningServer) -> RegistryServiceStub:
    """The generated client of the file's server."""
    return server.stub


@pytest.fixture(scope="session")
def strict_gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StrictFake]:
    """The strict fake of Cloud Storage, for all tests that order no faults; they use prefixes of their own."""
    fake = StrictFake(tmp_path_factory.mktemp("gcs"))
    yield fake
    fake.kill()


@pytest.fixture(scope="session")
def fake_gcs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeGcsServer]:
    """fsouza's fake-gcs-server, for all tests; they use prefixes of their own."""
    fake = FakeGcsServer(tmp_path_factory.mktemp("fake-gcs-server"))
    yield fake
    fake.kill()


@pytest.fixture
def gcs(tmp_path: Path) -> Iterator[StrictFake]:
    """A strict fake of this test alone."""
    fake = StrictFake(tmp_path / "gcs")
    yield fake
    fake.kill()


class Refusal:
    """What an error carries: `code`, `message`, `reason`, `metadata`, `fields`."""

    def __init__(self, error: grpc.RpcError) -> None:
        self.code = error.code()
        self.message = error.details()
        self.fields: list[str] = []
        self.reason = ""
        self.metadata: dict[str, str] = {}
        for key, value in error.trailing_metadata() or ():
            if key == "grpc-status-details-bin":
                self._read(Status.FromString(value))

    def _read(self, status: Status) -> None:
        for detail in status.details:
            info, bad = ErrorInfo(), BadRequest()
            if detail.Unpack(info):
                assert info.domain == "podium"
                self.reason, self.metadata = info.reason, dict(info.metadata)
            elif detail.Unpack(bad):
                self.fields = [violation.field for violation in bad.field_violations]


@pytest.fixture
def refused() -> Callable[..., Refusal]:
    """`refused(call, request)`: makes a call that must fail, and returns how it did."""

    def call(method: Callable[..., object], *arguments: object, **options: object) -> Refusal:
        with pytest.raises(grpc.RpcError) as caught:
            result = method(*arguments, **options)
            if hasattr(result, "__next__"):
                list(result)
        refusal = Refusal(caught.value)
        assert refusal.code is not grpc.StatusCode.UNKNOWN
        return refusal

    return call
