"""SignDownloads: for which files it gives URLs, and what those are good for. Cloud Storage is the strict fake of it."""

import time
import urllib.error
import urllib.request

import grpc
import pytest
from gcs_servers import BUCKET
from podium.v1.artifacts_pb2 import DownloadArtifactRequest, SignDownloadsRequest
from podium.v1.records_pb2 import VersionRecord
from podium.v1.server_pb2 import GetServerInfoRequest
from story import create_model, download, register, upload_files
from streams import digest_of

CODE = grpc.StatusCode
SIGNED = "X-Goog-Signature"
FILES = {"weights.bin": b"0123456789" * 1000, "dir with/ü %25&?#.txt": b"text", "empty": b""}


@pytest.fixture
def start(gcs, start_server, tmp_path):
    """Starts a server over the bucket whose account can sign; each call one more, over the same data."""
    account = gcs.account(tmp_path)

    def start(*options, **environment):
        return start_server("--blobs", f"gs://{BUCKET}/registry", *options, environment={**account, **environment})

    return start


@pytest.fixture
def server(start):
    """A server with the version m:1."""
    server = start("--log-level", "debug")
    create_model(server.stub, "m")
    register(server.stub, "m", files=upload_files(server.stub, "m", FILES))
    yield server
    if server.process.returncode is None:
        server.stop()
    assert "Traceback" not in server.output()
    assert SIGNED not in server.output(), "a URL is a key"


def sign(stub, *paths, reference="m:1", **values):
    return stub.SignDownloads(SignDownloadsRequest(reference=reference, paths=paths, **values))


def url_of(stub, path="weights.bin"):
    return sign(stub, path).downloads[0].url


def read(url, method="GET", **headers):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers, method=method), timeout=30) as answer:
        return answer.read()


def status_of(*arguments, **headers):
    with pytest.raises(urllib.error.HTTPError) as refused:
        read(*arguments, **headers)
    with refused.value as answer:
        return answer.code


def test_each_file_is_read_from_the_bucket_by_its_url_and_not_by_way_of_the_server(server, gcs):
    before = time.time()
    signed = sign(server.stub, *FILES)
    assert (signed.number, [download.path for download in signed.downloads]) == (1, list(FILES))
    for one in signed.downloads:
        assert (one.digest, one.size_bytes) == (digest_of(FILES[one.path]), len(FILES[one.path]))
        assert one.url.startswith(f"{gcs.address}/{BUCKET}/registry/sha256/")
        assert read(one.url) == FILES[one.path]
    assert before + 900 <= signed.expire_time.ToMicroseconds() / 1e6 <= time.time() + 900
    assert gcs.reads() == {"by_url": 3, "by_server": 0}


def test_a_range_is_read_too(server):
    assert read(url_of(server.stub), Range="bytes=9995-") == b"56789"


def test_a_url_is_good_for_this_object_and_for_reading_alone(server, gcs):
    url = url_of(server.stub)
    other = url_of(server.stub, "empty").partition("?")[0]
    assert status_of(f"{other}?{url.partition('?')[2]}") == 403
    assert status_of(url.partition("?")[0]) == 403
    assert status_of(url.replace("Expires=900", "Expires=90000")) == 403
    for method in ("PUT", "DELETE", "POST"):
        assert status_of(url, method) == 501  # which the fake says to all that it does not know
    assert read(url) == FILES["weights.bin"]


def test_a_url_ends_after_a_quarter_of_an_hour(server, gcs):
    url = url_of(server.stub)
    gcs.order(path=SIGNED, late=890)
    assert read(url) == FILES["weights.bin"]
    gcs.order(path=SIGNED, late=901)
    assert status_of(url) == 400


def test_a_url_outlives_the_version_but_there_is_no_other(server, start, refused):
    """The server stays the authority over who gets one; what was given is good until it ends."""
    url = url_of(server.stub)
    server.database.run("UPDATE version SET deleted_at = 1")
    stub = start().stub
    for call, request in (
        (stub.SignDownloads, SignDownloadsRequest(reference="m:1", paths=["weights.bin"])),
        (stub.DownloadArtifact, DownloadArtifactRequest(reference="m:1", path="weights.bin")),
    ):
        refusal = refused(call, request)
        assert (refusal.code, refusal.reason) == (CODE.NOT_FOUND, "VERSION_NOT_FOUND")
    assert read(url) == FILES["weights.bin"]


def test_it_refuses_what_a_download_refuses(server, gcs, refused):
    record = VersionRecord()
    record.external_files.add(path="far", uri="s3://bucket/far")
    register(server.stub, "m", record=record, files=upload_files(server.stub, "m", {"near": b"near"}))
    digest = digest_of(b"near")[7:]
    gcs.data(f"registry/sha256/{digest[:2]}/{digest}").write_bytes(b"fear")
    refused(download, server.stub, "m:2", "near")
    for reference, path in (
        ("m:2", "near"),
        ("m:2", "far"),
        ("m:2", "none"),
        ("m:2", "a\0b"),
        ("m:9", "f"),
        ("n:1", "f"),
        ("m", "f"),
    ):
        as_download = refused(server.stub.DownloadArtifact, DownloadArtifactRequest(reference=reference, path=path))
        signing = refused(sign, server.stub, "empty" if reference == "m:1" else path, reference=reference)
        assert vars(signing) == vars(as_download)
    assert refused(sign, server.stub, "near", reference="m:2").reason == "BLOB_DAMAGED"


def test_there_is_an_end_to_what_one_call_signs(server, refused):
    limit = server.stub.GetServerInfo(GetServerInfoRequest()).limits.max_sign_downloads
    assert len(sign(server.stub, *["empty"] * limit).downloads) == limit
    assert refused(sign, server.stub, *["empty"] * (limit + 1)).fields == ["paths"]
    assert sign(server.stub).downloads == []


def test_it_shows_the_position_that_it_is_asked_for(server, refused):
    reply = register(server.stub, "m", files=upload_files(server.stub, "m", {"new": b"new"}))
    assert sign(server.stub, "new", reference="m@latest", at_least=reply.position).number == 2
    assert refused(sign, server.stub, "new", at_least="nonsense").fields == ["at_least"]


def test_what_signs_says_so(server):
    assert server.stub.GetServerInfo(GetServerInfoRequest()).signs_downloads


@pytest.mark.parametrize("blobs", ["file", "gs"])
def test_a_store_that_cannot_sign_says_so(blobs, gcs, start_server, refused):
    """A folder has no URLs, and nobody's credentials (as emulators take them) no key."""
    server = start_server(*(("--blobs", f"gs://{BUCKET}/x") if blobs == "gs" else ()), environment=gcs.environment)
    create_model(server.stub, "m")
    register(server.stub, "m", files=upload_files(server.stub, "m", FILES))
    assert not server.stub.GetServerInfo(GetServerInfoRequest()).signs_downloads
    refusal = refused(sign, server.stub, "empty")
    assert (refusal.code, refusal.reason) == (CODE.FAILED_PRECONDITION, "CANNOT_SIGN")
    assert "ERROR" not in server.output()
