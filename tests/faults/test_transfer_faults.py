"""Transfers through crashes, stopped processes, full disks and slow peers. Nothing that is not whole is ever there."""

import os
import random
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import grpc
import pytest
from conftest import Refusal
from disks import SmallDisk
from podium.v1.artifacts_pb2 import DownloadArtifactRequest
from podium.v1.registry_service_pb2_grpc import RegistryServiceStub
from story import create_model, download, register, upload_files
from streams import MIB, SECONDS, OpenUpload, chunks_of, committed, digest_of, endless, header_of, until, upload

CODE = grpc.StatusCode


def resumed(stub, model, data):
    """Uploads what is missing, however long it takes to be let in; how many bytes had to be sent."""
    sent = []

    def is_let_in():
        try:
            offset = committed(stub, model, data)
            if offset is not None:
                assert upload(stub, model, data, offset).complete
                sent.append(len(data) - offset)
            return True
        except grpc.RpcError as error:
            assert Refusal(error).reason == "UPLOAD_BUSY", error
            return False

    until(is_let_in)
    assert committed(stub, model, data) is None
    return sum(sent)


def stored(stub, model, data):
    """The bytes as a download of a version of them gives them."""
    reference = f"{model}:{register(stub, model, files=upload_files(stub, model, {'f': data})).version.number}"
    return download(stub, reference, "f")


def killed_in_full_flow(server, data, durable, goal):
    """Uploads until so much is durable, then kills the server; how much was sent, or None if the upload was not let in."""
    stop = goal + 16 * MIB
    with OpenUpload(server.stub) as stream:
        stream.send(header_of("m", data, offset=durable), *chunks_of(data[durable:stop]))
        until(lambda: stream.call.done() or committed(server.stub, "m", data) >= goal)
        if stream.call.done():
            assert Refusal(stream.call.exception()).reason == "UPLOAD_BUSY"
            return None
        server.kill()
        return stop - MIB * stream.unsent()


def test_after_a_crash_an_upload_sends_only_its_last_few_mib_again(start_server):
    server = start_server()
    create_model(server.stub, "m")
    data = os.urandom(128 * MIB)
    rng = random.Random(7)
    durable = 0
    for _ in range(3):
        goal = durable + rng.randrange(8, 24) * MIB
        attempt = partial(killed_in_full_flow, server, data, durable, goal)
        sent = next(sent for sent in iter(attempt, 0) if sent is not None)
        server.start()
        durable = committed(server.stub, "m", data)
        assert goal <= durable
        assert sent - durable <= 24 * MIB, "of which some was still on its way"
        assert len(list((server.data / "blobs" / "partial").iterdir())) == 1, "a crash leaves no second copy"
    assert resumed(server.stub, "m", data) == len(data) - durable
    assert stored(server.stub, "m", data) == data
    assert not list((server.data / "blobs" / "partial").iterdir())


def test_no_crash_makes_a_blob_that_is_not_whole(start_server):
    server = start_server()
    create_model(server.stub, "m")
    rng = random.Random(11)
    blobs = [rng.randbytes(rng.randrange(1, 3 * MIB)) for _ in range(40)]
    acknowledged = []

    def send(stub, blob):
        try:
            assert upload(stub, "m", blob).complete
            acknowledged.append(blob)
        except grpc.RpcError as error:
            assert error.code() in (CODE.UNAVAILABLE, CODE.ABORTED, CODE.CANCELLED), error
        except ValueError as error:
            assert "closed" in str(error)

    for crash in range(3):
        with ThreadPoolExecutor(8) as pool:
            futures = [pool.submit(send, server.stub, blob) for blob in blobs if blob not in acknowledged]
            for future in futures[: 4 + 5 * crash]:
                future.result(SECONDS)
            server.kill()
        assert [error for future in futures if (error := future.exception())] == []
        server.start()
        assert all(committed(server.stub, "m", blob) is None for blob in acknowledged), "what was acknowledged is there"
    assert len(acknowledged) < len(blobs)
    for blob in blobs:
        resumed(server.stub, "m", blob)
    register(server.stub, "m", files=upload_files(server.stub, "m", {str(number): blob for number, blob in enumerate(blobs)}))
    for number, blob in enumerate(blobs):
        assert download(server.stub, "m:1", str(number)) == blob


def test_a_server_that_stood_still_changes_nothing_of_what_another_one_went_on_with(start_server):
    """Two processes over one folder; the first is stopped in mid-upload, and wakes up after the second has taken over."""
    first, second = start_server(), start_server()
    create_model(first.stub, "m")
    data = os.urandom(24 * MIB)
    with OpenUpload(first.stub, [header_of("m", data), *chunks_of(data[: 10 * MIB])]) as stream:
        until(lambda: committed(second.stub, "m", data) == 10 * MIB)
        stream.send(*chunks_of(data[10 * MIB : 14 * MIB]))
        first.process.send_signal(signal.SIGSTOP)
        with OpenUpload(second.stub) as taken:

            def is_let_in():
                try:
                    offset = committed(second.stub, "m", data)
                    response = second.stub.UploadBlob(
                        iter([header_of("m", data, offset=offset), *chunks_of(data[offset : 16 * MIB])])
                    )
                    return response.committed_bytes == 16 * MIB
                except grpc.RpcError as error:
                    assert Refusal(error).reason in ("UPLOAD_BUSY", "OFFSET_MISMATCH"), error

            until(is_let_in)
            first.process.send_signal(signal.SIGCONT)
            stream.send(*chunks_of(b"!" * 10 * MIB))
            with pytest.raises(grpc.RpcError) as lost:
                stream.result()
            assert Refusal(lost.value).reason == "UPLOAD_BUSY"
            taken.close()
    assert committed(second.stub, "m", data) == 16 * MIB
    assert upload(second.stub, "m", data, 16 * MIB).complete
    assert stored(second.stub, "m", data) == data
    assert stored(first.stub, "m", data) == data
    assert not list((first.data / "blobs" / "partial").iterdir())


@pytest.fixture
def disk(tmp_path):
    disk = SmallDisk(tmp_path / "data" / "blobs", 64 * MIB)
    yield disk
    disk.close()


def test_on_a_full_disk_uploads_are_refused_and_go_on_when_there_is_room(disk, start_server, refused):
    server = start_server()
    stub = server.stub
    create_model(stub, "m")
    disk.resize(20 * MIB, server.process.pid)
    data = os.urandom(30 * MIB)
    refusal = refused(upload, stub, "m", data)
    assert (refusal.code, refusal.reason) == (CODE.RESOURCE_EXHAUSTED, "STORAGE_FULL")
    offset = committed(stub, "m", data)
    assert 12 * MIB < offset <= 20 * MIB
    refusal = refused(upload, stub, "m", data, offset)
    assert refusal.reason == "STORAGE_FULL"
    assert create_model(stub, "the-server-lives").uid
    disk.resize(64 * MIB, server.process.pid)
    offset = committed(stub, "m", data)
    assert offset > 12 * MIB
    assert upload(stub, "m", data, offset).complete
    assert stored(stub, "m", data) == data
    server.stop()
    assert "Traceback" not in server.output()


def memory(server, what):
    """A figure of the server's memory in bytes: VmRSS now, VmHWM at most since it was last asked to forget."""
    (line,) = [line for line in Path(f"/proc/{server.process.pid}/status").read_text().splitlines() if line.startswith(what)]
    return int(line.split()[1]) * 1024


def forget_peak(server):
    Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")


def test_memory_does_not_grow_with_the_file(start_server):
    server = start_server()
    create_model(server.stub, "m")
    data = os.urandom(MIB) * 400
    idle = memory(server, "VmRSS")
    forget_peak(server)
    assert upload(server.stub, "m", data).complete
    register(server.stub, "m", files=upload_files(server.stub, "m", {"f": data}))
    assert download(server.stub, "m:1", "f") == data
    assert memory(server, "VmHWM") - idle < 100 * MIB


@pytest.fixture
def channels(start_server):
    """A server that knows a model `m`, and 32 connections to it."""
    server = start_server()
    create_model(server.stub, "m")
    with ExitStack() as channels:
        options = [("grpc.use_local_subchannel_pool", 1)]
        yield server, [channels.enter_context(grpc.insecure_channel(server.address, options=options)) for _ in range(32)]


def test_32_clients_that_do_not_read_hold_a_few_mib_of_the_server_each(channels):
    server, channels = channels
    data = os.urandom(32 * MIB)
    register(server.stub, "m", files=upload_files(server.stub, "m", {"f": data}))
    idle = memory(server, "VmRSS")
    forget_peak(server)
    request = DownloadArtifactRequest(reference="m:1", path="f")
    calls = [RegistryServiceStub(channel).DownloadArtifact(request) for channel in channels]
    for call in calls:
        assert next(call).header.digest == digest_of(data)
    with ThreadPoolExecutor(32) as pool:
        downloaded = pool.map(lambda call: b"".join(message.chunk for message in call), calls)
        assert all(got == data for got in downloaded)
    assert memory(server, "VmHWM") - idle < 300 * MIB


def test_32_clients_that_send_at_once_hold_a_few_mib_of_the_server_each(channels):
    server, channels = channels
    data = os.urandom(16 * MIB)
    idle = memory(server, "VmRSS")
    forget_peak(server)
    with ThreadPoolExecutor(32) as pool:
        uploads = pool.map(lambda number: upload(RegistryServiceStub(channels[number]), "m", bytes([number]) + data), range(32))
        assert all(response.complete for response in uploads)
    assert memory(server, "VmHWM") - idle < 300 * MIB


def test_a_stopping_server_lets_an_upload_finish(start_server):
    server = start_server()
    create_model(server.stub, "m")
    data = os.urandom(4 * MIB)
    with OpenUpload(server.stub, [header_of("m", data), *chunks_of(data[:MIB])]) as stream:
        until(lambda: committed(server.stub, "m", data))
        server.process.send_signal(signal.SIGTERM)
        stream.send(*chunks_of(data[MIB:]))
        assert stream.result().complete
    server.stop()
    assert server.process.returncode == 0
    server.start()
    assert committed(server.stub, "m", data) is None


def test_a_stopping_server_leaves_an_upload_that_goes_on_for_ever_to_be_resumed(start_server):
    server = start_server("--grace", "1")
    create_model(server.stub, "m")
    data = bytes(64 * MIB)
    with OpenUpload(server.stub, [header_of("m", data), *chunks_of(data[: 4 * MIB])]) as stream:
        until(lambda: committed(server.stub, "m", data))
        server.stop()
        with pytest.raises(grpc.RpcError) as ended:
            stream.result()
        assert ended.value.code() in (CODE.UNAVAILABLE, CODE.CANCELLED)
    assert server.process.returncode == 0, server.output()
    assert "Traceback" not in server.output()
    server.start()
    offset = committed(server.stub, "m", data)
    assert offset == 4 * MIB
    assert upload(server.stub, "m", data, offset).complete, "its lease was given back"


def test_the_257th_transfer_at_once_is_refused(start_server, refused):
    server = start_server()
    create_model(server.stub, "m")
    blobs = [bytes([number]) * MIB for number in range(256)]
    with ExitStack() as streams:
        for blob in blobs:
            streams.enter_context(OpenUpload(server.stub, [header_of("m", blob), *chunks_of(blob[:1])]))
        until(lambda: all(committed(server.stub, "m", blob) for blob in blobs))
        refusal = refused(upload, server.stub, "m", b"one more")
        assert (refusal.code, refusal.reason) == (CODE.RESOURCE_EXHAUSTED, "OVERLOADED")
        assert refusal.metadata == {"retry_after_seconds": "1"}
    resumed(server.stub, "m", blobs[0])


def test_an_endless_stream_is_cut_off_at_its_declared_size(start_server, refused):
    server = start_server()
    create_model(server.stub, "m")
    data = bytes(5 * MIB + 1)
    refusal = refused(server.stub.UploadBlob, endless(header_of("m", data), bytes(2 * MIB)), timeout=SECONDS)
    assert (refusal.code, refusal.reason) == (CODE.INVALID_ARGUMENT, "CONTENT_MISMATCH")
