"""One connection a process: which server, deadlines, identity, what was seen, and errors as exceptions of our own."""

import getpass
import os
import re
import socket
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol, TypeAlias, TypeVar

import grpc

from podium.addresses import parse_address
from podium.connection import Connection, open_connection
from podium.errors import InvalidArgument, PodiumError, Unavailable, from_status
from podium.forks import turns
from podium.seen import Seen, is_unknown
from podium.transfers import Crew, Patience
from podium.v1.artifacts_pb2 import DownloadArtifactRequest, UploadBlobResponse
from podium.v1.registry_service_pb2_grpc import RegistryServiceStub
from podium.v1.watch_pb2 import WatchRequest, WatchResponse
from podium.watchdog import Guard, Left, Receiver

DEFAULT_ADDRESS = "127.0.0.1:7070"
# A stream that runs longer is cut and goes on where it stopped: this bounds only how long a stuck server is waited for.
STREAM_SECONDS = 600.0
MAX_ACTOR_BYTES = 256

Metadata: TypeAlias = tuple[tuple[str, str], ...]
Request = TypeVar("Request")
Reply = TypeVar("Reply")
Request_contra = TypeVar("Request_contra", contravariant=True)
Reply_co = TypeVar("Reply_co", covariant=True)


class _Unary(Protocol[Request_contra, Reply_co]):
    def __call__(self, request: Request_contra, /, *, timeout: float, metadata: Metadata) -> Reply_co: ...


class Transport:
    """Calls to the servers at `url`, else to those that PODIUM_URL names at the time. Threads and forks may share it.

    `seen` is what they said last: a read shows that, unless its caller says what it is to show.
    """

    def __init__(self, url: str | None, actor: str | None, timeout: float) -> None:
        self.timeout = timeout
        self.seen = Seen()
        self._url = url
        self._metadata = (("podium-actor", default_actor() if actor is None else _check_actor(actor)),)
        self._connection: Connection | None = None
        if url is not None:
            parse_address(url)

    @property
    def address(self) -> str:
        """`host:port` of the server, or of several, with commas."""
        return parse_address(self._url or os.environ.get("PODIUM_URL") or DEFAULT_ADDRESS)

    def call(self, method: Callable[[RegistryServiceStub], "_Unary[Request, Reply]"], request: Request) -> Reply:
        """One unary call: `call(lambda stub: stub.GetModel, request)`."""
        showing, position = self.seen.asked_for(request)
        try:
            with turns.calling():
                return self._call(method, showing)
        except PodiumError as error:
            if not position or not is_unknown(error):
                raise
        self.seen.forget(position)
        with turns.calling():
            return self._call(method, request)

    def _call(self, method: Callable[[RegistryServiceStub], "_Unary[Request, Reply]"], request: Request) -> Reply:
        connection = self._connect()
        try:
            with _errors_as_ours(connection):
                reply = method(connection.stub)(request, timeout=self.timeout, metadata=self._metadata)
        except Unavailable as error:
            if error.code is grpc.StatusCode.DEADLINE_EXCEEDED:
                self._forget(connection)  # a server may answer pings and nothing else
                raise
            if self._connect() is connection:
                raise
            return self._call(method, request)
        self.seen.saw(reply)
        return reply

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
                message = next(call, None)
                self.seen.saw(message)
                return message

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
        """Leaves a connection that may be dead. It ends with the last call that waits for it."""
        self._forget(connection)
        connection.resumed.stop()

    def _forget(self, connection: Connection) -> None:
        """Lets the next call open another connection."""
        if self._connection is connection:
            self._connection = None

    def _connect(self) -> Connection:
        address, connection = self.address, self._connection
        is_ours = connection and (connection.address, connection.generation) == (address, turns.generation)
        if connection is None or not is_ours or connection.leads_elsewhere():
            connection = self._connection = open_connection(address)
        return connection


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
        ours = from_status(error, connection.address)
        connection.lost |= ours.reason == "UNAVAILABLE"
        raise ours from None
    except grpc.FutureCancelledError:
        raise _interrupted() from None
    except ValueError as error:  # so says grpc that another thread has closed the channel
        if not str(error).startswith("Cannot invoke RPC"):
            raise
        raise PodiumError("the connection was closed meanwhile", reason="CANCELLED", code=grpc.StatusCode.CANCELLED) from None
