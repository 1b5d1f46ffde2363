"""What stands at the server's address while what it needs is away at start: health says NOT_SERVING, every call gets UNAVAILABLE.

It is a server of its own, which is gone before the real one begins: so nothing in the real one asks whether it has begun.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckResponse

from podium_server.blobs.errors import StoreOfAnother, StoreUnavailable
from podium_server.calls import REQUEST_ID_KEY, Context, request_id
from podium_server.errors import StorageUnavailable, one_line
from podium_server.handlers import details

log = logging.getLogger(__name__)

AGAIN_SECONDS = 1.0
SILENT_SECONDS = 5.0

_NOT_READY = StorageUnavailable("the server is not ready (its log tells why): try again later")
_DETAILS = details(_NOT_READY, _NOT_READY.message).SerializeToString()

T = TypeVar("T")
Options = tuple[tuple[str, int], ...]


async def open_patiently(
    attempt: Callable[[], T], address: str, options: Options, names: tuple[str, ...], stopping: asyncio.Event
) -> tuple[T, str] | None:
    """What an attempt (run in a thread, again and again) returns, and the address with the port that it stands at.

    None if it is to stop, whatever the attempt waits for. `names` are those of health; without any, nothing stands there.
    """
    standby = _Standby()
    stop = asyncio.create_task(stopping.wait())
    try:
        while not stop.done():
            opened = _begin(attempt)
            either: list[asyncio.Future[Any]] = [opened, stop]
            done, _ = await asyncio.wait(either, timeout=SILENT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                trouble = f"opening the registry takes more than {SILENT_SECONDS:g} s: it is large, or its database says nothing"
                address = await standby.say(trouble, address, options, names)
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if stop.done():
                if not opened.cancel():
                    opened.exception()  # which nobody needs any more
                break
            try:
                return opened.result(), address
            except (StorageUnavailable, StoreUnavailable, StoreOfAnother) as error:
                address = await standby.say(one_line(error), address, options, names)
            await asyncio.wait([stop], timeout=AGAIN_SECONDS)
        return None
    finally:
        stop.cancel()
        await standby.leave()


def _begin(attempt: Callable[[], T]) -> asyncio.Future[T]:
    """Runs an attempt in a thread that does not keep the process from ending, as one of `asyncio.to_thread` does."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(attempt())
        except BaseException as error:  # noqa: BLE001  who waits for the future is told
            future.set_exception(error)

    threading.Thread(target=run, name="open", daemon=True).start()
    return asyncio.wrap_future(future)


class _Standby(grpc.GenericRpcHandler):
    """Stands from the first `say` until `leave`."""

    def __init__(self) -> None:
        self._trouble = ""
        self._server: grpc.aio.Server | None = None

    async def say(self, trouble: str, address: str, options: Options, names: tuple[str, ...]) -> str:
        """Logs what is wrong, if it is news, and begins to stand at an address: the same, with the port that is really used."""
        if trouble != self._trouble:
            log.error("not ready, and tried again until it is: %s", trouble)
            self._trouble = trouble
        if self._server is None and names:
            self._server = grpc.aio.server(handlers=[self], options=options)
            healthy = health.aio.HealthServicer()
            health_pb2_grpc.add_HealthServicer_to_server(healthy, self._server)
            for name in names:
                await healthy.set(name, HealthCheckResponse.NOT_SERVING)
            address = f"{address.rpartition(':')[0]}:{self._server.add_insecure_port(address)}"
            await self._server.start()
        return address

    async def leave(self) -> None:
        if self._server is not None:
            await self._server.stop(None)

    def service(self, call: grpc.HandlerCallDetails) -> Any:
        """grpc's: the handler of any method but those of health, which has its own."""
        if call.method.startswith(f"/{health.SERVICE_NAME}/"):
            return None

        async def answer(_requests: object, context: Context) -> None:
            asked = REQUEST_ID_KEY, request_id(dict(context.invocation_metadata() or ()))
            trailers = ("grpc-status-details-bin", _DETAILS), asked
            await context.abort(_NOT_READY.status, _NOT_READY.message, trailing_metadata=trailers)

        return grpc.stream_stream_rpc_method_handler(answer)
