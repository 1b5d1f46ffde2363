"""One channel a process to one server: address, deadlines, retries, identity, and errors as exceptions of our own."""

import getpass
import json
import os
import re
import socket
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple, Protocol, TypeAlias, TypeVar

import grpc

from podium.errors import InvalidArgument, PodiumError, Unavailable, from_status
from podium.forks import turns
from podium.transfers import Crew, Patience
from podium.v1.artifacts_pb2 import DownloadArtifactRequest, UploadBlobResponse
from podium.v1.registry_service_pb2 import DESCRIPTOR
from podium.v1.registry_service_pb2_grpc import RegistryServiceStub
from podium.v1.watch_pb2 import WatchRequest, WatchResponse
from podium.watchdog import Guard, Left, Receiver

DEFAULT_ADDRESS = "127.0.0.1:7070"
# A stream that runs longer is cut and goes on where it stopped: this bounds only how long a stuck server is waited for.
STREAM_SECONDS = 600.0
MAX_ACTOR_BYTES = 256

_SERVICE = DESCRIPTOR.services_by_name["RegistryService"]
_STREAMS = [method.name for method in _SERVICE.methods if method.client_streaming or method.server_streaming]
_UNARY = [method.name for method in _SERVICE.methods if method.name not in _STREAMS]

# Every unary call may be repeated: a read changes nothing, a mutation carries a request id. Streams are resumed instead.
_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{"service": _SERVICE.full_name, "method": name} for name in _UNARY],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.05s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}
_OPTIONS = [
    ("grpc.primary_user_agent", "podium-python"),
    ("grpc.max_receive_message_length", 4 << 20),
    ("grpc.max_send_message_length", 4 << 20),
    # A chunk of 1 MiB is one frame and not 64.
    ("grpc.http2.max_frame_size", 1 << 20),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    # A server that was restarted is found again soon.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Connections are not shared between channels: a forked child would get its parent's.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
]
_ADDRESS = re.compile(r"(?:grpc://)?((?:[^\s/:@\[\]]+|\[[0-9A-Fa-f:.%]+\]):([0-9]{1,5}))/?")
_LOOPBACK = ("127.", "localhost:", "[::1]:")

Metadata: TypeAlias = tuple[tuple[str, str], ...]
Request = TypeVar("Request")
Reply = TypeVar("Reply")
Request_contra = TypeVar("Request_contra", contravariant=True)
Reply_co = TypeVar("Reply_co", covariant=True)


class _Unary(Protocol[Request_contra, Reply_co]):
    def __call__(self, request: Request_contra, /, *, timeout: float, metadata: Metadata) -> Reply_co: ...


class Connection(NamedTuple):
    """A channel, what it is for, and its calls. The streams take and give bytes: see frames.

    `resumed` stops those that go on by themselves on another connection.
    """

    address: str
    generation: int
    channel: grpc.Channel
    stub: RegistryServiceStub
    upload: "grpc.StreamUnaryMultiCallable[bytes, UploadBlobResponse]"
    download: "grpc.UnaryStreamMultiCallable[DownloadArtifactRequest, bytes]"
    resumed: Crew


class Transport:
    """Calls to the server at `url`, else to the one that PODIUM_URL names at the time. Threads and forks may share it."""

    def __init__(self, url: str | None, actor: str | None, timeout: float) -> None:
        self.timeout = timeout
        self._url = url
        self._metadata = (("podium-actor", default_actor() if actor is None else _check_actor(actor)),)
        self._connection: Connection | None = None
        if url is not None:
            parse_address(url)

    @property
    def address(self) -> str:
        """`host:port` of the server."""
        return parse_address(self._url or os.environ.get("PODIUM_URL") or DEFAULT_ADDRESS)

    def call(self, method: Callable[[RegistryServiceStub], "_Unary[Request, Reply]"], request: Request) -> Reply:
        """One unary call: `call(lambda stub: stub.GetModel, request)`."""
        with turns.calling():
            connection = self._connect()
            with _errors_as_ours(connection):
                return method(connection.stub)(request, timeout=self.timeout, metadata=self._metadata)

    def persist(
        self,
        method: "Callable[[RegistryServiceStub], grpc.UnaryUnaryMultiCallable[Request, Reply]]",
        request: Request,
        crew: Crew,
    ) -> Reply:
        """A call amid a push or pull: it waits for a server that is away as long as the streams beside it do."""

        def stoppable(stub: RegistryServiceStub) -> _Unary[Request, Reply]:
            def call(request: Request, /, *, timeout: float, metadata: Metadata) -> Reply:
                resumed = self._connect().resumed
                future = method(stub).future(request, timeout=timeout, metadata=metadata)
                with crew.stoppable(future.cancel), resumed.stoppable(future.cancel), turns.cancelled_by_forks(future.cancel):
                    return future.result()

            return call

        reply: Reply = crew.attempts(Patience(self.timeout))(self.call, stoppable, request)
        return reply

    def download(self, request: DownloadArtifactRequest, crew: Crew) -> Generator[bytes]:
        """The serialized messages of one download. Close it when done."""
        with turns.calling():
            connection = self._connect()
            with _errors_as_ours(connection):
                call = connection.download(request, timeout=STREAM_SECONDS, metadata=self._metadata)
            stoppable, resumed = crew.stoppable(call.cancel), connection.resumed.stoppable(call.cancel)
            with stoppable, resumed, turns.cancelled_by_forks(call.cancel):
                try:
                    with _errors_as_ours(connection):
                        yield from call
                finally:
                    call.cancel()

    def upload(self, messages: Iterator[bytes], crew: Crew) -> UploadBlobResponse:
        """One upload of these serialized messages."""
        with turns.calling():
            connection = self._connect()
            with _errors_as_ours(connection):
                call = connection.upload.future(messages, timeout=STREAM_SECONDS, metadata=self._metadata)
            with crew.stoppable(call.cancel), turns.cancelled_by_forks(call.cancel):
                try:
                    with _errors_as_ours(connection):
                        return call.result()
                finally:
                    call.cancel()

    def watch(self, request: WatchRequest, crew: Crew, guard: Guard) -> Generator[WatchResponse]:
        """The messages of one watch. Close it when done.

        Nobody is inside gRPC from one message to the next, so a fork does not wait for whoever reads them. A stream that is
        silent for longer than the guard allows is Unavailable, and its connection is not used again.
        """
        with turns.calling():
            connection = self._connect()
            with _errors_as_ours(connection):
                call = connection.stub.Watch(request, metadata=self._metadata)
            turns.opened(call)

        def read() -> WatchResponse | None:
            with turns.calling(), _errors_as_ours(connection):
                return next(call, None)

        receiver = Receiver(read)

        def end() -> None:
            call.cancel()
            receiver.leave()

        guard.over(call, end)
        with crew.stoppable(end):
            try:
                while connection.generation == turns.generation:  # a forked child does not have the thread that reads
                    with guard.waiting():
                        message = receiver.next()
                    if message is None:
                        return
                    yield message
            except Left:
                pass
            except PodiumError:
                if not guard.expired:
                    raise
            finally:
                end()
        if not guard.expired:
            raise _interrupted()
        self._leave(connection)
        what = f"the server at {connection.address} said nothing for {guard.seconds:g} s"
        raise Unavailable(what, reason="SILENT", code=grpc.StatusCode.UNAVAILABLE)

    def close(self) -> None:
        """Ends the connection; the next call makes a new one."""
        with turns.calling():
            connection, self._connection = self._connection, None
            if connection and connection.generation == turns.generation:
                connection.channel.close()

    def _leave(self, connection: Connection) -> None:
        """Lets the next call open another connection: this one may be dead. It ends with the last call that waits for it."""
        if self._connection is connection:
            self._connection = None
        connection.resumed.stop()

    def _connect(self) -> Connection:
        address, connection = self.address, self._connection
        if connection is None or (connection.address, connection.generation) != (address, turns.generation):
            connection = self._connection = _open(address)
        return connection


def parse_address(url: str) -> str:
    """`host:port` of `host:port` or `grpc://host:port`."""
    match = _ADDRESS.fullmatch(url)
    if not match or int(match[2]) > 65_535:
        raise InvalidArgument(f"{url!r} is not the address of a Podium server: use HOST:PORT or grpc://HOST:PORT")
    return match[1]


def user_name() -> str:
    """Who runs this process, or the number of that user if it has no name (in many containers)."""
    with suppress(OSError, KeyError, ImportError):
        return getpass.getuser()
    return str(os.getuid())


def default_actor() -> str:
    """`user@host`, in the characters that metadata can carry."""
    actor = f"{user_name()}@{socket.gethostname()}".encode("ascii", "replace")[:MAX_ACTOR_BYTES].decode()
    return re.sub("[^ -~]", "?", actor)


def _check_actor(actor: str) -> str:
    if not re.fullmatch(f"[ -~]{{1,{MAX_ACTOR_BYTES}}}", actor):
        raise InvalidArgument(f"{actor!r} cannot be an actor: 1 to {MAX_ACTOR_BYTES} printable ASCII characters")
    return actor


def _interrupted() -> PodiumError:
    return PodiumError("the call was interrupted", code=grpc.StatusCode.CANCELLED)


@contextmanager
def _errors_as_ours(connection: Connection) -> Iterator[None]:
    try:
        yield
    except grpc.RpcError as error:
        error.__traceback__ = None  # the error is the call, and would keep it with its channel until garbage is collected
        raise from_status(error, connection.address) from None
    except grpc.FutureCancelledError:
        raise _interrupted() from None
    except ValueError as error:  # so says grpc that another thread has closed the channel
        if not str(error).startswith("Cannot invoke RPC"):
            raise
        raise PodiumError("the connection was closed meanwhile", reason="CANCELLED", code=grpc.StatusCode.CANCELLED) from None


def _open(address: str) -> Connection:
    # A block that glibc's allocator takes back raises the size up to which it keeps free memory (mallopt(3), M_MMAP_THRESHOLD;
    # 32 MiB is the most). Else the memory of each chunk goes back to the kernel, and is faulted in again page by page.
    bytearray((32 << 20) - (64 << 10))
    # A proxy that the environment names for the web does not lead to this machine.
    options = [*_OPTIONS, ("grpc.enable_http_proxy", int(not address.startswith(_LOOPBACK)))]
    channel = grpc.insecure_channel(address, options=options)
    path = f"/{_SERVICE.full_name}/"
    return Connection(
        address,
        turns.generation,
        channel,
        RegistryServiceStub(channel),
        channel.stream_unary(f"{path}UploadBlob", None, UploadBlobResponse.FromString),
        channel.unary_stream(f"{path}DownloadArtifact", DownloadArtifactRequest.SerializeToString, None),
        Crew(),
    )
