"""Uploads against a real server: resumed, raced, cut off, and with bytes that are not what they were said to be."""

import itertools
import os
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from conftest import Refusal
from google.protobuf.message import Message
from podium.v1.artifacts_pb2 import BlobSpec, FindMissingBlobsRequest, UploadBlobHeader, UploadBlobRequest
from story import create_model
from streams import MIB, SECONDS, OpenUpload, chunks_of, committed, digest_of, endless, header_of, until, upload

CODE = grpc.StatusCode
names = itertools.count()


@pytest.fixture
def model(stub):
    return create_model(stub, f"uploads/m{next(names)}").name


@pytest.fixture
def data():
    return os.urandom(3 * MIB + 5)


def complete(size):
    return {"committed_bytes": size, "complete": True} if size else {"complete": True}


def said(response: Message):
    return {field.name: value for field, value in response.ListFields()}


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, 12 * MIB + 3])
def test_an_upload_is_complete_when_all_bytes_are_there(stub, model, size):
    data = os.urandom(size)
    assert committed(stub, model, data) == 0
    assert said(upload(stub, model, data)) == complete(size)
    assert committed(stub, model, data) is None


@pytest.mark.parametrize("chunk", [1, 1000, MIB - 1, 2 * MIB])
def test_chunks_may_have_any_size_up_to_2_mib(stub, model, chunk):
    data = os.urandom(min(4 * MIB, chunk * 5000))
    assert said(stub.UploadBlob(iter([header_of(model, data), *chunks_of(data, chunk)]))) == complete(len(data))


def test_empty_chunks_are_allowed(stub, model):
    nothing = UploadBlobRequest(chunk=b"")
    messages = [header_of(model, b"ab"), nothing, UploadBlobRequest(chunk=b"a"), nothing, UploadBlobRequest(chunk=b"b")]
    assert said(stub.UploadBlob(iter(messages))) == complete(2)


@pytest.mark.parametrize("size", [2 * MIB + 1, 4 * MIB - 16])
def test_a_larger_chunk_is_refused_and_what_came_before_stays(stub, model, size, refused):
    data = os.urandom(5 * MIB)
    refusal = refused(stub.UploadBlob, iter([header_of(model, data), *chunks_of(data[:MIB]), UploadBlobRequest(chunk=bytes(size))]))
    assert (refusal.code, refusal.reason, refusal.fields) == (CODE.INVALID_ARGUMENT, "INVALID_ARGUMENT", ["chunk"])
    assert committed(stub, model, data) == MIB
    assert said(upload(stub, model, data, MIB)) == complete(5 * MIB)


def test_a_blob_that_is_there_ends_the_call_early(stub, model, data):
    upload(stub, model, data)
    with OpenUpload(stub, [header_of(model, data)]) as second:
        assert said(second.result()) == complete(len(data))


def test_a_stream_that_goes_on_after_all_bytes_ends_with_ok(stub, model):
    data = bytes(3 * MIB)
    assert said(stub.UploadBlob(endless(header_of(model, data), bytes(MIB)), timeout=SECONDS)) == complete(3 * MIB)


def test_a_blob_of_one_model_is_there_for_another(stub, model, data):
    other = create_model(stub, f"{model}-other").name
    upload(stub, model, data)
    assert committed(stub, other, data) is None
    with OpenUpload(stub, [header_of(other, data)]) as second:
        assert said(second.result()) == complete(len(data))


def test_half_closed_without_all_bytes_can_be_resumed(stub, model, data):
    response = stub.UploadBlob(iter([header_of(model, data), UploadBlobRequest(chunk=data[: MIB + 7])]))
    assert said(response) == {"committed_bytes": MIB + 7}
    assert committed(stub, model, data) == MIB + 7
    response = stub.UploadBlob(iter([header_of(model, data, offset=MIB + 7), UploadBlobRequest(chunk=data[MIB + 7 : 2 * MIB])]))
    assert said(response) == {"committed_bytes": 2 * MIB}
    assert said(upload(stub, model, data, 2 * MIB)) == complete(len(data))


def test_nothing_sent_is_nothing_committed(stub, model, data):
    assert said(stub.UploadBlob(iter([header_of(model, data)]))) == {}
    assert said(upload(stub, model, data)) == complete(len(data))


def test_at_0_an_upload_starts_over(stub, model, data):
    stub.UploadBlob(iter([header_of(model, data), UploadBlobRequest(chunk=b"wrong bytes")]))
    assert said(upload(stub, model, data)) == complete(len(data))


@pytest.mark.parametrize("offset", [1, 9, 11, 3 * MIB + 5, 3 * MIB + 6, 2**40])
def test_an_offset_that_does_not_fit_is_told_the_one_that_does(stub, model, data, offset, refused):
    stub.UploadBlob(iter([header_of(model, data), UploadBlobRequest(chunk=data[:10])]))
    refusal = refused(stub.UploadBlob, iter([header_of(model, data, offset=offset)]))
    assert (refusal.code, refusal.reason) == (CODE.OUT_OF_RANGE, "OFFSET_MISMATCH")
    assert refusal.metadata == {"expected_offset": "10"}
    assert said(upload(stub, model, data, 10)) == complete(len(data))


def test_where_nothing_is_durable_the_offset_is_0(stub, model, data, refused):
    refusal = refused(stub.UploadBlob, iter([header_of(model, data, offset=5)]))
    assert (refusal.reason, refusal.metadata) == ("OFFSET_MISMATCH", {"expected_offset": "0"})


def test_all_bytes_durable_but_not_finished(stub, model, data, server):
    """A crash may come between the last byte and the finish; then a header is all that is left to send."""
    stub.UploadBlob(iter([header_of(model, data, size_bytes=len(data) + 1), *chunks_of(data)]))
    refused_size = said(upload(stub, model, data))
    assert refused_size == complete(len(data))


def wrong(stub, model, messages, refused) -> Refusal:
    refusal = refused(stub.UploadBlob, iter(messages))
    assert (refusal.code, refusal.reason) == (CODE.INVALID_ARGUMENT, "CONTENT_MISMATCH")
    assert refusal.metadata.keys() == {"expected", "actual"}
    return refusal


def test_a_wrong_digest_throws_the_bytes_away(stub, model, data, refused):
    other = os.urandom(len(data))
    refusal = wrong(stub, model, [header_of(model, data), *chunks_of(other)], refused)
    assert refusal.metadata == {"expected": digest_of(data), "actual": digest_of(other)}
    assert committed(stub, model, data) == 0
    assert said(upload(stub, model, data)) == complete(len(data))


def test_a_wrong_digest_after_a_resume_throws_all_bytes_away(stub, model, data, refused):
    stub.UploadBlob(iter([header_of(model, data), UploadBlobRequest(chunk=b"!" * MIB)]))
    wrong(stub, model, [header_of(model, data, offset=MIB), *chunks_of(data[MIB:])], refused)
    assert committed(stub, model, data) == 0
    assert said(upload(stub, model, data)) == complete(len(data))


@pytest.mark.parametrize("more", [1, MIB])
def test_more_bytes_than_declared_throw_all_away(stub, model, data, more, refused):
    messages = [header_of(model, data), *chunks_of(data[: 3 * MIB]), UploadBlobRequest(chunk=data[3 * MIB :] + bytes(more))]
    refusal = wrong(stub, model, messages, refused)
    assert refusal.metadata == {"expected": str(len(data)), "actual": str(len(data) + more)}
    assert committed(stub, model, data) == 0


@pytest.mark.parametrize("by", [-1, 1])
def test_a_size_that_is_not_the_blobs_never_completes(stub, model, data, by, refused):
    """One byte less declared is one too many sent; one more is one that never comes."""
    messages = [header_of(model, data, size_bytes=len(data) + by), *chunks_of(data)]
    if by < 0:
        wrong(stub, model, messages, refused)
    else:
        assert said(stub.UploadBlob(iter(messages))) == {"committed_bytes": len(data)}
    assert said(upload(stub, model, data)) == complete(len(data))


@pytest.mark.parametrize("by", [-1, 1])
def test_a_known_blob_has_its_size(stub, model, data, by, refused):
    upload(stub, model, data)
    refusal = wrong(stub, model, [header_of(model, data, size_bytes=len(data) + by)], refused)
    assert refusal.fields == ["header.size_bytes"]
    assert refusal.metadata == {"expected": str(len(data) + by), "actual": str(len(data))}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"model": ""}, "header.model"),
        ({"model": "../x"}, "header.model"),
        ({"digest": ""}, "header.digest"),
        ({"digest": "sha256:../../../../etc/passwd"}, "header.digest"),
        ({"digest": f"sha256:{'A' * 64}"}, "header.digest"),
        ({"size_bytes": -1}, "header.size_bytes"),
        ({"size_bytes": 512 * 2**30 + 1}, "header.size_bytes"),
        ({"offset": -1}, "header.offset"),
    ],
)
def test_a_bad_header_is_refused(stub, model, data, change, field, refused):
    header = UploadBlobHeader(**{"model": model, "digest": digest_of(data), "size_bytes": len(data), **change})
    refusal = refused(stub.UploadBlob, iter([UploadBlobRequest(header=header)]))
    assert (refusal.code, refusal.reason, refusal.fields) == (CODE.INVALID_ARGUMENT, "INVALID_ARGUMENT", [field])


def test_the_largest_blob_may_begin(stub, model, data):
    assert said(stub.UploadBlob(iter([header_of(model, data, size_bytes=512 * 2**30)]))) == {}


def test_the_model_must_exist(stub, data, refused):
    for method, request in (
        (stub.UploadBlob, iter([header_of("no/such", data)])),
        (stub.FindMissingBlobs, FindMissingBlobsRequest(model="no/such")),
    ):
        refusal = refused(method, request)
        assert (refusal.code, refusal.reason) == (CODE.NOT_FOUND, "MODEL_NOT_FOUND")


def test_the_first_message_and_only_the_first_is_a_header(stub, model, data, refused):
    header, chunk = header_of(model, data), UploadBlobRequest(chunk=data[:MIB])
    for messages, field in (([], "header"), ([chunk], "header"), ([header, chunk, header], "header")):
        refusal = refused(stub.UploadBlob, iter(messages))
        assert (refusal.code, refusal.reason, refusal.fields) == (CODE.INVALID_ARGUMENT, "INVALID_ARGUMENT", [field])
    assert said(upload(stub, model, data, MIB)) == complete(len(data))


@pytest.mark.parametrize("message", [b"", b"\xff\xff", b"\x12\x05abc"], ids=["empty", "garbage", "cut off"])
def test_what_is_no_message_is_refused_in_mid_stream(server, stub, model, data, message, refused):
    raw = server.channel.stream_unary("/podium.v1.RegistryService/UploadBlob")
    messages = [header_of(model, data), UploadBlobRequest(chunk=data[:MIB])]
    refusal = refused(raw, iter([*[known.SerializeToString() for known in messages], message]))
    assert (refusal.code, refusal.reason) == (CODE.INVALID_ARGUMENT, "INVALID_ARGUMENT")
    assert committed(stub, model, data) == MIB


def test_legal_encodings_of_a_chunk_are_the_same_bytes(server, stub, model):
    """Split, repeated and unknown fields, long varints: what the generated parser would make of them."""
    raw = server.channel.stream_unary("/podium.v1.RegistryService/UploadBlob")
    data = b"onetwothree"
    chunks = [b"\x12\x03one", b"\x12\x01x\x12\x03two", b"\x92\x00\x85\x80\x00three\x1a\x07unknown"]
    raw(iter([header_of(model, data).SerializeToString(), *chunks]))
    assert committed(stub, model, data) is None


def test_a_second_writer_is_refused_and_the_first_goes_on(stub, model, data, refused):
    with OpenUpload(stub, [header_of(model, data), *chunks_of(data[:MIB])]) as first:
        until(lambda: committed(stub, model, data))
        refusal = refused(stub.UploadBlob, iter([header_of(model, data), *chunks_of(data)]))
        assert (refusal.code, refusal.reason) == (CODE.ABORTED, "UPLOAD_BUSY")
        assert 1 <= int(refusal.metadata["retry_after_seconds"]) <= 5
        first.send(*chunks_of(data[MIB:]))
        assert said(first.result()) == complete(len(data))


def test_a_writer_that_stands_still_for_5_seconds_is_taken_over(stub, model, data, refused):
    with OpenUpload(stub, [header_of(model, data), *chunks_of(data[: 2 * MIB])]) as first:
        until(lambda: committed(stub, model, data) == 2 * MIB)
        responses = []

        def second_is_let_in():
            try:
                responses.append(
                    stub.UploadBlob(iter([header_of(model, data, offset=2 * MIB), *chunks_of(data[2 * MIB : 3 * MIB])]))
                )
            except grpc.RpcError as error:
                assert Refusal(error).reason == "UPLOAD_BUSY"
            return responses

        until(second_is_let_in)
        assert said(responses[0]) == {"committed_bytes": 3 * MIB}
        refusal = refused(first.result)
        assert (refusal.code, refusal.reason) == (CODE.ABORTED, "UPLOAD_BUSY")
    assert said(upload(stub, model, data, 3 * MIB)) == complete(len(data))


def test_all_that_came_before_a_silence_becomes_durable(stub, model):
    """Small chunks come while a large one is still being written."""
    data = os.urandom(3 * MIB)
    with OpenUpload(stub, [header_of(model, data), *chunks_of(data[: 2 * MIB], 2 * MIB), *chunks_of(data[2 * MIB :][:5], 1)]):
        until(lambda: committed(stub, model, data) == 2 * MIB + 5)


def test_a_writer_that_stands_still_learns_that_the_blob_is_there(stub, model, data):
    """Another model's upload of the same bytes ends this one: there is nothing left to send."""
    other = create_model(stub, f"{model}-other").name
    with OpenUpload(stub, [header_of(model, data), *chunks_of(data[:MIB])]) as first:
        until(lambda: committed(stub, model, data))
        assert said(upload(stub, other, data)) == complete(len(data))
        assert said(first.result()) == complete(len(data))


def test_a_cancelled_upload_leaves_what_was_durable(stub, model, data):
    with OpenUpload(stub, [header_of(model, data), *chunks_of(data[: 2 * MIB])]) as first:
        until(lambda: committed(stub, model, data))
        first.call.cancel()
    left = []

    def is_let_in():
        try:
            left.append(committed(stub, model, data))
            return said(upload(stub, model, data, left[-1])) == complete(len(data))
        except grpc.RpcError as error:
            assert Refusal(error).reason in ("UPLOAD_BUSY", "OFFSET_MISMATCH")

    until(is_let_in)
    assert 0 < left[-1] <= 2 * MIB


def test_a_cancelled_upload_lets_the_next_writer_in_at_once(stub, model, data):
    for _ in range(3):
        first = OpenUpload(stub, [header_of(model, data), *chunks_of(data[:MIB])])
        until(lambda: committed(stub, model, data))
        with first:
            pass
        attempts = 0

        def is_let_in():
            nonlocal attempts
            attempts += 1
            try:
                return stub.UploadBlob(iter([header_of(model, data)])) is not None
            except grpc.RpcError as error:
                assert Refusal(error).reason == "UPLOAD_BUSY"

        until(is_let_in)
        assert attempts < 50, "that is how often one asks in half of the 5 seconds"


def test_of_many_writers_of_one_blob_all_that_do_not_complete_it_are_told_why(stub, model):
    data = os.urandom(4 * MIB)

    def race(_):
        try:
            return said(upload(stub, model, data)) == complete(len(data))
        except grpc.RpcError as error:
            return Refusal(error).reason

    with ThreadPoolExecutor(32) as pool:
        outcomes = list(pool.map(race, range(64)))
    assert set(outcomes) <= {True, "UPLOAD_BUSY"}
    assert True in outcomes
    assert committed(stub, model, data) is None


def test_many_blobs_at_once(stub, model):
    blobs = [os.urandom(1 + 50_000 * number) for number in range(64)]
    with ThreadPoolExecutor(16) as pool:
        assert [said(response) for response in pool.map(lambda blob: upload(stub, model, blob), blobs)] == [
            complete(len(blob)) for blob in blobs
        ]
    specs = [BlobSpec(digest=digest_of(blob), size_bytes=len(blob)) for blob in blobs]
    assert not stub.FindMissingBlobs(FindMissingBlobsRequest(model=model, blobs=specs)).missing


def test_uploads_leave_no_partial_behind(server, stub, model, data):
    upload(stub, model, data)
    folder = server.data / "blobs" / "partial"
    assert not [path for path in folder.iterdir() if path.name.startswith(digest_of(data)[7:])]
