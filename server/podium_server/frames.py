"""The byte layout of the two streaming messages, so that no message object is built around a chunk.

A chunk's frame is the field's tag, its length as a varint, and the bytes. Whatever else is legal protobuf goes through the
generated parser, so on the wire nothing shows that this is here.
"""

from google.protobuf.message import DecodeError
from podium.v1.artifacts_pb2 import DownloadArtifactResponse, UploadBlobHeader, UploadBlobRequest

from podium_server.errors import InvalidArgument

_LENGTH_DELIMITED = 2
_DOWNLOAD_TAG = DownloadArtifactResponse.CHUNK_FIELD_NUMBER << 3 | _LENGTH_DELIMITED
_UPLOAD_TAG = UploadBlobRequest.CHUNK_FIELD_NUMBER << 3 | _LENGTH_DELIMITED
_MORE = 0x80
_MAX_LENGTH_BYTES = 5


def chunk_frame(chunk: bytes) -> bytes:
    """A serialized DownloadArtifactResponse with this chunk."""
    head = bytearray([_DOWNLOAD_TAG])
    length = len(chunk)
    while length >= _MORE:
        head.append(length & 0x7F | _MORE)
        length >>= 7
    head.append(length)
    return bytes(head) + chunk


def read_upload(message: bytes) -> UploadBlobHeader | memoryview:
    """The header or the chunk, not copied, that a serialized UploadBlobRequest holds; InvalidArgument if there is neither."""
    start = _start_of_chunk(message)
    if start:
        return memoryview(message)[start:]
    try:
        request = UploadBlobRequest.FromString(message)
    except DecodeError as error:
        raise InvalidArgument("a message of the upload is not an UploadBlobRequest") from error
    match request.WhichOneof("content"):
        case "header":
            return request.header
        case "chunk":
            return memoryview(request.chunk)
    raise InvalidArgument("a message of the upload has neither a header nor a chunk", field="content")


def _start_of_chunk(message: bytes) -> int:
    """Where the chunk's bytes start if the message is exactly one chunk field, else 0."""
    if not message or message[0] != _UPLOAD_TAG:
        return 0
    length = 0
    for index, byte in enumerate(message[1 : 1 + _MAX_LENGTH_BYTES]):
        length |= (byte & 0x7F) << 7 * index
        if byte < _MORE:
            start = 2 + index
            return start if start + length == len(message) else 0
    return 0
