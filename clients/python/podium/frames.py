"""The byte layout of the two streaming messages: no message object is built around a chunk, which costs most of the speed.

A chunk's frame is the field's tag, its length as a varint, and the bytes. On the wire it is plain protobuf.
"""

from google.protobuf.message import DecodeError

from podium.errors import HostileServer
from podium.v1.artifacts_pb2 import (
    DownloadArtifactHeader,
    DownloadArtifactResponse,
    UploadBlobHeader,
    UploadBlobRequest,
)

CHUNK_BYTES = 1 << 20

_LENGTH_DELIMITED = 2
_UPLOAD_TAG = bytes([UploadBlobRequest.CHUNK_FIELD_NUMBER << 3 | _LENGTH_DELIMITED])
_DOWNLOAD_TAG = DownloadArtifactResponse.CHUNK_FIELD_NUMBER << 3 | _LENGTH_DELIMITED
_MORE = 0x80
_MAX_LENGTH_BYTES = 5


def header_frame(header: UploadBlobHeader) -> bytes:
    """The first message of an upload."""
    return UploadBlobRequest(header=header).SerializeToString()


def chunk_frame(chunk: memoryview) -> bytes:
    """A message of an upload with these bytes."""
    return b"".join((_UPLOAD_TAG, _varint(len(chunk)), chunk))


def read_download(message: bytes) -> DownloadArtifactHeader | memoryview:
    """The header or the chunk that a message of a download holds; HostileServer if it is neither."""
    if start := _start_of_chunk(message):
        return memoryview(message)[start:]
    try:
        response = DownloadArtifactResponse.FromString(message)
    except DecodeError:
        raise HostileServer("the server sent a malformed message in a download") from None
    if response.WhichOneof("content") == "header":
        return response.header
    return memoryview(response.chunk)


def _start_of_chunk(message: bytes) -> int:
    """Where the bytes start if the message is exactly one chunk field, else 0."""
    if not message or message[0] != _DOWNLOAD_TAG:
        return 0
    length = 0
    for index, byte in enumerate(message[1 : 1 + _MAX_LENGTH_BYTES]):
        length |= (byte & ~_MORE) << 7 * index
        if byte < _MORE:
            start = 2 + index
            return start if start + length == len(message) else 0
    return 0


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number >= _MORE:
        encoded.append(number & ~_MORE & 0xFF | _MORE)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
