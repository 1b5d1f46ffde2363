"""The log: a line for each call, with the id by which its caller knows it, as text and as JSON."""

import json
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from conftest import Refusal
from gcs_servers import BUCKET
from podium.v1.registry_service_pb2_grpc import RegistryServiceStub
from story import create_model, register, upload_files
from streams import until
from watching import Watching
from wire import request_of

JSON = ("--log-format", "json")
KEY = "x-request-id"
ACTOR = ("podium-actor", "ann@laptop")


def call(method, request, *metadata):
    """Makes a call; the id that was given back, and the error or None."""
    try:
        _, done = method.with_call(request, metadata=metadata)
    except grpc.RpcError as error:
        return dict(error.trailing_metadata())[KEY], Refusal(error)
    return dict(done.trailing_metadata())[KEY], None


def lines(server):
    """What was logged as JSON: every line must be."""
    return [json.loads(line) for line in server.output().splitlines()]


def line_of(server, request_id, **fields):
    """The line that a call ended with, which may come after its answer."""
    found = []

    def logged():
        found[:] = [one for one in lines(server) if one.get("request_id") == request_id and "code" in one]
        return found

    until(logged)
    (line,) = found
    assert fields.items() <= line.items()
    return line


@pytest.fixture
def server(start_server):
    server = start_server(*JSON, "--log-level", "debug")
    create_model(server.stub, "m")
    register(server.stub, "m", aliases=["champion"])
    yield server
    server.stop()
    assert server.process.returncode == 0


def test_a_line_says_who_called_what_and_what_became_of_it(server):
    request_id, _ = call(server.stub.SetAlias, request_of("SetAlias", reference="m:1", alias="a"), (KEY, "ours: 1"), ACTOR)
    assert request_id == "ours: 1"
    line = line_of(server, "ours: 1", method="SetAlias", code="OK", actor="ann@laptop", level="info", logger="podium_server.calls")
    assert line["peer"].startswith("ipv4:127.0.0.1:")
    assert 0 < line["seconds"] < 60
    assert line["message"].startswith("SetAlias OK in ")
    time = datetime.fromisoformat(line["time"])
    assert time.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - time) < timedelta(minutes=5)


def test_a_refusal_has_the_id_and_the_reason(server):
    request_id, refusal = call(server.stub.ResolveVersion, request_of("ResolveVersion", reference="m@nobody"), (KEY, "asked"))
    assert (request_id, refusal.reason) == ("asked", "ALIAS_NOT_FOUND")
    line = line_of(server, "asked", method="ResolveVersion", code="NOT_FOUND", reason="ALIAS_NOT_FOUND", level="info", actor="")
    assert refusal.message in line["message"]


def test_a_read_that_went_well_is_told_at_debug(server):
    request_id, _ = call(server.stub.ResolveVersion, request_of("ResolveVersion", reference="m@champion"))
    assert len(request_id) == 32
    line_of(server, request_id, method="ResolveVersion", code="OK", level="debug")
    other, _ = call(server.stub.ResolveVersion, request_of("ResolveVersion", reference="m@champion"))
    assert other != request_id


@pytest.mark.parametrize("given", ["x" * 129, ""])
def test_an_id_that_is_none_is_not_taken(server, given):
    request_id, _ = call(server.stub.GetModel, request_of("GetModel", name="m"), (KEY, given))
    assert len(request_id) == 32
    line_of(server, request_id, method="GetModel")


def test_streams_have_it_too(server):
    register(server.stub, "m", files=upload_files(server.stub, "m", {"f": b"content"}))
    pulled = server.stub.DownloadArtifact(request_of("DownloadArtifact", reference="m:2", path="f"), metadata=((KEY, "pulled"),))
    list(pulled)
    assert dict(pulled.trailing_metadata())[KEY] == "pulled"
    line_of(server, "pulled", method="DownloadArtifact", code="OK", level="debug")
    (upload,) = [one for one in lines(server) if one.get("method") == "UploadBlob"]
    line_of(server, upload["request_id"], code="OK", level="debug")


def test_a_stream_that_its_caller_left_is_told_with_its_id(server):
    """Wherever it is by then, and whether the caller takes back the call or is gone."""
    register(server.stub, "m", files=upload_files(server.stub, "m", {"f": bytes(40 << 20)}))
    left = [f"left {turn}" for turn in range(20)]
    for turn, request_id in enumerate(left):
        with grpc.insecure_channel(server.address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            asked = request_of("DownloadArtifact", reference="m:2", path="f")
            pulled = RegistryServiceStub(channel).DownloadArtifact(asked, metadata=((KEY, request_id),))
            for _ in range(3):
                next(pulled)
            if turn % 2:
                pulled.cancel()
    watch = server.stub.Watch(request_of("Watch"), metadata=((KEY, "watched"),))
    next(watch)
    watch.cancel()
    line_of(server, "watched", method="Watch", code="CANCELLED", level="debug")
    for request_id in left:
        line_of(server, request_id, method="DownloadArtifact", code="CANCELLED", level="debug")
    assert "Traceback" not in server.output()


def test_a_server_that_stops_does_not_complain_of_its_watches(start_server):
    server = start_server(*JSON)
    with Watching(server.stub) as watch:
        watch.snapshot()
        server.process.terminate()
        assert watch.end().code() is grpc.StatusCode.UNAVAILABLE
    server.stop()
    assert not [one for one in lines(server) if one.get("method") == "Watch"]


def test_an_error_within_has_the_id_in_the_answer_and_in_the_log(server):
    server.database.run("UPDATE event SET after = ?", b"\xff")
    request_id, refusal = call(server.stub.ListEvents, request_of("ListEvents"), (KEY, "broken"), ACTOR)
    assert request_id == refusal.metadata["error_id"] == "broken"
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "broken" in refusal.message
    assert "Decode" not in refusal.message
    line_of(server, "broken", method="ListEvents", code="INTERNAL", level="info")
    (trace,) = [one for one in lines(server) if one.get("request_id") == "broken" and "exception" in one]
    assert trace["level"] == "error"
    assert "DecodeError" in trace["exception"]


def test_what_a_thread_does_for_a_call_is_logged_with_its_id(start_server, gcs):
    server = start_server("--blobs", f"gs://{BUCKET}/registry", *JSON, "--log-level", "debug", environment=gcs.environment)
    create_model(server.stub, "m")
    content = bytes(64 << 20)
    register(server.stub, "m", files=upload_files(server.stub, "m", {"f": content}))
    asked = request_of("DownloadArtifact", reference="m:1", path="f")
    gcs.order(method="GET", status=503)
    pulled = server.stub.DownloadArtifact(asked, metadata=((KEY, "begin"),))
    assert next(pulled).header.size_bytes == len(content)
    assert sum(len(message.chunk) for message in pulled) == len(content)
    pulled = server.stub.DownloadArtifact(asked, metadata=((KEY, "middle"),))
    next(pulled), next(pulled)
    gcs.order(method="GET", status=503)  # of a range further on: nobody reads as far ahead of a caller that waits
    assert sum(len(message.chunk) for message in pulled) == len(content) - (1 << 20)
    again = [one["request_id"] for one in lines(server) if "trying again" in one["message"]]
    assert again == ["begin", "middle"]
    assert "upload_id" not in server.output()


def test_as_text_the_id_stands_before_the_message(start_server):
    server = start_server()
    create_model(server.stub, "m")
    call(server.stub.UpdateModel, request_of("UpdateModel", model={"name": "m"}), (KEY, "changed"), ACTOR)
    call(server.stub.GetModel, request_of("GetModel", name="m"), (KEY, "read"))
    until(lambda: "[changed]" in server.output())
    (line,) = [one for one in server.output().splitlines() if "[changed]" in one]
    assert " INFO podium_server.calls [changed]: UpdateModel " in line
    assert " for ann@laptop at ipv4:127.0.0.1:" in line
    assert "[read]" not in server.output(), "reads are told at debug"
