"""What stands at the server's address while what it needs is away at start: health says NOT_SERVING, every call gets UNAVAILABLE.

It is a server of its own, which is gone before the real one begins: so nothing in the real one asks whether it has begun.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
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

_NOT_READY = StorageUnavailable("the server is not ready (its log tells why): try again later")
_DETAILS = details(_NOT_READY, _NOT_READY.message).SerializeToString()

T = TypeVar("T")
Options = tuple[tuple[str, int], ...]


async def open_patiently(
    attempt: Callable[[], T], address: str, options: Options, names: tuple[str, ...], stopping: asyncio.Event
) -> tuple[T, str] | None:
    """What an attempt (run in a thread, again and again) returns, and the address with the port that it stands at.

    None if it is to stop. `names` are those of health.
    """
    standby = _Standby()
    try:
        while not stopping.is_set():
            try:
                return await asyncio.to_thread(attempt), address
            except (StorageUnavailable, StoreUnavailable, StoreOfAnother) as error:
                address = await standby.say(one_line(error), address, options, names)
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), AGAIN_SECONDS)
        return None
    finally:
        await standby.leave()


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
        if self._server is None:
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
