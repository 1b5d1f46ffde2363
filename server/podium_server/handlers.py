"""What is true of every RPC: decoding, identity, `at_least`, where it runs, its log line, and how errors become statuses.

Handlers are wrapped once, when they are registered, and not by a grpc interceptor: that would cost a coroutine and a lookup for
each call, and does not see malformed messages, which grpcio answers with UNKNOWN and the exception's text.
"""

import inspect
import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from podium_server.blobs.errors import PartialLost, SigningFailed, StoreError, StoreFull
from podium_server.database import storage_error
from podium_server.errors import CannotSign, InvalidArgument, PodiumError, StorageFull, StorageUnavailable, UploadBusy, one_line
from podium_server.ledger import Caller
from podium_server.limits import MAX_ACTOR_BYTES, byte_length
from podium_server.rows import Reader
from podium_server.view import View

log = logging.getLogger(__name__)

# Generic only for type checkers.
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

DOMAIN = "podium"
ACTOR_KEY = "podium-actor"
MAX_STATUS_BYTES = 500
MAX_DETAIL_BYTES = 2_100  # a URI


class Handlers:
    """Makes grpc's method handlers from the methods of the noun modules."""

    def __init__(self, view: View, read: Callable[[Callable[[Reader], bytes]], Awaitable[bytes]]) -> None:
        self._view = view
        self._read = read

    def wrap(self, method: MethodDescriptor, implementation: Callable[..., Any]) -> Handler:
        """The handler of one RPC. Plain functions are reads and run on the pool, within one read transaction."""
        request = GetMessageClass(method.input_type)
        if method.client_streaming:
            return grpc.stream_unary_rpc_method_handler(self._upload(method.name, implementation))
        if method.server_streaming:
            # grpcio loses a pool thread for good each time a client cancels a plain generator.
            assert inspect.isasyncgenfunction(implementation), method.name
            return grpc.unary_stream_rpc_method_handler(self._stream(method.name, implementation, request))
        if not inspect.iscoroutinefunction(implementation):
            implementation = self._on_pool(implementation)
        return grpc.unary_unary_rpc_method_handler(self._unary(method.name, implementation, request))

    def _on_pool(self, answer: Callable[..., Message]) -> Callable[..., Awaitable[bytes]]:
        async def run(request: Message, caller: Caller) -> bytes:
            return await self._read(lambda _reader: answer(request, caller).SerializeToString())

        return run

    def _unary(self, name: str, implementation: Callable[..., Awaitable[bytes]], message: type[Message]) -> Callable[..., Any]:
        reads = "at_least" in message.DESCRIPTOR.fields_by_name

        async def call(raw: bytes, context: Context) -> bytes:
            started = time.monotonic()
            try:
                request = _decode(message, raw)
                if reads and request.at_least:  # type: ignore[attr-defined]
                    await self._view.reach(request.at_least)  # type: ignore[attr-defined]
                reply = await implementation(request, _caller(name, context))
            except Exception as error:
                await refuse(name, context, error)
                raise AssertionError from error  # abort has raised
            log.debug("%s ok %.1f ms", name, (time.monotonic() - started) * 1000)
            return reply

        return call

    def _upload(self, name: str, implementation: Callable[..., Awaitable[Message]]) -> Callable[..., Any]:
        async def call(messages: AsyncIterator[bytes], context: Context) -> bytes:
            try:
                reply = await implementation(messages, _caller(name, context))
            except Exception as error:
                await refuse(name, context, error)
                raise AssertionError from error
            log.debug("%s ok", name)
            return reply.SerializeToString()

        return call

    def _stream(self, name: str, implementation: Callable[..., AsyncIterator[bytes]], message: type[Message]) -> Callable[..., Any]:
        # Each that streams has an `at_least`.
        async def call(raw: bytes, context: Context) -> AsyncIterator[bytes]:
            try:
                request = _decode(message, raw)
                if request.at_least:  # type: ignore[attr-defined]
                    await self._view.reach(request.at_least)  # type: ignore[attr-defined]
                async with aclosing(implementation(request, _caller(name, context))) as frames:  # type: ignore[type-var]
                    async for frame in frames:
                        yield frame
            except Exception as error:  # noqa: BLE001  # becomes a status, or INTERNAL and a trace in the log
                await refuse(name, context, error)

        return call


def _decode(message: type[Message], raw: bytes) -> Message:
    try:
        return message.FromString(raw)
    except DecodeError:
        raise InvalidArgument(f"this is not a {message.DESCRIPTOR.name}: the bytes do not parse") from None


def _caller(method: str, context: Context) -> Caller:
    actor = ""
    for key, value in context.invocation_metadata() or ():
        if key == ACTOR_KEY:
            actor = value if isinstance(value, str) else value.decode("utf-8", "replace")
    if byte_length(actor) > MAX_ACTOR_BYTES or not (actor.isprintable() or not actor):
        raise InvalidArgument(f"the metadata {ACTOR_KEY} is not printable or has more than {MAX_ACTOR_BYTES} bytes")
    return Caller(actor, context.peer(), method)


async def refuse(name: str, context: Context, error: Exception) -> None:
    """Ends the call with the error's status."""
    if storage := storage_error(error) or _store_error(error):
        if storage is not error:
            log.error("%s: %s", name, one_line(error))
        error = storage
    if not isinstance(error, PodiumError):
        error_id = uuid.uuid4().hex
        log.error("%s failed, error id %s", name, error_id, exc_info=error)
        error = PodiumError(f"internal error {error_id}: the server's log tells more", error_id=error_id)
    log.debug("%s %s %s", name, error.reason, error.message)
    message = _cut(error.message, MAX_STATUS_BYTES)
    details = _details(error, message).SerializeToString()
    await context.abort(error.status, message, trailing_metadata=(("grpc-status-details-bin", details),))


def _store_error(error: Exception) -> PodiumError | None:
    """What an error of the blob store means for whoever called; None if it is none."""
    if isinstance(error, StoreFull):
        return StorageFull(str(error))
    if isinstance(error, PartialLost):
        return UploadBusy(str(error))
    if isinstance(error, SigningFailed):
        return CannotSign(str(error))
    return StorageUnavailable(str(error)) if isinstance(error, StoreError) else None


def _details(error: PodiumError, message: str) -> Status:
    metadata = {key: _cut(value, MAX_DETAIL_BYTES) for key, value in error.metadata.items()}
    status = Status(code=error.status.value[0], message=message)
    _pack(status, ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata))
    if error.field:
        _pack(status, BadRequest(field_violations=[BadRequest.FieldViolation(field=error.field, description=message)]))
    if "retry_after_seconds" in metadata:
        retry = RetryInfo()
        retry.retry_delay.FromSeconds(int(metadata["retry_after_seconds"]))
        _pack(status, retry)
    return status


def _cut(text: str, most: int) -> str:
    """The text, in at most so many bytes: trailers over 8 KiB in all arrive as RESOURCE_EXHAUSTED."""
    return text if byte_length(text) <= most else text.encode()[:most].decode(errors="ignore")


def _pack(status: Status, detail: Message) -> None:
    packed = AnyMessage()
    packed.Pack(detail)
    status.details.append(packed)
