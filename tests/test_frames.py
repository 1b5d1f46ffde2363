"""The frames against the generated code: whatever is legal protobuf means the same in both."""

import random

import pytest
from google.protobuf.message import DecodeError
from podium.v1.artifacts_pb2 import DownloadArtifactResponse, UploadBlobHeader, UploadBlobRequest
from podium_server import frames
from podium_server.errors import InvalidArgument
from podium_server.frames import chunk_frame, read_upload

HEADER, CHUNK = 1, 2


def varint(number: int, more: int = 0) -> bytes:
    """A varint, `more` bytes longer than it need be."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    for _ in range(more):
        out[-1] |= 0x80
        out.append(0)
    return bytes(out)


def field(number: int, content: bytes, more_tag: int = 0, more_length: int = 0) -> bytes:
    return varint(number << 3 | 2, more_tag) + varint(len(content), more_length) + content


HEADER_BYTES = UploadBlobHeader(model="m", digest="d", size_bytes=5, offset=2).SerializeToString()
UNKNOWN = [
    varint(7 << 3 | 0) + varint(300),
    varint(8 << 3 | 1) + bytes(8),
    field(9, b"nine"),
    varint(10 << 3 | 3) + field(1, b"grouped") + varint(10 << 3 | 4),
    varint(11 << 3 | 5) + bytes(4),
]
LEGAL = {
    "a chunk": field(CHUNK, b"data"),
    "an empty chunk": field(CHUNK, b""),
    "a chunk of 127": field(CHUNK, bytes(127)),
    "a chunk of 128": field(CHUNK, bytes(128)),
    "a chunk of 1 MiB": field(CHUNK, bytes(1 << 20)),
    "a chunk of 2 MiB": field(CHUNK, bytes(2 << 20)),
    "a long tag": field(CHUNK, b"data", more_tag=2),
    "a long length": field(CHUNK, b"data", more_length=3),
    "the longest length": field(CHUNK, b"data", more_length=4),
    "a chunk that looks like a chunk": field(CHUNK, field(CHUNK, b"data")),
    "a header": field(HEADER, HEADER_BYTES),
    "an empty header": field(HEADER, b""),
    "a chunk twice": field(CHUNK, b"first") + field(CHUNK, b"last"),
    "a chunk, then an empty one": field(CHUNK, b"first") + field(CHUNK, b""),
    "a header, then a chunk": field(HEADER, HEADER_BYTES) + field(CHUNK, b"last"),
    "a chunk, then a header": field(CHUNK, b"first") + field(HEADER, HEADER_BYTES),
    "a header in two parts": field(HEADER, HEADER_BYTES[:3]) + field(HEADER, HEADER_BYTES[3:]),
    "a header, a chunk, a header": field(HEADER, HEADER_BYTES) + field(CHUNK, b"x") + field(HEADER, b""),
    **{f"unknown {index} before": unknown + field(CHUNK, b"data") for index, unknown in enumerate(UNKNOWN)},
    **{f"unknown {index} after": field(CHUNK, b"data") + unknown for index, unknown in enumerate(UNKNOWN)},
}
ILLEGAL = {
    "nothing": b"",
    "only what is unknown": b"".join(UNKNOWN),
    "a length beyond the end": varint(CHUNK << 3 | 2) + varint(5) + b"data",
    "a length without an end": varint(CHUNK << 3 | 2) + b"\x80",
    "a tag alone": varint(CHUNK << 3 | 2),
    "a length of 2^35": varint(CHUNK << 3 | 2) + varint(1 << 35) + b"data",
    "a varint of 11 bytes": varint(CHUNK << 3 | 2) + b"\x80" * 10 + b"\x00",
    "field 0": varint(0 << 3 | 2) + varint(0),
    "an end of no group": varint(10 << 3 | 4),
    "text": b"GET / HTTP/1.1",
}


def expected(message: bytes) -> UploadBlobHeader | bytes | None:
    """What the generated parser finds; None for nothing legal."""
    try:
        request = UploadBlobRequest.FromString(message)
    except DecodeError:
        return None
    content = request.WhichOneof("content")
    return None if content is None else getattr(request, content)


@pytest.mark.parametrize("message", LEGAL.values(), ids=LEGAL)
def test_every_legal_encoding_is_understood(message: bytes) -> None:
    meant = expected(message)
    assert meant is not None
    assert read_upload(message) == meant


@pytest.mark.parametrize("message", ILLEGAL.values(), ids=ILLEGAL)
def test_what_is_no_message_is_refused(message: bytes) -> None:
    assert expected(message) is None
    with pytest.raises(InvalidArgument):
        read_upload(message)


def test_the_fast_path_is_taken_for_a_chunk_and_only_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(frames, "UploadBlobRequest")
    for size in (0, 1, 127, 128, 1 << 20, 2 << 20):
        assert read_upload(field(CHUNK, bytes(size))) == bytes(size)
    for name, message in LEGAL.items():
        if (
            not name.startswith(("a chunk of", "a chunk that", "an empty chunk", "a long length", "the longest"))
            and name != "a chunk"
        ):
            with pytest.raises(NameError):
                read_upload(message)


def test_messages_put_together_at_random_mean_what_the_parser_says() -> None:
    rng = random.Random(20250124)
    pieces = [*UNKNOWN, field(HEADER, HEADER_BYTES), field(HEADER, HEADER_BYTES[:3])]
    legal = 0
    for _ in range(20_000):
        parts = []
        for _ in range(rng.randint(1, 4)):
            chunk = field(
                CHUNK, rng.randbytes(rng.choice([0, 1, 5, 127, 128, 300])), rng.choice([0, 0, 1]), rng.choice([0, 0, 1, 3])
            )
            parts.append(rng.choice([chunk, chunk, chunk, *pieces]))
        message = bytearray(b"".join(parts))
        for _ in range(rng.choice([0, 0, 1, 2])):
            message[rng.randrange(len(message))] = rng.randrange(256)
        message = message[: rng.choice([len(message), len(message), rng.randint(0, len(message))])]
        meant = expected(bytes(message))
        if meant is None:
            with pytest.raises(InvalidArgument):
                read_upload(bytes(message))
        else:
            legal += 1
            assert read_upload(bytes(message)) == meant, message.hex()
    assert 5_000 < legal < 19_000


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, (1 << 20) - 1, 1 << 20])
def test_a_chunks_frame_is_what_the_generated_code_would_write(size: int) -> None:
    chunk = random.Random(size).randbytes(size)
    assert chunk_frame(chunk) == DownloadArtifactResponse(chunk=chunk).SerializeToString()
