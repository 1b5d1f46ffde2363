"""Reads the settings, builds everything, serves, drains, stops: all wiring is here."""

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import TypeVar

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from podium_server.aliases import Aliases
from podium_server.artifacts import Artifacts
from podium_server.blobs import open_store
from podium_server.database import open_database
from podium_server.errors import PodiumError
from podium_server.events import Events
from podium_server.handlers import Handlers
from podium_server.info import Info
from podium_server.ledger import Ledger
from podium_server.lifecycles import Lifecycles
from podium_server.limits import MAX_MESSAGE_BYTES
from podium_server.models import Models
from podium_server.references import References
from podium_server.registration import Registration
from podium_server.resolve import Resolve
from podium_server.service import SERVICE, add_service
from podium_server.settings import Settings
from podium_server.stages import Stages
from podium_server.tables import Reader
from podium_server.tailer import Tailer
from podium_server.versions import Versions
from podium_server.view import View, load

log = logging.getLogger("podium_server")

T = TypeVar("T")

READ_THREADS = 8
TRANSFER_THREADS = 8
SWITCH_SECONDS = 0.001

OPTIONS = (
    # Otherwise two servers bind one port without a word.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # Clients may ping every 20 s without data; they do every 30 s.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 20_000),
    # Flow control is the memory bound of a stalled stream: no growing window, a few MiB of look-ahead.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 4 << 20),
)


class Server:
    """A registry that is being served."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def run(self) -> None:
        """Serves until SIGTERM or SIGINT, then lets transfers finish within the grace."""
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
        await self._start()
        await stopping.wait()
        await self._stop()

    async def _start(self) -> None:
        settings = self._settings
        _check_free(settings.listen)
        settings.data.mkdir(parents=True, exist_ok=True)
        database = self._database = open_database(settings.data)
        reads = ThreadPoolExecutor(READ_THREADS, "read")
        transfers = ThreadPoolExecutor(TRANSFER_THREADS, "transfer")

        async def read(question: Callable[[Reader], T]) -> T:
            return await asyncio.get_running_loop().run_in_executor(reads, lambda: database.read(lambda: question(database)))

        view = View(database.read(lambda: load(database)), read)
        lifecycles = database.read(lambda: Lifecycles(database))
        ledger = self._ledger = Ledger(database, view)
        self._tailer = Tailer(database, view, ledger)
        url = f"file://{(settings.data / 'blobs').resolve()}"
        store = open_store(url)
        references = References(lifecycles)
        resolve = Resolve(view, lifecycles, read)
        nouns = (
            Models(database, ledger, lifecycles),
            Registration(ledger, lifecycles, references),
            Versions(database, ledger),
            resolve,
            Artifacts(database, ledger, store, transfers, resolve.find_target, read),
            Stages(ledger, lifecycles, references),
            Aliases(database, ledger, references),
            Events(database),
            Info(database, view, lifecycles, store, url.partition(":")[0]),
        )
        server = self._server = grpc.aio.server(options=OPTIONS)
        add_service(server, Handlers(database, view, reads), nouns)
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection((SERVICE.full_name, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        port = server.add_insecure_port(settings.listen)
        await server.start()
        for name in ("", SERVICE.full_name):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        host = settings.listen.rpartition(":")[0]
        print(f"podium {version('podium')} serving {host}:{port}  data {settings.data}", flush=True)

    async def _stop(self) -> None:
        log.info("stopping: calls under way have %g s", self._settings.grace_seconds)
        await self._health.enter_graceful_shutdown()
        await self._server.stop(self._settings.grace_seconds)
        self._tailer.close()
        await self._ledger.close()
        self._database.close_all()


def _check_free(address: str) -> None:
    """Says in one line that a port is taken, which gRPC says in many."""
    host, _, port = address.rpartition(":")
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        raise SystemExit(f"podium serve: cannot listen on {address}: {error.strerror}") from None


def main(arguments: list[str] | None = None) -> None:
    """Serves a registry; `arguments` as on the command line."""
    settings = Settings.parse(arguments)
    logging.basicConfig(
        level=settings.log_level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("peewee").setLevel(logging.WARNING)  # it would log every statement
    # The writer and the event loop take turns: Python's default of 5 ms would be most of a mutation's time.
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        asyncio.run(Server(settings).run())
    except (PodiumError, OSError) as error:
        raise SystemExit(f"podium serve: {error}") from None


if __name__ == "__main__":
    main()
