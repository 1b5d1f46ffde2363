"""Missing blobs and downloads against a real server, with blobs that are damaged on its disk."""

import itertools
import os
import random
from pathlib import Path

import grpc
import pytest
from podium.v1.artifacts_pb2 import BlobSpec, DownloadArtifactRequest, FindMissingBlobsRequest
from podium.v1.records_pb2 import ExternalFile, VersionRecord
from podium.v1.resolve_pb2 import ResolveVersionRequest
from podium.v1.versions_pb2 import ManifestFile, RegisterVersionRequest
from story import create_model, download, register, upload_files
from streams import MIB, committed, digest_of, until, upload

CODE = grpc.StatusCode
names = itertools.count()
FILE = random.Random(1).randbytes(3 * MIB + 5)
EDGES = [0, 1, MIB - 1, MIB, MIB + 1, 2 * MIB, 3 * MIB - 1, 3 * MIB, 3 * MIB + 4, 3 * MIB + 5]


@pytest.fixture
def model(stub):
    return create_model(stub, f"artifacts/m{next(names)}").name


@pytest.fixture(scope="module")
def ranged(server):
    """A version with one file, for those who only read."""
    create_model(server.stub, "ranges")
    files = upload_files(server.stub, "ranges", {"weights/a.bin": FILE, "empty": b""})
    register(server.stub, "ranges", files=files)
    return "ranges:1"


def version_of(stub, model, data):
    """Registers a version with one file of these bytes."""
    files = upload_files(stub, model, {"f": data})
    return f"{model}:{register(stub, model, files=files).version.number}"


def file_of(server, data) -> Path:
    digest = digest_of(data)
    return server.data / "blobs" / "sha256" / digest[7:9] / digest[7:]


def spec(data, **values):
    return BlobSpec(**{"digest": digest_of(data), "size_bytes": len(data), **values})


def missing(stub, model, *specs):
    return [
        (blob.digest, blob.committed_bytes)
        for blob in stub.FindMissingBlobs(FindMissingBlobsRequest(model=model, blobs=specs)).missing
    ]


def test_missing_blobs_come_in_the_order_of_the_request_each_once(stub, model):
    blobs = [os.urandom(20) for _ in range(1200)]
    for blob in blobs[:3]:
        upload(stub, model, blob)
    wanted = [*blobs, *reversed(blobs)]
    assert missing(stub, model, *map(spec, wanted)) == [(digest_of(blob), 0) for blob in blobs[3:]]
    assert missing(stub, model) == []


def test_10000_blobs_may_be_asked_about_and_not_one_more(stub, model, refused):
    specs = [BlobSpec(digest=f"sha256:{number:064x}", size_bytes=1) for number in range(10_001)]
    assert len(missing(stub, model, *specs[:10_000])) == 10_000
    refusal = refused(stub.FindMissingBlobs, FindMissingBlobsRequest(model=model, blobs=specs))
    assert (refusal.code, refusal.fields) == (CODE.INVALID_ARGUMENT, ["blobs"])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"digest": "sha256:12"}, "blobs[1].digest"),
        ({"digest": ""}, "blobs[1].digest"),
        ({"size_bytes": -1}, "blobs[1].size_bytes"),
        ({"size_bytes": 2**39 + 1}, "blobs[1].size_bytes"),
        ({"digest": digest_of(b"one")}, "blobs[1].size_bytes"),
    ],
)
def test_a_bad_blob_is_named(stub, model, change, field, refused):
    request = FindMissingBlobsRequest(model=model, blobs=[spec(b"one"), spec(b"three", **change)])
    refusal = refused(stub.FindMissingBlobs, request)
    assert (refusal.code, refusal.fields) == (CODE.INVALID_ARGUMENT, [field])


def test_a_blob_that_is_there_has_its_size(stub, model, refused):
    upload(stub, model, b"12345")
    refusal = refused(stub.FindMissingBlobs, FindMissingBlobsRequest(model=model, blobs=[spec(b"12345", size_bytes=4)]))
    assert (refusal.code, refusal.reason) == (CODE.INVALID_ARGUMENT, "INVALID_ARGUMENT")


def test_a_download_begins_with_what_is_coming(stub, ranged):
    first, *rest = stub.DownloadArtifact(DownloadArtifactRequest(reference=ranged, path="weights/a.bin"))
    assert (first.header.number, first.header.size_bytes, first.header.digest) == (1, len(FILE), digest_of(FILE))
    assert [message.WhichOneof("content") for message in rest] == ["chunk"] * 4
    assert [len(message.chunk) for message in rest] == [MIB, MIB, MIB, 5]
    assert b"".join(message.chunk for message in rest) == FILE


def test_an_empty_file_is_a_header(stub, ranged):
    (first,) = stub.DownloadArtifact(DownloadArtifactRequest(reference=ranged, path="empty"))
    assert (first.header.size_bytes, first.header.digest) == (0, digest_of(b""))


@pytest.mark.parametrize("start", EDGES)
@pytest.mark.parametrize("limit", [None, 0, 1, 5, MIB, MIB + 1, 2**62])
def test_a_range_is_that_range(stub, ranged, start, limit):
    stop = len(FILE) if limit is None else start + limit
    assert download(stub, ranged, "weights/a.bin", offset=start, limit=limit) == FILE[start:stop]


@pytest.mark.parametrize(
    ("values", "code", "reason"),
    [
        ({"offset": len(FILE) + 1}, CODE.OUT_OF_RANGE, "OFFSET_MISMATCH"),
        ({"offset": -1}, CODE.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
        ({"limit": -1}, CODE.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
        ({"path": "weights"}, CODE.NOT_FOUND, "FILE_NOT_FOUND"),
        ({"path": ""}, CODE.NOT_FOUND, "FILE_NOT_FOUND"),
        ({"path": "../../registry.db"}, CODE.NOT_FOUND, "FILE_NOT_FOUND"),
        ({"path": "/weights/a.bin"}, CODE.NOT_FOUND, "FILE_NOT_FOUND"),
        ({"reference": "ranges:2"}, CODE.NOT_FOUND, "VERSION_NOT_FOUND"),
        ({"reference": "ranges"}, CODE.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
        ({"reference": digest_of(FILE)}, CODE.NOT_FOUND, "MODEL_NOT_FOUND"),
        ({"reference": f"ranges@{digest_of(FILE)}"}, CODE.NOT_FOUND, "VERSION_NOT_FOUND"),
        ({"at_least": "nonsense"}, CODE.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
    ],
)
def test_a_download_of_what_is_not_there_is_refused(stub, ranged, values, code, reason, refused):
    request = DownloadArtifactRequest(**{"reference": ranged, "path": "weights/a.bin", **values})
    refusal = refused(stub.DownloadArtifact, request)
    assert (refusal.code, refusal.reason) == (code, reason)


def test_every_kind_of_reference_is_downloaded(stub, ranged):
    target = stub.ResolveVersion(ResolveVersionRequest(reference=ranged)).target
    for form in (f":{target.version}", "@latest", "#development", f"@{target.digest}"):
        assert download(stub, f"ranges{form}", "empty") == b""
        assert download(stub, f"ranges{form}", "weights/a.bin", limit=9) == FILE[:9]


def test_an_external_file_is_told_where_it_is(stub, model, refused):
    record = VersionRecord(external_files=[ExternalFile(path="far/away.bin", uri="https://example.com/away.bin")])
    stub.RegisterVersion(RegisterVersionRequest(model=model, record=record))
    refusal = refused(stub.DownloadArtifact, DownloadArtifactRequest(reference=f"{model}:1", path="far/away.bin"))
    assert (refusal.code, refusal.reason) == (CODE.FAILED_PRECONDITION, "FILE_IS_EXTERNAL")
    assert refusal.metadata == {"uri": "https://example.com/away.bin"}


def flipped(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x10]))


def damaged(stub, reference, digest, sent, refused, **values):
    """Downloads a file that is damaged: so many bytes come, then DATA_LOSS that names the blob."""
    request = DownloadArtifactRequest(reference=reference, path="f", **values)
    got = bytearray()

    def read():
        for message in stub.DownloadArtifact(request):
            got.extend(message.chunk)

    refusal = refused(read)
    assert (refusal.code, refusal.reason, refusal.metadata) == (CODE.DATA_LOSS, "BLOB_DAMAGED", {"digest": digest})
    assert bytes(got) == sent


@pytest.mark.parametrize("offset", [0, MIB - 1, MIB, 3 * MIB, 3 * MIB + 4])
def test_nothing_of_a_damaged_mib_is_sent(server, stub, model, offset, refused):
    data = os.urandom(3 * MIB + 5)
    reference = version_of(stub, model, data)
    flipped(file_of(server, data), offset)
    damaged(stub, reference, digest_of(data), data[: offset // MIB * MIB], refused)
    damaged(stub, reference, digest_of(data), b"", refused, limit=1)


def test_a_range_is_checked_by_whole_mib(server, stub, model, refused):
    data = os.urandom(3 * MIB)
    reference = version_of(stub, model, data)
    flipped(file_of(server, data), MIB)
    assert download(stub, reference, "f", offset=2 * MIB) == data[2 * MIB :]
    assert download(stub, reference, "f", limit=MIB) == data[:MIB]
    damaged(stub, reference, digest_of(data), b"", refused, offset=2 * MIB - 1, limit=1)


def cut_off(path):
    os.truncate(path, MIB + 3)


def cut_at_a_mib(path):
    os.truncate(path, MIB)


def replaced(path):
    path.write_bytes(b"other")


@pytest.mark.parametrize(("damage", "left"), [(cut_off, MIB), (cut_at_a_mib, MIB), (replaced, 0), (Path.unlink, 0)])
def test_a_damaged_blob_is_healed_by_an_upload(server, stub, model, damage, left, refused):
    data = os.urandom(2 * MIB + 5)
    reference = version_of(stub, model, data)
    damage(file_of(server, data))
    damaged(stub, reference, digest_of(data), data[:left], refused)
    assert committed(stub, model, data) == 0, "a quarantined blob counts as missing"
    file = ManifestFile(path="g", digest=digest_of(data), size_bytes=len(data))
    refusal = refused(stub.RegisterVersion, RegisterVersionRequest(model=model, files=[file]))
    assert refusal.reason == "BLOBS_MISSING"
    assert upload(stub, model, data).complete
    assert committed(stub, model, data) is None
    assert download(stub, reference, "f") == data
    flipped(file_of(server, data), 0)
    damaged(stub, reference, digest_of(data), b"", refused)


def test_damage_that_was_healed_meanwhile_is_not_quarantined_again(server, stub, model, refused):
    """A slow reader still has the damaged file open when a new upload has replaced it."""
    data = os.urandom(MIB) * 48
    reference = version_of(stub, model, data)
    flipped(file_of(server, data), 47 * MIB)
    slow = stub.DownloadArtifact(DownloadArtifactRequest(reference=reference, path="f"))
    assert next(slow).header.digest == digest_of(data)
    damaged(stub, reference, digest_of(data), b"", refused, offset=47 * MIB)
    assert upload(stub, model, data).complete
    assert refused(list, slow).reason == "BLOB_DAMAGED"
    assert download(stub, reference, "f", offset=46 * MIB) == data[46 * MIB :]


def test_a_store_that_is_away_is_no_loss(server, stub, model, refused):
    data = os.urandom(100)
    reference = version_of(stub, model, data)
    folder = server.data / "blobs" / "sha256"
    folder.rename(folder.with_name("away"))
    refusal = refused(stub.DownloadArtifact, DownloadArtifactRequest(reference=reference, path="f"))
    assert (refusal.code, refusal.reason) == (CODE.UNAVAILABLE, "STORAGE_UNAVAILABLE")
    folder.with_name("away").rename(folder)
    assert download(stub, reference, "f") == data


def test_a_cancelled_download_leaves_no_file_open(server, stub, model):
    data = os.urandom(16 * MIB)
    reference = version_of(stub, model, data)
    for _ in range(5):
        call = stub.DownloadArtifact(DownloadArtifactRequest(reference=reference, path="f"))
        next(call)
        next(call)
        call.cancel()
    path = str(file_of(server, data))
    folder = Path(f"/proc/{server.process.pid}/fd")
    until(lambda: path not in {str(link.readlink()) for link in folder.iterdir() if link.is_symlink()})
    assert download(stub, reference, "f") == data
