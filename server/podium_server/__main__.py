"""Reads the settings, builds everything, serves, drains, stops: all wiring is here."""

import asyncio
import logging
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from typing import NamedTuple, TypeVar

import click
import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_reflection.v1alpha import reflection

from podium_server import metrics, tracing
from podium_server.aliases import Aliases
from podium_server.artifacts import Artifacts
from podium_server.blobs import check_owner, open_store
from podium_server.blobs.base import BlobStore
from podium_server.blobs.errors import StoreError, StoreUnavailable
from podium_server.database import Database, open_database
from podium_server.dependencies import Dependency, Probe
from podium_server.errors import PodiumError
from podium_server.events import Events
from podium_server.feed import Feed
from podium_server.handlers import Handlers
from podium_server.info import Info
from podium_server.ledger import Ledger
from podium_server.lifecycles import Lifecycles
from podium_server.limits import MAX_MESSAGE_BYTES
from podium_server.logs import log_to_stderr
from podium_server.memory import keep_buffers
from podium_server.models import Models
from podium_server.ports import reserved
from podium_server.references import References
from podium_server.registration import Registration
from podium_server.resolve import Resolve
from podium_server.rows import Reader
from podium_server.service import SERVICE, add_service
from podium_server.settings import Settings, options
from podium_server.signing import Signing
from podium_server.stages import Stages
from podium_server.standby import Options, open_patiently
from podium_server.tailer import Tailer
from podium_server.threads import Threads
from podium_server.versions import Versions
from podium_server.view import Snapshot, View, load
from podium_server.watch import Watch
from podium_server.workers import announce, is_worker, supervise, told, when_parent_ends

log = logging.getLogger("podium_server")

T = TypeVar("T")

READ_THREADS = 8
TRANSFER_THREADS = 8
END_SECONDS = 5.0  # for commits under way when all calls have ended
HEALTH_NAMES = ("", SERVICE.full_name, "database", "blobs")
SWITCH_SECONDS = 0.001

OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # Clients may ping every 5 s without data; they do every 10 s.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    # A peer that has gone without a word does not hold its transfer for hours. What waits for a ping's answer is the ping's own
    # timeout: that of the keepalive has no effect in grpcio 1.85.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.http2.ping_timeout_ms", 20_000),
    # Flow control is the memory bound of a stalled stream: no growing window, a few MiB of look-ahead.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 2 << 20),
    # A chunk of 1 MiB is one frame and not 64.
    ("grpc.http2.max_frame_size", 1 << 20),
    # Calls that wait to be taken up: all watches of a fleet may come back in one moment, and those above are cancelled.
    ("grpc.server.max_pending_requests", 20_000),
    ("grpc.server.max_pending_requests_hard_limit", 20_000),
)


class Opened(NamedTuple):
    """What is there before the server begins to serve."""

    database: Database
    snapshot: Snapshot
    lifecycles: Lifecycles
    store: BlobStore


async def serve(settings: Settings, worker: int = 0, *, others_serve: bool = False) -> None:
    """Serves until SIGTERM or SIGINT, then lets transfers finish within the grace. A worker has a number, and a parent."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    if worker:
        when_parent_ends(stopping.set)
    else:
        with reserved(settings.listen):
            pass
    _allow_connections()
    settings.data.mkdir(parents=True, exist_ok=True)
    if settings.metrics:
        metrics.serve(settings.metrics, worker)
    # Otherwise two servers bind one port without a word.
    server_options = (*OPTIONS, ("grpc.so_reuseport", int(worker > 0)))
    if settings.database.startswith("postgresql:") or settings.blobs.startswith("gs:"):  # which others operate
        names = () if others_serve else HEALTH_NAMES  # it would get a share of their calls
        found = await open_patiently(partial(_open, settings), settings.listen, server_options, names, stopping)
    else:
        found = _open(settings), settings.listen
    if found is not None:
        await _serve(settings, *found, server_options, stopping)


def _open(settings: Settings) -> Opened:
    database = open_database(settings.database)
    snapshot = database.read(lambda: load(database))
    lifecycles = database.read(lambda: Lifecycles(database))
    store = open_store(settings.blobs)
    with suppress(StoreUnavailable):  # it may come later, as it may go
        check_owner(store, snapshot.registry)
    return Opened(database, snapshot, lifecycles, store)


async def _serve(settings: Settings, opened: Opened, address: str, server_options: Options, stopping: asyncio.Event) -> None:
    database, snapshot, lifecycles, store = opened
    log.info("database %s, %s", database.description, database.place)
    loop = asyncio.get_running_loop()
    reads = Threads(READ_THREADS, "read")
    dependencies = Dependency("database"), Dependency("blobs")
    standing, blobs_standing = dependencies

    async def read(question: Callable[[Reader], T]) -> T:
        standing.check()
        with tracing.span("database read"), metrics.READ_SECONDS.time():
            return await loop.run_in_executor(reads, lambda: database.read(lambda: question(database)))

    feed = Feed()
    view = View(snapshot, feed, read)
    ledger = Ledger(database, standing, view)
    tailer = Tailer(database, standing, view, ledger)
    probe = Probe(blobs_standing, lambda: check_owner(store, view.registry))
    references = References(lifecycles)
    resolve = Resolve(view, lifecycles, read)
    transfers = Threads(TRANSFER_THREADS, "transfer")
    artifacts = Artifacts(database, ledger, store, transfers, resolve.find_target, read)
    nouns = (
        Models(database, ledger, lifecycles),
        Registration(ledger, lifecycles, references),
        Versions(database, ledger),
        resolve,
        artifacts,
        Signing(store, resolve.find_target, read),
        Stages(ledger, lifecycles, references),
        Aliases(database, ledger, references),
        Events(database),
        Watch(view, feed, settings.heartbeat, reads, read, standing),
        Info(database, view, lifecycles, store, settings.blobs.partition(":")[0]),
    )
    server = grpc.aio.server(options=server_options)
    add_service(server, Handlers(view, read), nouns)
    tracing.start()
    healthy = await _add_companions(server)
    telling = [loop.create_task(one.watch(healthy.set)) for one in dependencies]
    port = server.add_insecure_port(address)
    await server.start()
    announce(f"podium {version('podium')} serving {address.rpartition(':')[0]}:{port}  data {settings.data}")
    await stopping.wait()
    log.info("stopping: calls under way have %g s", settings.grace)
    for task in telling:
        task.cancel()
    await healthy.enter_graceful_shutdown()
    feed.close()
    await server.stop(settings.grace)
    ending = loop.create_task(_end(artifacts, tailer, ledger, probe))
    done, _ = await asyncio.wait([ending], timeout=END_SECONDS)
    if not done:
        log.error("the database does not answer: what waits for it is given up")
        database.abandon()
    await ending
    database.close_all()
    tracing.stop()


async def _end(artifacts: Artifacts, tailer: Tailer, ledger: Ledger, probe: Probe) -> None:
    await artifacts.close()
    await asyncio.to_thread(tailer.close)
    await ledger.close()
    probe.close()


async def _add_companions(server: grpc.aio.Server) -> health.aio.HealthServicer:
    """Adds grpc.health.v1 and server reflection."""
    healthy = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    reflection.enable_server_reflection((SERVICE.full_name, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    for name in ("", SERVICE.full_name):
        await healthy.set(name, HealthCheckResponse.SERVING)
    return healthy


def _allow_connections() -> None:
    """Lets this process have as many connections open as the system allows: the default is for programs that use select(2)."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def run(settings: Settings, worker: int = 0, *, others_serve: bool = False) -> None:
    """Serves a registry until the process is told to end."""
    keep_buffers()
    log_to_stderr(settings.log_level, settings.log_format, worker)
    # The writer and the event loop take turns: Python's default of 5 ms would be most of a mutation's time.
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        if settings.workers > 1 and not worker:
            raise SystemExit(asyncio.run(supervise(settings)))
        asyncio.run(serve(settings, worker, others_serve=others_serve))
    except OSError as error:
        raise SystemExit(f"podium serve: {error.filename}: {error.strerror}") from None
    except (PodiumError, StoreError) as error:
        raise SystemExit(f"podium serve: {error}") from None


@click.command("podium serve", params=options())
@click.pass_context
def main(context: click.Context, /, **_given: object) -> None:
    """Serves a registry."""
    run(Settings.of(context))


if __name__ == "__main__":
    if is_worker():
        try:
            settings, worker, others_serve = told()
            run(settings, worker, others_serve=others_serve)
        except SystemExit as end:
            # Python writes a last message and the end of its line in two: between them comes another worker's.
            if isinstance(end.code, str):
                sys.stderr.write(f"{end.code}\n")
                raise SystemExit(1) from None
            raise
    else:
        main()
