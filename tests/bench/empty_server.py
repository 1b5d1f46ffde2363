"""The least that a grpc.aio server can do: the registry's methods answered with fixed bytes, nothing parsed, nothing looked up.

Run as `empty_server.py METHOD=BYTES …`; prints its port when it is ready and stops on SIGTERM.
"""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable

import grpc
from podium_server.__main__ import OPTIONS

SERVICE = "podium.v1.RegistryService"


def answer(size: int) -> grpc.RpcMethodHandler:
    """Returns a handler that answers every request with the same bytes."""
    reply = _message(size)

    async def fixed(_request: bytes, _context: grpc.aio.ServicerContext) -> bytes:
        return reply

    handler: Callable[..., Awaitable[bytes]] = fixed
    return grpc.unary_unary_rpc_method_handler(handler)


def _message(size: int) -> bytes:
    """A message of so many bytes, all of them in one field that nobody knows: clients that parse it find nothing."""
    length = size - 2 if size < 130 else size - 3  # beside the tag, the length takes a byte or two
    varint = bytes([length]) if length < 128 else bytes([length & 0x7F | 0x80, length >> 7])
    return bytes([15 << 3 | 2]) + varint + bytes(length)


async def serve(sizes: dict[str, int]) -> None:
    """Serves until SIGTERM."""
    server = grpc.aio.server(options=OPTIONS)
    server.add_registered_method_handlers(SERVICE, {method: answer(size) for method, size in sizes.items()})
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    await server.stop(None)


if __name__ == "__main__":
    asyncio.run(serve({method: int(size) for method, _, size in (pair.partition("=") for pair in sys.argv[1:])}))
