"""Two replicas over one PostgreSQL and one bucket, each connection by way of a relay: clients - replica - PostgreSQL, bucket."""

import time
from pathlib import Path

import grpc
from conftest import RunningServer
from following import FaultyRelay
from gcs_servers import BUCKET, StrictFake
from podium.v1.events_pb2 import Event
from podium.v1.registry_service_pb2_grpc import RegistryServiceStub
from postgres import PostgresServer
from replay import read_events

HEARTBEAT = 0.5
SECONDS = 120.0
DATABASE = "registry"
OLDER = "older"


class Replica:
    """A server, and the relays to it and from it to the others."""

    def __init__(self, folder: Path, postgres: PostgresServer, bucket: StrictFake) -> None:
        self.to_postgres = FaultyRelay(postgres.address)
        self.to_bucket = FaultyRelay(bucket.address.removeprefix("http://"))
        self.server = RunningServer(
            folder / "data",
            *("--database", postgres.url(DATABASE, self.to_postgres.address), "--blobs", f"gs://{BUCKET}/chaos"),
            *("--heartbeat", str(HEARTBEAT), "--grace", "1"),
            environment={"STORAGE_EMULATOR_HOST": f"http://{self.to_bucket.address}"},
        )
        self.relay = FaultyRelay(self.server.address)

    def start(self) -> None:
        """Starts it again, where its clients find it."""
        self.server.start()
        self.relay.lead_to(self.server.address)
        self.relay.cut()

    def close(self) -> None:
        for relay in (self.relay, self.to_postgres, self.to_bucket):
            relay.thaw()
            relay.close()
        if self.server.process.returncode is None:
            self.server.kill()


class Cluster:
    """All of it. An epoch is the time of one history: it ends where PostgreSQL is replaced by an older copy of itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.postgres = PostgresServer()
        self.postgres.run(f"CREATE DATABASE {DATABASE}")
        self.bucket = StrictFake(folder / "gcs")
        self.replicas = [Replica(folder / name, self.postgres, self.bucket) for name in ("one", "two")]
        self.began = [time.monotonic()]
        self.ended: list[float] = []

    @property
    def epochs(self) -> list[tuple[float, float]]:
        """When each history began and ended."""
        return list(zip(self.began, [*self.ended, time.monotonic()], strict=True))

    def back_up(self) -> None:
        """Keeps the data of PostgreSQL, which does not run, as they are."""
        self.postgres.keep(OLDER)

    def fall_back(self) -> None:
        """PostgreSQL, which does not run, becomes what was kept last."""
        self.ended.append(time.monotonic())
        self.postgres.replace(OLDER, f"cut-{len(self.ended)}")
        self.began.append(time.monotonic())

    def past_histories(self) -> list[list[Event]]:
        """The logs that were cut, whole. The replicas must have ended."""
        histories = []
        for number in range(1, len(self.ended) + 1):
            self.postgres.end()
            self.postgres.replace(f"cut-{number}", f"after-{number}")
            self.postgres.start()
            server = RunningServer(self.folder / "past" / "data", "--database", self.postgres.url(DATABASE))
            histories.append(read_events(server.stub))
            server.stop()
        return histories

    def stop(self) -> list[str]:
        """Ends the replicas in order; what they logged that no server should."""
        for replica in self.replicas:
            replica.server.stop()
        return [replica.server.output() for replica in self.replicas if "Traceback" in replica.server.output()]

    def close(self) -> None:
        for replica in self.replicas:
            replica.close()
        self.bucket.kill()
        if self.postgres.process.returncode is None:
            self.postgres.kill()  # it may stand still
        self.postgres.close()


class Channels:
    """A client's own connections, one to each replica, which come back soon."""

    def __init__(self, addresses: list[str]) -> None:
        self._channels = [grpc.insecure_channel(address, options=OPTIONS) for address in addresses]
        self.stubs = [RegistryServiceStub(channel) for channel in self._channels]

    def close(self) -> None:
        for channel in self._channels:
            channel.close()


OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
]
