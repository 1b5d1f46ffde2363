"""Transfers through a server whose blobs are in Cloud Storage (the strict fake of it), while either of the two fails."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import grpc
import podium
import pytest
from conftest import Refusal
from following import FaultyRelay
from gcs_servers import BUCKET
from podium.v1.artifacts_pb2 import DownloadArtifactRequest
from podium.v1.server_pb2 import GetServerInfoRequest
from story import create_model, download, register, upload_files
from streams import MIB, OpenUpload, chunks_of, committed, digest_of, header_of, until, upload

CODE = grpc.StatusCode
UPLOAD = "upload_id"


@pytest.fixture
def start(gcs, start_server):
    """Starts a server over the bucket; each call one more, over the same data."""

    def start(*options, environment=gcs.environment):
        return start_server("--blobs", f"gs://{BUCKET}/registry", *options, environment=environment)

    return start


@pytest.fixture
def server(start):
    server = start()
    create_model(server.stub, "m")
    yield server
    if server.process.returncode is None:
        server.stop()
    assert server.process.returncode in (0, -signal.SIGKILL)
    assert "Traceback" not in server.output()


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for number, size in enumerate((0, 1, 1000, MIB, 5 * MIB, 23 * MIB + 7)):
        (folder / f"{number}.bin").write_bytes(os.urandom(size))
    return folder


def same(folder, other):
    names = sorted(path.name for path in folder.iterdir())
    return all((folder / name).read_bytes() == (other / name).read_bytes() for name in names)


def sent_bytes(gcs):
    return sum(count for *_, count in gcs.requests("PUT", UPLOAD))


def stored(stub, data):
    """The bytes as a download of a version of them gives them."""
    reference = f"m:{register(stub, 'm', files=upload_files(stub, 'm', {'f': data})).version.number}"
    return download(stub, reference, "f")


def go_on(stub, data, end=None):
    """Sends the rest of an upload, up to an end, however long it takes to be let in; where it went on."""
    begun = []

    def is_let_in():
        offset = committed(stub, "m", data)
        try:
            stub.UploadBlob(iter([header_of("m", data, offset=offset), *chunks_of(data[offset:end])]))
        except grpc.RpcError as error:
            assert Refusal(error).reason in ("UPLOAD_BUSY", "OFFSET_MISMATCH"), error
            return False
        begun.append(offset)
        return True

    until(is_let_in)
    return begun[0]


def object_of(gcs, data):
    digest = digest_of(data)[7:]
    return f"registry/sha256/{digest[:2]}/{digest}"


def finished(gcs):
    return [name for name in gcs.names() if "/sha256/" in name]


def test_a_version_is_pushed_and_pulled(server, gcs, folder, tmp_path):
    with podium.connect(server.address) as registry:
        registry.push("risk/fraud", folder)
        registry.pull("risk/fraud@latest", tmp_path / "pulled")
    assert same(folder, tmp_path / "pulled")
    assert gcs.names() == finished(gcs), "uploads leave nothing behind"
    assert len(gcs.names()) == 6
    info = server.stub.GetServerInfo(GetServerInfoRequest())
    assert (info.blobs, info.HasField("free_bytes")) == ("gs", False)
    assert info.stored_bytes == sum(path.stat().st_size for path in folder.iterdir())
    assert not (server.data / "blobs").exists()


@pytest.mark.parametrize("kind", ["restarted", "another"])
def test_after_a_crash_in_mid_upload_a_server_goes_on_from_what_was_persisted(server, start, gcs, kind):
    data = os.urandom(48 * MIB)
    with OpenUpload(server.stub, [header_of("m", data), *chunks_of(data[: 40 * MIB])]):
        until(lambda: committed(server.stub, "m", data) >= 16 * MIB)
        server.kill()
    if kind == "restarted":
        server.start()
    other = server if kind == "restarted" else start()
    assert go_on(other.stub, data) >= 16 * MIB
    assert stored(other.stub, data) == data
    assert sent_bytes(gcs) <= len(data) + 10 * MIB, "what was under way, in a request of at most that"
    assert finished(gcs) == [object_of(gcs, data)]


def test_a_server_that_stood_still_changes_nothing_of_what_another_one_went_on_with(server, start, gcs):
    other = start()
    data = os.urandom(24 * MIB)
    with OpenUpload(server.stub, [header_of("m", data), *chunks_of(data[: 10 * MIB])]) as stream:
        until(lambda: committed(other.stub, "m", data) == 10 * MIB)
        server.process.send_signal(signal.SIGSTOP)
        assert go_on(other.stub, data, 16 * MIB) == 10 * MIB
        server.process.send_signal(signal.SIGCONT)
        stream.send(*chunks_of(b"!" * 10 * MIB))
        with pytest.raises(grpc.RpcError) as lost:
            stream.result()
        assert Refusal(lost.value).reason == "UPLOAD_BUSY"
    assert go_on(other.stub, data) == 16 * MIB
    assert stored(other.stub, data) == data
    assert stored(server.stub, data) == data
    assert gcs.names() == [object_of(gcs, data)]


def test_two_replicas_take_turns_at_one_upload(server, start, gcs):
    other = start()
    data = os.urandom(12 * MIB + 1)
    for turn, end in enumerate((3 * MIB, 6 * MIB, 9 * MIB, None)):
        assert go_on((server, other)[turn % 2].stub, data, end) == turn * 3 * MIB
    assert stored(server.stub, data) == data
    assert sent_bytes(gcs) == len(data)
    assert gcs.names() == [object_of(gcs, data)]


def test_a_session_that_is_lost_costs_a_push_time_and_nothing_else(server, gcs, folder, tmp_path):
    gcs.order(method="PUT", path=UPLOAD, status=308)  # the first answer: nothing persisted
    gcs.order(method="PUT", path=UPLOAD, status=410)
    with podium.connect(server.address) as registry:
        registry.push("risk/fraud", folder)
        registry.pull("risk/fraud@latest", tmp_path / "pulled")
    assert same(folder, tmp_path / "pulled")
    assert [request[2] for request in gcs.requests("PUT", UPLOAD)].count(410) == 1


def test_a_session_that_is_lost_in_mid_stream_starts_over_at_0(server, gcs):
    data = os.urandom(24 * MIB)
    with OpenUpload(server.stub, [header_of("m", data), *chunks_of(data[: 8 * MIB])]) as stream:
        until(lambda: committed(server.stub, "m", data) == 8 * MIB)
        gcs.order(method="PUT", path=UPLOAD, status=410)
        stream.send(*chunks_of(data[8 * MIB :]))
        with pytest.raises(grpc.RpcError) as lost:
            stream.result()
    refusal = Refusal(lost.value)
    assert (refusal.code, refusal.reason) == (CODE.UNAVAILABLE, "STORAGE_UNAVAILABLE")
    assert "send it again" in refusal.message
    assert go_on(server.stub, data) == 0
    assert stored(server.stub, data) == data


def test_a_push_and_a_pull_outlast_failures_of_every_kind(server, gcs, folder, tmp_path):
    for order in (
        {"status": 503, "count": 3},
        {"status": 429, "count": 2, "headers": {"Retry-After": "1"}},
        {"method": "PUT", "cut_request": MIB + 99},
        {"method": "PUT", "cut_answer": 0},
        {"method": "POST", "path": "/compose", "cut_answer": 0},
        {"method": "GET", "path": "alt=media", "cut_answer": 100, "count": 3},
        {"method": "GET", "path": "alt=media", "delay": 0.2, "count": 2},
    ):
        gcs.order(**{"path": f"/b/{BUCKET}/", **order})
    with podium.connect(server.address) as registry:
        registry.push("risk/fraud", folder)
        gcs.order(method="GET", path="alt=media", cut_answer=2 * MIB, count=2)
        gcs.order(method="GET", path="alt=media", status=503, count=2)
        registry.pull("risk/fraud@latest", tmp_path / "pulled")
    assert same(folder, tmp_path / "pulled")
    assert {429, 503, None} < {request[2] for request in gcs.requests()}, "all of it was met"


def test_the_other_end_is_killed_in_mid_upload_and_comes_back(server, gcs):
    data = os.urandom(24 * MIB)
    with OpenUpload(server.stub, [header_of("m", data), *chunks_of(data[: 10 * MIB])]) as stream:
        until(lambda: committed(server.stub, "m", data) == 10 * MIB)
        gcs.kill()
        stream.send(*chunks_of(data[10 * MIB :]))
        until(lambda: "trying again" in server.output())
        gcs.start()
        assert stream.result().complete
    assert stored(server.stub, data) == data


@pytest.mark.parametrize("size", [1000, 12 * MIB])
@pytest.mark.parametrize("fault", ["damage", "misreport"])
def test_bytes_that_change_on_their_way_to_the_bucket_are_an_error_and_no_blob(server, gcs, size, fault, refused):
    data = os.urandom(size)
    gcs.order(method="PUT" if size > MIB else "POST", path="upload", count=9, **{fault: True})
    refusal = refused(upload, server.stub, "m", data)
    assert (refusal.code, refusal.reason) == (CODE.UNAVAILABLE, "STORAGE_UNAVAILABLE")
    assert committed(server.stub, "m", data) == 0
    assert gcs.names() == []
    gcs.kill()
    gcs.start()  # forgets its orders
    assert upload(server.stub, "m", data).complete
    assert stored(server.stub, data) == data


def test_a_wrong_digest_leaves_nothing_in_the_bucket(server, gcs, refused):
    data = os.urandom(9 * MIB)
    refusal = refused(server.stub.UploadBlob, iter([header_of("m", data), *chunks_of(os.urandom(9 * MIB))]))
    assert refusal.reason == "CONTENT_MISMATCH"
    go_on(server.stub, data, 5 * MIB)
    refusal = refused(server.stub.UploadBlob, iter([header_of("m", data, offset=5 * MIB), *chunks_of(os.urandom(4 * MIB))]))
    assert refusal.reason == "CONTENT_MISMATCH"
    assert gcs.names() == []
    assert gcs.requests("POST", "/compose") == [], "it never was under its digest"
    assert committed(server.stub, "m", data) == 0


@pytest.mark.parametrize("size", [1000, 12 * MIB])
def test_of_two_uploads_of_one_digest_at_once_both_succeed_and_there_is_one_object(server, start, gcs, size):
    other = start()
    create_model(server.stub, "n")
    data = os.urandom(size)
    with OpenUpload(server.stub, [header_of("m", data)]) as one, OpenUpload(other.stub, [header_of("n", data)]) as two:
        for stream in (one, two):
            stream.send(*chunks_of(data[:-1]))
        for stream in (one, two):
            stream.send(*chunks_of(data[-1:]))
        assert one.result().complete
        assert two.result().complete
    assert finished(gcs) == [object_of(gcs, data)]
    assert stored(server.stub, data) == data


def test_a_damaged_object_is_told_quarantined_and_healed_by_an_upload(server, gcs, refused):
    data = os.urandom(9 * MIB + 5)
    reference = f"m:{register(server.stub, 'm', files=upload_files(server.stub, 'm', {'f': data})).version.number}"
    with gcs.data(object_of(gcs, data)).open("r+b") as file:
        file.seek(6 * MIB)
        file.write(bytes([data[6 * MIB] ^ 1]))
    got = bytearray()

    def read():
        for message in server.stub.DownloadArtifact(DownloadArtifactRequest(reference=reference, path="f")):
            got.extend(message.chunk)

    refusal = refused(read)
    assert (refusal.code, refusal.reason) == (CODE.DATA_LOSS, "BLOB_DAMAGED")
    assert bytes(got) == data[: 6 * MIB]
    assert committed(server.stub, "m", data) == 0, "it counts as missing"
    assert upload(server.stub, "m", data).complete
    assert download(server.stub, reference, "f") == data
    assert gcs.names() == [object_of(gcs, data)]


def test_an_object_that_is_gone_is_damage(server, gcs, refused):
    data = os.urandom(1000)
    reference = f"m:{register(server.stub, 'm', files=upload_files(server.stub, 'm', {'f': data})).version.number}"
    gcs.ask("DELETE", f"/storage/v1/b/{BUCKET}/o/{object_of(gcs, data).replace('/', '%2F')}")
    assert refused(download, server.stub, reference, "f").reason == "BLOB_DAMAGED"
    assert upload(server.stub, "m", data).complete
    assert download(server.stub, reference, "f") == data


def test_while_the_bucket_is_away_transfers_are_unavailable_and_then_work_by_themselves(server, start, gcs, refused):
    data, more = os.urandom(5 * MIB), os.urandom(5 * MIB)
    reference = f"m:{register(server.stub, 'm', files=upload_files(server.stub, 'm', {'f': data})).version.number}"
    gcs.set_away(away=True)
    late = start()
    until(lambda: f"the bucket {BUCKET} is not there" in late.output())
    for stub in (server.stub, late.stub):
        for call in (lambda stub=stub: download(stub, reference, "f"), lambda stub=stub: upload(stub, "m", more)):
            refusal = refused(call)
            assert (refusal.code, refusal.reason) == (CODE.UNAVAILABLE, "STORAGE_UNAVAILABLE")
            assert refusal.message == f"the bucket {BUCKET} is not there: create it, or start the server with another --blobs"
        assert committed(stub, "m", data) is None, "what cannot be read is not lost"
    gcs.set_away(away=False)
    for stub in (server.stub, late.stub):
        assert download(stub, reference, "f") == data
        go_on(stub, more)
        assert stored(stub, more) == more


def test_cancelled_downloads_leave_no_range_behind_and_the_server_stops(server, gcs):
    data = os.urandom(32 * MIB)
    reference = f"m:{register(server.stub, 'm', files=upload_files(server.stub, 'm', {'f': data})).version.number}"
    request = DownloadArtifactRequest(reference=reference, path="f")

    def cancel(_):
        call = server.stub.DownloadArtifact(request)
        for _ in range(6):
            next(call)
        call.cancel()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(cancel, range(16)))
    assert download(server.stub, reference, "f") == data
    asked = len(gcs.requests("GET", "alt=media"))
    assert asked <= 16 * 7 + 8, "nobody reads on for those who have gone"
    server.stop()
    assert server.process.returncode == 0


def test_no_line_of_the_log_has_the_uri_of_a_session(start, gcs):
    server = start("--log-level", "debug")
    create_model(server.stub, "m")
    data = os.urandom(12 * MIB)
    gcs.order(method="PUT", status=503)
    gcs.order(method="PUT", cut_answer=0)
    gcs.order(method="PUT", status=410)
    with pytest.raises(grpc.RpcError):
        upload(server.stub, "m", data)
    go_on(server.stub, data)
    assert stored(server.stub, data) == data
    assert "DEBUG" in server.output()
    assert "upload_id" not in server.output()
    server.stop()


def test_a_url_of_no_store_is_refused_in_one_line(start_server):
    with pytest.raises(pytest.fail.Exception, match="podium serve: 's3://bucket' is not the URL of a blob store") as failed:
        start_server("--blobs", "s3://bucket")
    assert "Traceback" not in str(failed.value)


def test_blobs_may_be_in_another_folder(start_server, tmp_path):
    server = start_server("--blobs", f"file://{tmp_path}/elsewhere")
    create_model(server.stub, "m")
    assert stored(server.stub, b"x") == b"x"
    assert (tmp_path / "elsewhere" / "sha256").is_dir()
    assert not (server.data / "blobs").exists()


def test_an_upload_that_fails_when_its_client_has_gone_is_one_line_of_the_log(start, gcs):
    between = FaultyRelay(gcs.address.removeprefix("http://"))
    server = start(environment={"STORAGE_EMULATOR_HOST": f"http://{between.address}"})
    create_model(server.stub, "m")
    data = os.urandom(MIB)
    gcs.order(method="POST", path="uploadType=multipart", delay=1, status=403)
    sent = between.up
    with OpenUpload(server.stub, [header_of("m", data), *chunks_of(data)]):
        until(lambda: between.up - sent > len(data))  # it is being finished
    until(lambda: "has gone" in server.output())
    server.stop()
    between.close()
    assert "Traceback" not in server.output()
    assert "never retrieved" not in server.output()
