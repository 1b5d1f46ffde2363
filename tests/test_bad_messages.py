"""What is no request at all, and what is forged: bytes that do not parse, tokens, positions, request ids, actors."""

import base64
import json
import socket
import struct
from collections.abc import Iterator

import apsw
import grpc
import pytest
from conftest import RunningServer
from grpc import StatusCode
from wire import METHODS, SERVICE, Wire, request_of

TOO_LARGE = (4 << 20) + 1
DAY_MICROSECONDS = 24 * 3600 * 1_000_000


@pytest.fixture(scope="module")
def wire(server: RunningServer) -> Iterator[Wire]:
    """The file's server with two models, the first of which has two versions, two aliases and two files."""
    wire = Wire(server)
    wire.call("CreateModel", name="base")
    wire.call("CreateModel", name="cafe")
    files = [{"path": path, "uri": "s3://bucket/key"} for path in ("a", "b", "c")]
    wire.call("RegisterVersion", model="base", aliases=["a", "b"], record={"external_files": files})
    wire.call("RegisterVersion", model="base")
    yield wire
    wire.close()


# Bytes that do not parse.


def bad_text(message, text: bytes) -> bytes:
    """A message whose first string, however deep, has these bytes."""
    for field in message.fields:
        inner = (
            text
            if field.type == field.TYPE_STRING
            else bad_text(field.message_type, text)
            if field.message_type
            else b""
        )
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
    texts = (
        [bad_text(kind, text) for text in (b"\xff\xfe", b"\xc0\x80", b"\xed\xa0\x80", b"a\x80")] if kind.fields else []
    )
    for raw in MALFORMED + texts:
        refusal = wire.refuse(method, raw)
        assert (refusal.code, refusal.reason) == (StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
        assert f"{method}Request" in refusal.message


@pytest.mark.parametrize("method", [method for method in METHODS if method not in ("UploadBlob", "DownloadArtifact")])
def test_any_bytes_get_an_answer(wire, method):
    """Every field of every kind, most of them where another is expected."""
    contents = {0: b"\x01", 1: bytes(8), 2: b"\x01a", 5: bytes(4)}
    for raw in [bytes([tag]) + contents.get(tag & 7, b"") for tag in range(256)]:
        try:
            wire.call(method, raw)
        except grpc.RpcError as error:
            assert error.code() in (StatusCode.INVALID_ARGUMENT, StatusCode.NOT_FOUND), (raw, error.details())


def test_what_a_newer_client_may_send_is_ignored(wire):
    known = request_of("GetModel", name="base").SerializeToString()
    assert (
        wire.call("GetModel", known + b"\xfa\x07\x03new" + b"\xf8\x07\x01" + b"\xfb\x07\xfc\x07").model.name == "base"
    )
    assert wire.call("GetModel", b"\x0a\x04cafe" + known).model.name == "base", (
        "of a field that is there twice, the last counts"
    )


@pytest.mark.parametrize("method", METHODS)
def test_messages_that_are_too_large(wire, method):
    before = wire.database()
    with pytest.raises(grpc.RpcError) as caught:
        wire.call(method, b"\xfa\x07" + b"\xfb\xff\xff\x01" + b"x" * (TOO_LARGE - 6))
    assert caught.value.code() is StatusCode.RESOURCE_EXHAUSTED
    assert wire.database() == before


def test_a_message_of_just_4_mib(wire):
    assert (
        wire.call("GetModel", b"\x0a\x04base" + b"\xfa\x07" + b"\xf4\xff\xff\x01" + b"x" * (TOO_LARGE - 13)).model.name
        == "base"
    )


@pytest.mark.parametrize(
    "path",
    [
        "/podium.v1.RegistryService/Nothing",
        "/podium.v1.RegistryService/getModel",
        "/podium.v2.RegistryService/GetModel",
        "/",
        "/x",
        "x",
    ],
)
def test_methods_that_are_not_there(wire, path):
    with pytest.raises(grpc.RpcError) as caught:
        wire.server.channel.unary_unary(path)(b"", timeout=30)
    assert caught.value.code() is StatusCode.UNIMPLEMENTED


def test_two_messages_where_one_is_meant(wire):
    call = wire.server.channel.stream_unary(f"/{SERVICE.full_name}/GetModel")
    assert call(iter([b"\x0a\x04base", b"\xff"]), timeout=30)


def upload(wire: Wire, *messages: bytes) -> bytes:
    return wire.server.channel.stream_unary(f"/{SERVICE.full_name}/UploadBlob")(iter(messages), timeout=30)


def test_streams_of_an_upload_that_are_none(wire, refused):
    header = {"model": "base", "digest": "sha256:" + "0" * 64, "size_bytes": 1 << 40 >> 10}
    begin = request_of("UploadBlob", header=header).SerializeToString()
    for field, messages in (
        ("header", []),
        ("header", [b"\x12\x01x"]),
        ("header", [b"\x12\x00", begin]),
        ("content", [b""]),
        ("content", [b"\xf8\x07\x01"]),
        ("header", [begin, begin]),
        ("content", [begin, b""]),
        ("chunk", [begin, b"\x12\x81\x80\x80\x01" + b"x" * ((2 << 20) + 1)]),
    ):
        refusal = refused(upload, wire, *messages)
        assert (refusal.code, refusal.reason, refusal.fields) == (
            StatusCode.INVALID_ARGUMENT,
            "INVALID_ARGUMENT",
            [field],
        )
    for raw in MALFORMED:
        assert refused(upload, wire, begin, raw).code is StatusCode.INVALID_ARGUMENT
    for place, value in (("size_bytes", -1), ("size_bytes", 2**39 + 1), ("offset", -1)):
        wire.refuse_field(f"header.{place}", "UploadBlob", header={**header, place: value})
    refusal = wire.refuse("UploadBlob", header={**header, "offset": 1})
    assert (refusal.code, refusal.reason, refusal.metadata) == (
        StatusCode.OUT_OF_RANGE,
        "OFFSET_MISMATCH",
        {"expected_offset": "0"},
    )


def test_questions_about_blobs(wire):
    def blobs(number: int) -> list[dict]:
        return [{"digest": f"sha256:{index:064x}", "size_bytes": index} for index in range(number)]

    assert len(wire.call("FindMissingBlobs", model="base", blobs=blobs(10_000)).missing) == 10_000
    wire.refuse_field("blobs", "FindMissingBlobs", model="base", blobs=blobs(10_001))
    for size in (-1, 2**39 + 1):
        wire.refuse_field(
            "blobs[0].size_bytes", "FindMissingBlobs", model="base", blobs=[{**blobs(1)[0], "size_bytes": size}]
        )
    both = [blobs(1)[0], {**blobs(1)[0], "size_bytes": 1}]
    wire.refuse_field("blobs[1].size_bytes", "FindMissingBlobs", model="base", blobs=both)


@pytest.mark.parametrize(
    "path",
    ["", "d", "A", "/a", "./a", "x/../a", "../../etc/passwd", "a/", "a\0", "😀" * 10_000, "x" * 1_000_000],
    ids=lambda p: ascii(p[:20]),
)
def test_downloads_of_no_file(wire, path):
    refusal = wire.refuse("DownloadArtifact", reference="base:1", path=path)
    assert (refusal.code, refusal.reason) == (StatusCode.NOT_FOUND, "FILE_NOT_FOUND")


def test_downloads_that_are_none(wire):
    wire.refuse_field("offset", "DownloadArtifact", reference="base:1", path="a", offset=-1)
    wire.refuse_field("limit", "DownloadArtifact", reference="base:1", path="a", limit=-1)
    refusal = wire.refuse("DownloadArtifact", reference="base:1", path="a")
    assert (refusal.code, refusal.reason, refusal.metadata) == (
        StatusCode.FAILED_PRECONDITION,
        "FILE_IS_EXTERNAL",
        {"uri": "s3://bucket/key"},
    )


# Page tokens.

PAGED = {  # a list of two items at least; another question; and a key of the right types that is not there
    "ListModels": ({}, {"filter": {"name_prefix": "b"}}, ["zzz"]),
    "ListVersions": ({"model": "base"}, {"model": "cafe"}, [0]),
    "ListFiles": ({"reference": "base:1"}, {"reference": "base:2"}, ["zzz"]),
    "ListAliases": ({"model": "base"}, {"model": "cafe"}, ["zzz"]),
    "ListEvents": ({}, {"newest_first": True}, [2**63 - 1, 0]),
}


def encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def decode(token: str) -> bytes:
    return base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))


@pytest.fixture(params=PAGED)
def page(request, wire: Wire) -> tuple[str, dict, str]:
    """A method, its question, and the token of its second page."""
    fields = PAGED[request.param][0]
    token = wire.call(request.param, **fields, page_size=1).next_page_token
    assert token
    return request.param, fields, token


def test_a_token_fits_its_request_whatever_the_size_of_the_page(wire, page):
    method, fields, token = page
    position = wire.call("GetServerInfo").position
    for more in ({}, {"page_size": 1}, {"page_size": 1_000}, {"at_least": position}):
        wire.call(method, **fields, page_token=token, **more)


def test_a_token_of_another_request(wire, page):
    method, fields, token = page
    wire.refuse_field("page_token", method, **PAGED[method][1], page_token=token)
    for other, (others, _, _) in PAGED.items():
        if other != method:
            wire.refuse_field("page_token", other, **others, page_token=token)


def test_a_token_that_was_cut_or_prolonged(wire, page):
    method, fields, token = page
    for end in range(1, len(token)):
        wire.refuse_field("page_token", method, **fields, page_token=token[:end])
    for bad in (
        token + "A",
        token + "=",
        token + "\n",
        " " + token,
        token * 2,
        "é",
        "0",
        "=" * 5,
        "\0",
        "😀" * 1_000,
        "A" * 1_000_000,
    ):
        wire.refuse_field("page_token", method, **fields, page_token=bad)


def test_a_token_with_one_bit_changed(wire, page):
    """In what ties it to its request it is refused; in its key it may be the token of another page."""
    method, fields, token = page
    content = decode(token)
    for bit in range(len(content) * 8):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        if bit < 64:
            wire.refuse_field("page_token", method, **fields, page_token=encode(flipped))
            continue
        try:
            wire.call(method, **fields, page_token=encode(flipped))
        except grpc.RpcError:
            wire.refuse_field("page_token", method, **fields, page_token=encode(flipped))


FORGED_KEYS = [
    "",
    "[]",
    "null",
    "true",
    "1",
    '"a"',
    "{}",
    '{"a":1}',
    "[null]",
    "[true]",
    "[1.0]",
    "[-1]",
    "[9223372036854775808]",
    "[1e3]",
]
FORGED_KEYS += [
    "[" + "9" * 5_000 + "]",
    "[NaN]",
    "[Infinity]",
    "[-0]",
    '["\\ud800"]',
    '["a","b"]',
    "[1,2,3]",
    "[[1]]",
    '[{"a":1}]',
    "[1,",
    "[1] ",
]
FORGED_KEYS += [
    "[ 1]",
    "[01]",
    '["\\u0061"]',
    "[" * 100_000,
    "[" * 900 + "]" * 900,
    "[true,false]",
    '[1,"a"]',
    '["a",1]',
    "[-1,0]",
    "[1,-1]",
]


def test_a_token_with_a_forged_key(wire, page):
    method, fields, token = page
    for key in FORGED_KEYS:
        wire.refuse_field("page_token", method, **fields, page_token=encode(decode(token)[:8] + key.encode()))
    for raw in (b"\xff", b'["\xff"]', b'["\xed\xa0\x80"]', b"\0"):
        wire.refuse_field("page_token", method, **fields, page_token=encode(decode(token)[:8] + raw))
    sound = json.dumps(PAGED[method][2]).replace(" ", "").encode()
    reply = wire.call(method, **fields, page_token=encode(decode(token)[:8] + sound))
    assert not reply.next_page_token


# Positions.

READS = [method.name for method in SERVICE.methods if "at_least" in method.input_type.fields_by_name]
READ = {
    "GetModel": {"name": "base"}, "ListModels": {}, "GetVersion": {"reference": "base:1"}, "ListVersions": {"model": "base"},
    "ListFiles": {"reference": "base:1"}, "ResolveVersion": {"reference": "base:1"}, "ListAliases": {"model": "base"},
    "ListEvents": {}, "DownloadArtifact": {"reference": "base:1", "path": "a"},
}  # fmt: skip
PLACES_OF_POSITIONS = [(method, "at_least") for method in READS] + [("ListEvents", "filter.after")]


def at(method: str, place: str, position: str) -> dict:
    return {**READ[method], **({"at_least": position} if place == "at_least" else {"filter": {"after": position}})}


@pytest.mark.parametrize(("method", "place"), PLACES_OF_POSITIONS)
def test_positions_that_are_none(wire, method, place):
    now = wire.call("GetServerInfo").position
    last = now[:-1] + chr(ord(now[-1]) + 1)  # the bits beyond the 16th byte
    malformed = [
        "x",
        "0",
        "é",
        "\0",
        now[:-1],
        now + "A",
        now + "==",
        "=" * 22,
        " " + now,
        now + "\n",
        last,
        "+" * 22,
        "/" * 22,
        "A" * 21,
    ]
    malformed += ["A" * 1_000_000, "_" * 22, encode(struct.pack(">Q8s", 2**63, b"nonce..."))]
    for position in malformed:
        wire.refuse_field(place, method, **at(method, place, position))


@pytest.mark.parametrize(("method", "place"), PLACES_OF_POSITIONS)
def test_positions_of_another_history(wire, method, place):
    def refuse(position: str) -> None:
        refusal = wire.refuse(method, **at(method, place, position))
        assert (refusal.code, refusal.reason) == (StatusCode.OUT_OF_RANGE, "POSITION_UNKNOWN")

    revision, nonce = struct.unpack(">Q8s", decode(wire.call("GetServerInfo").position))
    for number, random in (
        (revision, b"nonce..."),
        (revision + 1, nonce),
        (revision - 1, nonce),
        (0, nonce),
        (2**63 - 1, nonce),
        (1, bytes(8)),
    ):
        refuse(encode(struct.pack(">Q8s", number, random)))


@pytest.mark.parametrize(
    ("method", "place"), [place for place in PLACES_OF_POSITIONS if place[0] != "DownloadArtifact"]
)
def test_every_position_of_this_history(wire, method, place):
    for event in wire.call("ListEvents").events:
        wire.call(method, **at(method, place, event.position))


def test_positions_of_two_registries(wire, start_server):
    other = Wire(start_server())
    beginning = other.call("GetServerInfo").position
    other.call("ListModels", at_least=beginning)
    for one, two in ((wire, other), (other, wire)):
        position = one.call("CreateModel", name="elsewhere").position
        one.call("ListModels", at_least=position)
        for foreign in (position, beginning) if one is other else (position,):
            assert two.refuse("ListModels", at_least=foreign).reason == "POSITION_UNKNOWN"
    assert len(other.call("ListEvents", filter={"after": beginning}).events) == 1
    other.close()


# Request ids.

MUTATIONS = {  # each with one content, and with another
    "CreateModel": ({"name": "made"}, {"name": "made", "description": "other"}),
    "UpdateModel": (
        {"model": {"name": "base", "description": "a"}, "update_mask": {"paths": ["description"]}},
        {"model": {"name": "base", "description": "b"}, "update_mask": {"paths": ["description"]}},
    ),
    "RegisterVersion": ({"model": "cafe", "record": {"author": "a"}}, {"model": "cafe", "record": {"author": "b"}}),
    "UpdateVersion": (
        {"reference": "base:1", "version": {"labels": {"a": "1"}}, "update_mask": {"paths": ["labels"]}},
        {"reference": "base:1", "version": {"labels": {"a": "2"}}, "update_mask": {"paths": ["labels"]}},
    ),
    "AddNote": ({"reference": "base:1", "text": "one"}, {"reference": "base:1", "text": "two"}),
    "TransitionStage": ({"reference": "base:1", "stage": "staging"}, {"reference": "base:1", "stage": "archived"}),
    "SetAlias": (
        {"model": "base", "alias": "moved", "version": "1"},
        {"model": "base", "alias": "moved", "version": "2"},
    ),
    "DeleteAlias": ({"model": "base", "alias": "moved"}, {"model": "base", "alias": "a"}),
}


def test_every_mutation_is_tried():
    assert set(MUTATIONS) == {
        method.name for method in SERVICE.methods if "request_id" in method.input_type.fields_by_name
    }


@pytest.mark.parametrize("method", MUTATIONS)
def test_request_ids_that_are_none(wire, method):
    for request_id in ("x" * 129, "é", "a\n", "\t", "\0", "\x7f", "a\u200b", "ａ", "x" * 1_000_000):
        wire.refuse_field("request_id", method, **MUTATIONS[method][0], request_id=request_id)


def test_replies_are_replayed_and_ids_not_reused_also_after_a_restart(start_server):
    server = start_server()
    wire = Wire(server)
    for name in ("base", "cafe"):
        wire.call("CreateModel", name=name)
    wire.call("RegisterVersion", model="base", aliases=["a"])
    wire.call("RegisterVersion", model="base", record={"author": "b"})
    ids = [" ~!one id", "x" * 128]  # the same for every method
    first = {
        (method, name): wire.call(method, **MUTATIONS[method][0], request_id=name)
        for name in ids[:1]
        for method in MUTATIONS
    }

    def replay(wire: Wire) -> None:
        before = wire.database()
        for (method, name), reply in first.items():
            assert wire.call(method, **MUTATIONS[method][0], request_id=name) == reply
            refusal = wire.refuse(method, **MUTATIONS[method][1], request_id=name)
            assert (refusal.code, refusal.reason, refusal.fields) == (
                StatusCode.INVALID_ARGUMENT,
                "REQUEST_ID_REUSED",
                ["request_id"],
            )
        assert wire.database() == before

    replay(wire)
    assert wire.call("AddNote", **MUTATIONS["AddNote"][0], request_id=ids[1]) != first["AddNote", ids[0]]
    wire.close()
    server.kill()
    server.start()
    wire = Wire(server)
    replay(wire)
    other = wire.call(
        "AddNote", **MUTATIONS["AddNote"][0], request_id=ids[0], _metadata=[("podium-actor", "somebody else")]
    )
    assert other.note.actor == "somebody else", "an id is its caller's own"
    wire.close()


def test_a_refused_call_leaves_its_id_free(wire):
    wire.refuse_field("text", "AddNote", reference="base:1", text="", request_id="free")
    assert wire.refuse("AddNote", reference="base:99", text="a", request_id="free").reason == "VERSION_NOT_FOUND"
    assert wire.call("AddNote", reference="base:1", text="b", request_id="free").note.text == "b"


def test_replies_are_kept_for_a_day(start_server):
    server = start_server()
    server.stub.CreateModel(request_of("CreateModel", name="base"))
    server.stub.RegisterVersion(request_of("RegisterVersion", model="base"))
    note = request_of("AddNote", reference="base:1", text="a", request_id="one")
    for age, replayed in ((DAY_MICROSECONDS - 60_000_000, True), (DAY_MICROSECONDS + 1, False)):
        first = server.stub.AddNote(note)
        server.stop()
        database = apsw.Connection(str(server.data / "registry.db"))
        database.execute("UPDATE request SET time = (SELECT time FROM head) - ?", (age,))
        database.close()
        server.start()
        assert (server.stub.AddNote(note) == first) is replayed
        server.stub.AddNote(request_of("AddNote", reference="base:1", text="b"))


# Actors.


def test_actors(wire):
    def note(actor: str) -> str:
        return wire.call("AddNote", reference="base:1", text="who?", _metadata=[("podium-actor", actor)]).note.actor

    for actor in ("ann@build-7", "x" * 256, "a b"):
        assert note(actor) == actor
    assert wire.call("ListEvents", newest_first=True, page_size=1).events[0].actor == "a b"
    assert wire.call("AddNote", reference="base:1", text="nobody").note.actor == ""
    for method in ("AddNote", "GetModel", "ResolveVersion", "DownloadArtifact", "UploadBlob"):
        fields = (
            {"header": {"model": "base"}}
            if method == "UploadBlob"
            else READ.get(method, {"reference": "base:1", "text": "a"})
        )
        refusal = wire.refuse(method, **fields, _metadata=[("podium-actor", "x" * 257)])
        assert refusal.code is StatusCode.INVALID_ARGUMENT and "podium-actor" in refusal.message


@pytest.mark.parametrize("actor", [b"a\x01b", b"a\tb", b"\x1b[31m", "é".encode() * 63 + b"xyz", "é\u2028".encode()])
def test_actors_that_only_a_bare_http2_client_can_send(wire, actor):
    """gRPC's own clients refuse to send them."""
    body = request_of("AddNote", reference="base:1", text="who?").SerializeToString()
    before = wire.database()
    answer = http2_call(wire.server.address, f"/{SERVICE.full_name}/AddNote", [(b"podium-actor", actor)], body)
    if actor.decode().isprintable():
        assert b"grpc-status\x010" in answer
    else:
        assert b"grpc-status\x013" in answer and b"podium-actor" in answer
        assert wire.database() == before


def http2_call(address: str, path: str, metadata: list[tuple[bytes, bytes]], body: bytes) -> bytes:
    """One call with headers that are written down as they are; the headers, data and trailers of the answer."""
    host, port = address.split(":")
    headers = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path.encode()),
        (b":authority", address.encode()),
    ]
    headers += [(b"te", b"trailers"), (b"content-type", b"application/grpc"), *metadata]
    block = b"".join(
        b"\0" + bytes([len(name)]) + name + bytes([min(len(value), 127)]) + more(len(value)) + value
        for name, value in headers
    )
    message = b"\0" + struct.pack(">I", len(body)) + body
    answer = b""
    with socket.create_connection((host, int(port)), timeout=30) as connection, connection.makefile("rb") as frames:
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        connection.sendall(preface + frame(4, 0, 0, b"") + frame(1, 4, 1, block) + frame(0, 1, 1, message))
        while len(head := frames.read(9)) == 9:
            content = frames.read(int.from_bytes(head[:3]))
            kind, flags, stream = head[3], head[4], int.from_bytes(head[5:])
            if stream == 1:
                answer += content
            if stream == 1 and kind in (0, 1) and flags & 1:
                break
    return answer


def frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    return len(content).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + content


def more(length: int) -> bytes:
    """The rest of a length of 127 or more, as HPACK writes it."""
    return (
        b""
        if length < 127
        else bytes([length - 127])
        if length < 255
        else bytes([(length - 127) % 128 | 128, (length - 127) // 128])
    )
