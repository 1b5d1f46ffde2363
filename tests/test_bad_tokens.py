"""What a client must send back as it got it: page tokens and positions, forged, cut, and from elsewhere."""

import base64
import json
import struct
from collections.abc import Iterator

import grpc
import pytest
from conftest import RunningServer
from podium_server.positions import Position
from wire import GOOD, SERVICE, Wire, good


@pytest.fixture(scope="module")
def wire(server: RunningServer) -> Iterator[Wire]:
    """The file's server with two models, the first of which has two versions, two aliases, and three files."""
    wire = Wire(server)
    wire.call("CreateModel", name="base")
    wire.call("CreateModel", name="cafe")
    files = [{"path": path, "uri": "s3://bucket/key"} for path in ("a", "b", "c")]
    wire.call("RegisterVersion", model="base", aliases=["a", "b"], record={"external_files": files})
    wire.call("RegisterVersion", model="base")
    yield wire
    wire.close()


def encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def decode(token: str) -> bytes:
    return base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))


# Page tokens: eight bytes that tie one to its request, and the key of the last item as JSON.

PAGED = {  # another question, and a key of the right types after which nothing comes
    "ListModels": ({"filter": {"name_prefix": "b"}}, ["zzz"]),
    "ListVersions": ({"model": "cafe"}, [0]),
    "ListFiles": ({"reference": "base:2"}, ["zzz"]),
    "ListAliases": ({"model": "cafe"}, ["zzz"]),
    "ListEvents": ({"newest_first": True}, [2**63 - 1, 0]),
}
FORGED_KEYS = [
    "", "[]", "null", "true", "1", '"a"', "{}", '{"a":1}', "[null]", "[true]", "[1.0]", "[-1]", "[9223372036854775808]", "[1e3]",
    "[" + "9" * 5_000 + "]", "[NaN]", "[Infinity]", "[-0]", '["\\ud800"]', '["a","b"]', "[1,2,3]", "[[1]]", '[{"a":1}]', "[1,",
    "[1] ", "[ 1]", "[01]", '["\\u0061"]', "[" * 100_000, "[" * 900 + "]" * 900, "[true,false]", '[1,"a"]', '["a",1]', "[-1,0]",
    "[1,-1]", '["\\u0000"]',
]  # fmt: skip
FORGED_BYTES = [b"\xff", b'["\xff"]', b'["\xed\xa0\x80"]', b"\0"]


@pytest.fixture(params=PAGED)
def page(request, wire: Wire) -> tuple[str, str]:
    """A method, and the token of the second page of its good request."""
    token = wire.call(request.param, **GOOD[request.param], page_size=1).next_page_token
    assert token
    return request.param, token


def test_every_list_is_tried():
    paged = {method.name for method in SERVICE.methods if "page_token" in method.input_type.fields_by_name}
    assert paged == set(PAGED)


def test_a_token_fits_its_request_whatever_the_size_of_the_page(wire, page):
    method, token = page
    position = wire.call("GetServerInfo").position
    for more in ({}, {"page_size": 1}, {"page_size": 1_000}, {"at_least": position}):
        wire.call(method, **GOOD[method], page_token=token, **more)


def test_a_token_of_another_request(wire, page):
    method, token = page
    wire.refuse_field("page_token", method, **PAGED[method][0], page_token=token)
    for other in PAGED.keys() - {method}:
        wire.refuse_at(f"{other}.page_token", token)


def test_a_token_that_was_cut_or_prolonged(wire, page):
    method, token = page
    for end in range(1, len(token)):
        wire.refuse_at(f"{method}.page_token", token[:end])
    for bad in (token + "A", token + "=", token + "\n", " " + token, token * 2):
        wire.refuse_at(f"{method}.page_token", bad)
    for bad in ("é", "0", "=" * 5, "\0", "😀" * 1_000, "A" * 1_000_000):
        wire.refuse_at(f"{method}.page_token", bad)


def test_a_token_with_one_bit_changed(wire, page):
    """In what ties it to its request it is refused; in its key it may be the token of another page."""
    method, token = page
    content = decode(token)
    for bit in range(len(content) * 8):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            wire.accept_at(f"{method}.page_token", encode(flipped))
            assert bit >= 64
        except grpc.RpcError:
            wire.refuse_at(f"{method}.page_token", encode(flipped))


def test_a_token_with_a_forged_key(wire, page):
    method, token = page
    for key in [key.encode() for key in FORGED_KEYS] + FORGED_BYTES:
        wire.refuse_at(f"{method}.page_token", encode(decode(token)[:8] + key))
    sound = json.dumps(PAGED[method][1], separators=(",", ":")).encode()
    assert not wire.accept_at(f"{method}.page_token", encode(decode(token)[:8] + sound)).next_page_token


# Positions: a revision in eight bytes, and the eight random bytes stored with it.

AT_LEAST = [f"{method.name}.at_least" for method in SERVICE.methods if "at_least" in method.input_type.fields_by_name]
PLACES = [*AT_LEAST, "ListEvents.filter.after"]
BEYOND = {"DownloadArtifact.at_least": "FILE_NOT_FOUND", "SignDownloads.at_least": "CANNOT_SIGN"}  # with a good position


@pytest.mark.parametrize("place", PLACES)
def test_positions_that_are_none(wire, place):
    now = wire.call("GetServerInfo").position
    beyond = struct.pack(">Q8s", 2**63, b"nonce...").hex()
    spaced = now[:16] + " " + now[16:]
    for position in (now[:-1], now[:-2], now + "a", now + "aa", " " + now, now + "\n", spaced, "A" * 32, now[:-1] + "g", beyond):
        wire.refuse_at(place, position)
    for position in ("x", "0", "é", "\0", "=" * 32, "-" * 32, "_" * 32, "٠" * 32, "a" * 31, "a" * 1_000_000):
        wire.refuse_at(place, position)


@pytest.mark.parametrize("place", PLACES)
def test_positions_of_another_history(wire, place):
    revision, nonce = struct.unpack(">Q8s", bytes.fromhex(wire.call("GetServerInfo").position))
    future = [(revision + 1, nonce), (revision + 1, b"nonce..."), (2**63 - 1, nonce)]
    past = [(revision, b"nonce..."), (revision - 1, nonce), (1, bytes(8)), (0, nonce)]
    for pair in future + past:
        wire.refuse_at(place, struct.pack(">Q8s", *pair).hex(), reason="POSITION_UNKNOWN")


@pytest.mark.parametrize("place", PLACES)
def test_every_position_of_this_history(wire, place):
    for event in wire.call("ListEvents").events:
        if place in BEYOND:
            wire.refuse_at(place, event.position, reason=BEYOND[place])
        else:
            method, fields = good(place, event.position)
            wire.call(method, **fields)


def test_positions_of_two_registries(wire, start_server):
    other = Wire(start_server())
    beginning = other.call("GetServerInfo").position
    other.accept_at("ListModels.at_least", beginning)
    for one, two in ((wire, other), (other, wire)):
        position = one.call("CreateModel", name="elsewhere").position
        one.accept_at("ListModels.at_least", position)
        two.refuse_at("ListModels.at_least", position, reason="POSITION_UNKNOWN")
    wire.refuse_at("ListModels.at_least", beginning, reason="POSITION_UNKNOWN")
    assert len(other.accept_at("ListEvents.filter.after", beginning).events) == 1
    other.close()


def test_positions_sort_as_their_revisions_do():
    texts = [str(Position(revision, bytes([255 - place] * 8))) for place, revision in enumerate((0, 1, 9, 10, 255, 256, 2**62))]
    assert sorted(texts) == texts
