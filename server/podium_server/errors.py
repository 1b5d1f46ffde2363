"""What can go wrong: one short class each, with its gRPC status and the reason that clients match on."""

from grpc import StatusCode


def shown(text: str) -> str:
    """A caller's text as an error quotes it: escaped, and cut so that error details stay small."""
    return repr(text if len(text) <= 80 else text[:77] + "...")


def one_line(error: Exception) -> str:
    """What a foreign error says: of several lines the first, which is what is wrong."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class PodiumError(Exception):
    """An answer that is an error. `field` names the bad field of the request; metadata is for machines (ErrorInfo.metadata)."""

    status = StatusCode.INTERNAL
    reason = "INTERNAL"

    def __init__(self, message: str, *, field: str | None = None, **metadata: str | int) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.metadata = {key: str(value) for key, value in metadata.items()}


class InvalidArgument(PodiumError):
    status, reason = StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"


class RequestIdReused(PodiumError):
    status, reason = StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED"


class ContentMismatch(PodiumError):
    status, reason = StatusCode.INVALID_ARGUMENT, "CONTENT_MISMATCH"


class ModelNotFound(PodiumError):
    status, reason = StatusCode.NOT_FOUND, "MODEL_NOT_FOUND"


class VersionNotFound(PodiumError):
    status, reason = StatusCode.NOT_FOUND, "VERSION_NOT_FOUND"


class AliasNotFound(PodiumError):
    status, reason = StatusCode.NOT_FOUND, "ALIAS_NOT_FOUND"


class StageEmpty(PodiumError):
    status, reason = StatusCode.NOT_FOUND, "STAGE_EMPTY"


class FileNotInVersion(PodiumError):
    status, reason = StatusCode.NOT_FOUND, "FILE_NOT_FOUND"


class ModelExists(PodiumError):
    status, reason = StatusCode.ALREADY_EXISTS, "MODEL_EXISTS"


class VersionExists(PodiumError):
    status, reason = StatusCode.ALREADY_EXISTS, "VERSION_EXISTS"


class TransitionNotAllowed(PodiumError):
    status, reason = StatusCode.FAILED_PRECONDITION, "TRANSITION_NOT_ALLOWED"


class BlobsMissing(PodiumError):
    status, reason = StatusCode.FAILED_PRECONDITION, "BLOBS_MISSING"


class NotServable(PodiumError):
    status, reason = StatusCode.FAILED_PRECONDITION, "NOT_SERVABLE"


class FileIsExternal(PodiumError):
    status, reason = StatusCode.FAILED_PRECONDITION, "FILE_IS_EXTERNAL"


class CannotSign(PodiumError):
    status, reason = StatusCode.FAILED_PRECONDITION, "CANNOT_SIGN"


class TooMany(PodiumError):
    status, reason = StatusCode.FAILED_PRECONDITION, "TOO_MANY"


class Conflict(PodiumError):
    status, reason = StatusCode.ABORTED, "CONFLICT"


class UploadBusy(PodiumError):
    status, reason = StatusCode.ABORTED, "UPLOAD_BUSY"


class OffsetMismatch(PodiumError):
    status, reason = StatusCode.OUT_OF_RANGE, "OFFSET_MISMATCH"


class PositionUnknown(PodiumError):
    status, reason = StatusCode.OUT_OF_RANGE, "POSITION_UNKNOWN"


class StorageFull(PodiumError):
    status, reason = StatusCode.RESOURCE_EXHAUSTED, "STORAGE_FULL"


class Overloaded(PodiumError):
    status, reason = StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED"


class BlobDamaged(PodiumError):
    status, reason = StatusCode.DATA_LOSS, "BLOB_DAMAGED"


class NotCaughtUp(PodiumError):
    status, reason = StatusCode.UNAVAILABLE, "NOT_CAUGHT_UP"


class StorageUnavailable(PodiumError):
    status, reason = StatusCode.UNAVAILABLE, "STORAGE_UNAVAILABLE"


class Stopping(PodiumError):
    status, reason = StatusCode.UNAVAILABLE, "STOPPING"
