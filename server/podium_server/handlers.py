"""What is true of every RPC: decoding, `at_least`, where it runs, and how errors become statuses; `calls` has the rest.

Handlers are wrapped once, when they are registered, and not by a grpc interceptor: that would cost a coroutine and a lookup for
each call, and does not see malformed messages, which grpcio answers with UNKNOWN and the exception's text.
"""

import inspect
import logging
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

from podium_server import metrics
from podium_server.blobs.errors import PartialLost, SigningFailed, StoreError, StoreFull
from podium_server.calls import REQUEST_ID_KEY, Call, Context, Method
from podium_server.database import storage_error
from podium_server.errors import CannotSign, InvalidArgument, PodiumError, StorageFull, StorageUnavailable, UploadBusy, one_line
from podium_server.history import check_in_history
from podium_server.ledger import Caller
from podium_server.limits import byte_length
from podium_server.positions import parse_position
from podium_server.rows import Reader
from podium_server.view import View

log = logging.getLogger(__name__)

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"  # generic only for type checkers

DOMAIN = "podium"
MAX_STATUS_BYTES = 500
MAX_DETAIL_BYTES = 2_100  # a URI


class Handlers:
    """Makes grpc's method handlers from the methods of the noun modules. `read` answers a question within a read transaction."""

    def __init__(self, view: View, read: Callable[[Callable[[Reader], bytes]], Awaitable[bytes]]) -> None:
        self._view = view
        self._read = read

    def wrap(self, descriptor: MethodDescriptor, implementation: Callable[..., Any]) -> Handler:
        """The handler of one RPC. Plain functions are reads and run on the pool, within one read transaction."""
        request, method = GetMessageClass(descriptor.input_type), Method(descriptor)
        if descriptor.client_streaming:
            return grpc.stream_unary_rpc_method_handler(self._upload(method, implementation))
        if descriptor.server_streaming:
            # grpcio loses a pool thread for good each time a client cancels a plain generator.
            assert inspect.isasyncgenfunction(implementation), method.name
            return grpc.unary_stream_rpc_method_handler(self._stream(method, implementation, request))
        if not inspect.iscoroutinefunction(implementation):
            implementation = self._on_pool(implementation)
        return grpc.unary_unary_rpc_method_handler(self._unary(method, implementation, request))

    def _on_pool(self, answer: Callable[..., Message]) -> Callable[..., Awaitable[bytes]]:
        async def run(request: Message, caller: Caller) -> bytes:
            def read(reader: Reader) -> bytes:
                if at_least := getattr(request, "at_least", ""):  # the view showed it, which need not know of a cut yet
                    check_in_history(reader, parse_position(at_least))
                return answer(request, caller).SerializeToString()

            return await self._read(read)

        return run

    def _unary(self, method: Method, implementation: Callable[..., Awaitable[bytes]], message: type[Message]) -> Callable[..., Any]:
        reads = "at_least" in message.DESCRIPTOR.fields_by_name

        async def handle(raw: bytes, context: Context) -> bytes:
            call = Call(method, context)
            try:
                request = _decode(message, raw)
                if reads and request.at_least:  # type: ignore[attr-defined]
                    await self._view.reach(request.at_least)  # type: ignore[attr-defined]
                reply = await implementation(request, call.caller())
                call.code = "OK"
                return reply
            except Exception as error:
                await _refuse(call, context, error)
                raise AssertionError from error  # abort has raised
            finally:
                call.end()

        return handle

    def _upload(self, method: Method, implementation: Callable[..., Awaitable[Message]]) -> Callable[..., Any]:
        async def handle(messages: AsyncIterator[bytes], context: Context) -> bytes:
            call = Call(method, context)
            try:
                reply = await implementation(messages, call.caller())
                call.code = "OK"
                return reply.SerializeToString()
            except Exception as error:
                await _refuse(call, context, error)
                raise AssertionError from error
            finally:
                call.end()

        return handle

    def _stream(
        self, method: Method, implementation: Callable[..., AsyncIterator[bytes]], message: type[Message]
    ) -> Callable[..., Any]:
        # It writes and does not yield: grpcio leaves a generator to the garbage collector when the caller goes.
        async def handle(raw: bytes, context: Context) -> None:
            call = Call(method, context)
            try:
                request = _decode(message, raw)
                if request.at_least:  # type: ignore[attr-defined]  # each that streams has it
                    await self._view.reach(request.at_least)  # type: ignore[attr-defined]
                async with aclosing(implementation(request, call.caller())) as frames:  # type: ignore[type-var]
                    async for frame in frames:
                        await context.write(frame)
                call.code = "OK"
            except grpc.aio.InternalError:
                pass  # of the write: the caller has gone
            except Exception as error:  # noqa: BLE001  # becomes a status, or INTERNAL and a trace in the log
                await _refuse(call, context, error)
            finally:
                call.end()

        return handle


def _decode(message: type[Message], raw: bytes) -> Message:
    try:
        return message.FromString(raw)
    except DecodeError:
        raise InvalidArgument(f"this is not a {message.DESCRIPTOR.name}: the bytes do not parse") from None


async def _refuse(call: Call, context: Context, error: Exception) -> None:
    """Ends the call with the error's status."""
    told = _told(call, error)
    call.refuse(told, error)
    message = _cut(told.message, MAX_STATUS_BYTES)
    packed = ("grpc-status-details-bin", details(told, message).SerializeToString())
    await context.abort(told.status, message, trailing_metadata=(packed, (REQUEST_ID_KEY, call.id)))


def _told(call: Call, error: Exception) -> PodiumError:
    """What a caller is told of an error; what is not meant for callers is logged."""
    if isinstance(error, PodiumError):
        return error
    if storage := storage_error(error) or _store_error(error):
        metrics.STORAGE_ERRORS.labels("blobs" if isinstance(error, StoreError) else "read").inc()
        log.error("the storage failed: %s", one_line(error))
        return storage
    log.error("internal error %s", call.id, exc_info=error)
    return PodiumError(f"internal error {call.id}: the server's log tells more", error_id=call.id)


def _store_error(error: Exception) -> PodiumError | None:
    """What an error of the blob store means for whoever called; None if it is none."""
    if isinstance(error, StoreFull):
        return StorageFull(str(error))
    if isinstance(error, PartialLost):
        return UploadBusy(str(error))
    if isinstance(error, SigningFailed):
        return CannotSign(str(error))
    return StorageUnavailable(str(error)) if isinstance(error, StoreError) else None


def details(error: PodiumError, message: str) -> Status:
    """What is for machines, under a message that fits."""
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
