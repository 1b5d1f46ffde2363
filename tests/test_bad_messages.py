"""What is no request at all: bytes that do not parse, messages too large, methods that are not there, actors."""

import socket
import struct
from collections.abc import Iterator

import grpc
import pytest
from conftest import RunningServer
from grpc import StatusCode
from wire import GOOD, METHODS, SECONDS, SERVICE, Wire, request_of

MAX_BYTES = 4 << 20
UNKNOWN = b"\xfa\x07"  # the tag of a field that no message has


@pytest.fixture(scope="module")
def wire(server: RunningServer) -> Iterator[Wire]:
    """The file's server, with a model `base` of one version."""
    wire = Wire(server)
    wire.call("CreateModel", name="base")
    wire.call("RegisterVersion", model="base", record={"external_files": [{"path": "a", "uri": "s3://bucket/key"}]})
    yield wire
    wire.close()


def bad_text(message, text: bytes) -> bytes:
    """A message whose first string, however deep, has these bytes; nothing if it has none."""
    for field in message.fields:
        inner = text if field.type == field.TYPE_STRING else bad_text(field.message_type, text) if field.message_type else b""
        if inner:
            return bytes([field.number << 3 | 2, len(inner)]) + inner
    return b""


MALFORMED = [
    b"\x0a",  # a field without a length
    b"\x0a\x05a",  # a length beyond the end
    b"\x0a\xff\xff\xff\xff\x0f",  # a length of 4 GiB
    b"\xff" * 20,  # a tag that does not end
    b"\x0b",  # a group that does not end
    b"\x0c",  # the end of no group
    b"\x0f",  # no wire type
    b"\xf8\x07" + b"\xff" * 10 + b"\x01",  # a number of 11 bytes
    b"\xfb\x07" * 500 + b"\xfc\x07" * 500,  # unknown groups, nested too deep
    b"\xfb\x07" * 500_000,
]


@pytest.mark.parametrize("method", METHODS)
def test_bytes_that_are_no_message(wire, method):
    kind = SERVICE.methods_by_name[method].input_type
    texts = [bad_text(kind, text) for text in (b"\xff\xfe", b"\xc0\x80", b"\xed\xa0\x80", b"a\x80")]
    for raw in MALFORMED + texts * bool(kind.fields):
        assert f"{method}Request" in wire.refuse("INVALID_ARGUMENT", method, raw).message


@pytest.mark.parametrize("method", [method for method in METHODS if method not in ("UploadBlob", "DownloadArtifact")])
def test_any_bytes_get_an_answer(wire, method):
    """Every field of every kind, most of them where another is expected."""
    contents = {0: b"\x01", 1: bytes(8), 2: b"\x01a", 5: bytes(4)}
    answers = {StatusCode.INVALID_ARGUMENT, StatusCode.NOT_FOUND}
    if method == "SignDownloads":
        answers.add(StatusCode.FAILED_PRECONDITION)  # a folder of blobs cannot
    for raw in [bytes([tag]) + contents.get(tag & 7, b"") for tag in range(256)]:
        try:
            wire.call(method, raw)
        except grpc.RpcError as error:
            assert error.code() in answers, (raw, error.details())


def test_what_a_newer_client_may_send_is_ignored(wire):
    known = request_of("GetModel", name="base").SerializeToString()
    for more in (UNKNOWN + b"\x03new", b"\xf8\x07\x01", b"\xfb\x07\xfc\x07"):
        assert wire.call("GetModel", known + more).model.name == "base"
    assert wire.call("GetModel", b"\x0a\x05other" + known).model.name == "base", "of a field sent twice, the last counts"


def padded(content: bytes, size: int) -> bytes:
    """A message of that many bytes: what it says, and a long field that no message has."""
    rest = size - len(content) - len(UNKNOWN) - 4
    return content + UNKNOWN + bytes([rest & 127 | 128, rest >> 7 & 127 | 128, rest >> 14 & 127 | 128, rest >> 21]) + b"x" * rest


@pytest.mark.parametrize("method", METHODS)
def test_messages_that_are_too_large(wire, method):
    """gRPC answers these by itself."""
    before = wire.database()
    with pytest.raises(grpc.RpcError) as caught:
        wire.call(method, padded(b"", MAX_BYTES + 1))
    assert caught.value.code() is StatusCode.RESOURCE_EXHAUSTED
    assert wire.database() == before


def test_a_message_of_just_the_largest_size(wire):
    known = request_of("GetModel", name="base").SerializeToString()
    assert len(padded(known, MAX_BYTES)) == MAX_BYTES
    assert wire.call("GetModel", padded(known, MAX_BYTES)).model.name == "base"


@pytest.mark.parametrize("path", ["/podium.v1.RegistryService/Nothing", "/podium.v1.RegistryService/getModel", "/", "x"])
def test_methods_that_are_not_there(wire, path):
    with pytest.raises(grpc.RpcError) as caught:
        wire.server.channel.unary_unary(path)(b"", timeout=SECONDS)
    assert caught.value.code() is StatusCode.UNIMPLEMENTED


# The requests of artifacts.


def upload(wire: Wire, *messages: bytes) -> bytes:
    return wire.server.channel.stream_unary(f"/{SERVICE.full_name}/UploadBlob")(iter(messages), timeout=SECONDS)


def test_streams_that_are_no_upload(wire, refused):
    header = {"model": "base", "digest": "sha256:" + "0" * 64, "size_bytes": 1 << 30}
    begin = request_of("UploadBlob", header=header).SerializeToString()
    too_long = request_of("UploadBlob", chunk=b"x" * ((2 << 20) + 1)).SerializeToString()
    for field, messages in (
        ("header", []),
        ("header", [b"\x12\x01x"]),
        ("header", [b"\x12\x00", begin]),
        ("content", [b""]),
        ("content", [b"\xf8\x07\x01"]),
        ("header", [begin, begin]),
        ("content", [begin, b""]),
        ("chunk", [begin, too_long]),
    ):
        refusal = refused(upload, wire, *messages)
        assert (refusal.code, refusal.fields) == (StatusCode.INVALID_ARGUMENT, [field]), messages
    for raw in MALFORMED:
        assert refused(upload, wire, begin, raw).code is StatusCode.INVALID_ARGUMENT


def test_headers_that_are_none(wire):
    for place, value in (("size_bytes", -1), ("size_bytes", 2**39 + 1), ("offset", -1)):
        wire.refuse_at(f"UploadBlob.header.{place}", value)
    refusal = wire.refuse_at("UploadBlob.header.offset", 1, reason="OFFSET_MISMATCH")
    assert refusal.metadata == {"expected_offset": "0"}


def test_questions_about_blobs(wire):
    def blobs(number: int) -> list[dict]:
        return [{"digest": f"sha256:{index:064x}", "size_bytes": index} for index in range(number)]

    assert len(wire.accept_at("FindMissingBlobs.blobs", blobs(10_000)).missing) == 10_000
    wire.refuse_at("FindMissingBlobs.blobs", blobs(10_001))
    for size in (-1, 2**39 + 1):
        blob = {**blobs(1)[0], "size_bytes": size}
        wire.refuse_at("FindMissingBlobs.blobs", [blob], field="blobs[0].size_bytes")
    two_sizes = [blobs(1)[0], {**blobs(1)[0], "size_bytes": 1}]
    wire.refuse_at("FindMissingBlobs.blobs", two_sizes, field="blobs[1].size_bytes")


NOT_FILES = ["", "d", "A", "/a", "./a", "x/../a", "../../etc/passwd", "a/", "a\0", "a\n", "😀" * 10_000, "x" * 1_000_000]


def test_downloads_of_no_file(wire):
    for path in NOT_FILES:
        wire.refuse_at("DownloadArtifact.path", path, reason="FILE_NOT_FOUND")
    assert wire.refuse_at("DownloadArtifact.path", "a", reason="FILE_IS_EXTERNAL").metadata == {"uri": "s3://bucket/key"}
    for place in ("offset", "limit"):
        wire.refuse_at(f"DownloadArtifact.{place}", -1)


# Actors.


def test_actors(wire):
    def note(actor: str) -> str:
        return wire.call("AddNote", **GOOD["AddNote"], _metadata=[("podium-actor", actor)]).note.actor

    for actor in ("ann@build-7", "x" * 256, "a b"):
        assert note(actor) == actor
        assert wire.call("ListEvents", newest_first=True, page_size=1).events[0].actor == actor
    assert wire.call("AddNote", **GOOD["AddNote"]).note.actor == ""


@pytest.mark.parametrize("method", METHODS)
def test_an_actor_that_is_too_long(wire, method):
    metadata = [("podium-actor", "x" * 257)]
    assert "podium-actor" in wire.refuse("INVALID_ARGUMENT", method, **GOOD[method], _metadata=metadata).message


@pytest.mark.parametrize("actor", ["a\x01b", "a\tb", "\x1b[31m", "é\u2028", "é" * 128 + "x", "é" * 128])
def test_actors_that_only_a_bare_http2_client_can_send(wire, actor):
    """gRPC's own clients refuse to send them."""
    body = request_of("AddNote", **GOOD["AddNote"]).SerializeToString()
    before = wire.database()
    answer = http2_call(wire.server.address, f"/{SERVICE.full_name}/AddNote", [("podium-actor", actor)], body)
    if actor == "é" * 128:
        assert b"grpc-status\x010" in answer
        assert wire.call("ListEvents", newest_first=True, page_size=1).events[0].actor == actor
    else:
        assert b"grpc-status\x013" in answer and b"podium-actor" in answer
        assert wire.database() == before


def http2_call(address: str, path: str, metadata: list[tuple[str, str]], body: bytes) -> bytes:
    """One call with headers that are written down as they are; the headers, data and trailers of the answer."""
    host, port = address.split(":")
    headers = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", address)]
    headers += [("te", "trailers"), ("content-type", "application/grpc"), *metadata]
    block = b"".join(b"\0" + hpack(name) + hpack(value) for name, value in headers)
    message = b"\0" + struct.pack(">I", len(body)) + body
    answer = b""
    with socket.create_connection((host, int(port)), SECONDS) as connection, connection.makefile("rb") as frames:
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        connection.sendall(preface + frame(4, 0, 0, b"") + frame(1, 4, 1, block) + frame(0, 1, 1, message))
        while len(head := frames.read(9)) == 9:
            content = frames.read(int.from_bytes(head[:3]))
            kind, flags, stream = head[3], head[4], int.from_bytes(head[5:])
            if stream == 1:
                answer += content
                if kind in (0, 1) and flags & 1:
                    break
    return answer


def frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    return len(content).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + content


def hpack(text: str) -> bytes:
    """A string as HTTP/2 writes it in headers, without compression."""
    content = text.encode()
    rest = len(content) - 127
    if rest < 0:
        return bytes([len(content)]) + content
    return bytes([127, rest] if rest < 128 else [127, rest & 127 | 128, rest >> 7]) + content
