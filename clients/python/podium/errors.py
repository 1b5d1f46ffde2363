"""What can go wrong, as exceptions of the client's own.

PodiumError
├── answers of the server, one class a gRPC status
│   NotFound · AlreadyExists · InvalidArgument · FailedPrecondition · Conflict · OutOfRange · ResourceExhausted · DataLoss ·
│   Unavailable · InternalError
└── found by the client
    PushRefused · DamagedFile · HostileServer · DiskFull
"""

from collections.abc import Iterator, Mapping
from typing import cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode

DOMAIN = "podium"
DETAILS_KEY = "grpc-status-details-bin"


class PodiumError(Exception):
    """Something went wrong; `str()` is one line.

    `reason` is what programs match on (`ALIAS_NOT_FOUND`), `metadata` is for machines, `fields` says what is wrong with
    which field of the request, `code` is the gRPC status, None if no server said so.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        code: StatusCode | None = None,
        metadata: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(" ".join(message.split()))
        self.reason = reason
        self.code = code
        self.metadata = dict(metadata or {})
        self.fields = dict(fields or {})


class NotFound(PodiumError):
    """No such model, version, alias or file."""


class AlreadyExists(PodiumError):
    """The name is taken, by something else."""


class InvalidArgument(PodiumError):
    """A name, reference, number or text is not as it must be; `fields` says which."""


class FailedPrecondition(PodiumError):
    """A rule says no: a transition, blobs that are missing, a version that may not serve."""


class Conflict(PodiumError):
    """Somebody else was first; `metadata["current"]` is what is there now."""


class OutOfRange(PodiumError):
    """An offset that does not fit, or a position of another history."""


class ResourceExhausted(PodiumError):
    """The server is full or overloaded, or something is too large."""


class DataLoss(PodiumError):
    """The server's bytes are no longer what they were."""


class Unavailable(PodiumError):
    """No server is there, it is stopping, or it did not answer in time. The same call may work later."""


class InternalError(PodiumError):
    """The server failed; `metadata["error_id"]`, if any, is in its log."""


class PushRefused(PodiumError):
    """What should be pushed cannot be pushed as it is; the message says what to do."""


class DamagedFile(PodiumError):
    """The bytes that arrived do not have the digest that they should have."""


class HostileServer(PodiumError):
    """The server sent what no Podium server may send. Nothing of it was kept."""


class DiskFull(PodiumError):
    """The disk of this machine has no room for the files."""


_CLASSES = {
    StatusCode.NOT_FOUND: NotFound,
    StatusCode.ALREADY_EXISTS: AlreadyExists,
    StatusCode.INVALID_ARGUMENT: InvalidArgument,
    StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    StatusCode.ABORTED: Conflict,
    StatusCode.OUT_OF_RANGE: OutOfRange,
    StatusCode.RESOURCE_EXHAUSTED: ResourceExhausted,
    StatusCode.DATA_LOSS: DataLoss,
    StatusCode.UNAVAILABLE: Unavailable,
    StatusCode.DEADLINE_EXCEEDED: Unavailable,
    StatusCode.INTERNAL: InternalError,
    StatusCode.UNKNOWN: InternalError,
    StatusCode.UNIMPLEMENTED: InternalError,
}


def from_status(error: grpc.RpcError, address: str) -> PodiumError:
    """The exception for a call to this address that did not end with OK."""
    call = cast("grpc.Call", error)  # every RpcError that grpc raises is one
    code = call.code()
    message = call.details() or code.name
    reason, metadata, fields = "", {}, {}
    for detail in _details(call):
        if isinstance(detail, ErrorInfo):
            reason, metadata = detail.reason, dict(detail.metadata)
        else:
            fields = {violation.field: violation.description for violation in detail.field_violations}
    told = message if reason else _in_our_words(code, message, address)
    kind = _CLASSES.get(code, PodiumError)
    ours = kind(told, reason=reason or code.name, code=code, metadata=metadata, fields=fields)
    if told != message:
        ours.add_note(f"gRPC says: {message}")
    return ours


def _details(call: grpc.Call) -> Iterator[ErrorInfo | BadRequest]:
    for key, value in call.trailing_metadata() or ():
        if key != DETAILS_KEY:
            continue
        try:
            for packed in Status.FromString(value).details:
                info, bad = ErrorInfo(), BadRequest()
                if packed.Unpack(info) and info.domain == DOMAIN:
                    yield info
                elif packed.Unpack(bad):
                    yield bad
        except DecodeError:
            return


def _in_our_words(code: StatusCode, message: str, address: str) -> str:
    """What gRPC's own errors mean here: those came from no Podium server."""
    if code is StatusCode.UNAVAILABLE:
        return f"no Podium server at {address}: start one with 'podium serve' or set PODIUM_URL"
    if code is StatusCode.DEADLINE_EXCEEDED:
        return f"the server at {address} did not answer in time"
    if code is StatusCode.UNIMPLEMENTED:
        return f"the server at {address} does not know this call: it is no Podium server, or an older one"
    return f"{address}: {message}"
