"""The traces: what a collector gets of a call, and that nothing of them is there where nobody asked."""

import os
import socket
from contextlib import suppress

import grpc
import pytest
from collector import Collector, values
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from story import create_model, register, upload_files
from streams import chunks_of, header_of, until
from wire import request_of

KEY = "x-request-id"
SERVICE = "podium.v1.RegistryService"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
LEDGER = ("ledger", [("ledger change", [])])


@pytest.fixture
def collector():
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture
def server(start_server, collector):
    server = start_server(environment=collector.environment)
    create_model(server.stub, "m")
    register(server.stub, "m", aliases=["champion"])
    yield server
    server.stop()
    assert server.process.returncode == 0


def traced(collector, method, request, *metadata):
    """The span of a call of a method, which may be refused."""
    request_id = f"request {len(collector.spans)}"
    with suppress(grpc.RpcError):
        method(request, metadata=((KEY, request_id), *metadata))
    return collector.call(request_id)


def test_a_call_is_a_span_of_the_trace_that_its_caller_is_in(server, collector):
    asked = request_of("ResolveVersion", reference="m@champion")
    span = traced(collector, server.stub.ResolveVersion, asked, ("traceparent", f"00-{TRACE}-{PARENT}-01"))
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert (span.name, span.kind) == (f"{SERVICE}/ResolveVersion", Span.SPAN_KIND_SERVER)
    told = values(span.attributes)
    assert told.pop("podium.request_id")
    assert told == {"rpc.system": "grpc", "rpc.service": SERVICE, "rpc.method": "ResolveVersion", "rpc.grpc.status_code": 0}
    assert collector.below(span) == [], "that was a memory read"
    assert span.end_time_unix_nano > span.start_time_unix_nano
    assert (collector.resource["service.name"], collector.resource["service.version"]) == ("podium", "0.1.0")


@pytest.mark.parametrize("parent", [None, "00-0-0-01", "nonsense"])
def test_a_call_that_is_in_no_trace_begins_one(server, collector, parent):
    asked = request_of("ResolveVersion", reference="m@champion")
    span = traced(collector, server.stub.ResolveVersion, asked, *([("traceparent", parent)] if parent else []))
    assert (len(span.trace_id), span.parent_span_id) == (16, b"")


def test_what_a_call_waits_for_is_below_it(server, collector):
    read = traced(collector, server.stub.GetModel, request_of("GetModel", name="m"))
    assert collector.below(read) == [("database read", [])]
    changed = traced(collector, server.stub.SetAlias, request_of("SetAlias", reference="m:1", alias="a"))
    assert collector.below(changed) == [LEDGER]


def test_blobs_that_come_and_go(server, collector):
    content = b"content"
    server.stub.UploadBlob(iter([header_of("m", content), *chunks_of(content)]), metadata=((KEY, "came"),))
    below = collector.below(collector.call("came"))
    assert {"blob begin", "blob finish", "ledger"} == {name for name, _ in below}
    register(server.stub, "m", files=upload_files(server.stub, "m", {"f": content}))
    asked = request_of("DownloadArtifact", reference="m:2", path="f")
    list(server.stub.DownloadArtifact(asked, metadata=((KEY, "went"),)))
    assert collector.below(collector.call("went")) == [("database read", []), ("database read", []), ("blob open", [])]


def test_a_refusal_is_the_callers_and_says_what_it_was(server, collector):
    span = traced(collector, server.stub.SetAlias, request_of("SetAlias", reference="m:7", alias="a"))
    assert values(span.attributes)["rpc.grpc.status_code"] == 5
    assert span.status.code == Status.STATUS_CODE_UNSET
    (event,) = span.events
    assert values(event.attributes)["exception.type"] == "podium_server.errors.VersionNotFound"


def test_an_error_within_is_recorded(server, collector):
    server.database.run("UPDATE event SET after = ?", b"\xff")
    span = traced(collector, server.stub.ListEvents, request_of("ListEvents"))
    assert values(span.attributes)["rpc.grpc.status_code"] == 13
    assert span.status.code == Status.STATUS_CODE_ERROR
    (event,) = span.events
    assert values(event.attributes)["exception.type"].endswith("DecodeError")
    assert "FromString" in values(event.attributes)["exception.stacktrace"]


def test_a_stream_that_its_caller_left_ends_its_span(server, collector):
    watch = server.stub.Watch(request_of("Watch"), metadata=((KEY, "watched"),))
    next(watch)
    watch.cancel()
    assert values(collector.call("watched").attributes)["rpc.grpc.status_code"] == 1
    assert "Traceback" not in server.output()


def test_the_environment_says_how(start_server, collector):
    named = {"OTEL_SERVICE_NAME": "registry", "OTEL_TRACES_SAMPLER": "parentbased_always_off", "OTEL_PROPAGATORS": "tracecontext"}
    server = start_server(environment={**collector.environment, **named})
    create_model(server.stub, "m")
    traced(collector, server.stub.GetModel, request_of("GetModel", name="m"), ("traceparent", f"00-{TRACE}-{PARENT}-01"))
    assert collector.resource["service.name"] == "registry"
    assert {span.name for span in collector.spans} == {f"{SERVICE}/GetModel", "database read"}, "what is sampled by its caller"


def test_what_was_not_sent_is_sent_in_the_end(start_server, collector):
    server = start_server(environment={**collector.environment, "OTEL_BSP_SCHEDULE_DELAY": "3600000"})
    server.stub.CreateModel(request_of("CreateModel", name="m"), metadata=((KEY, "last"),))
    server.stop()
    collector.call("last")


def test_without_a_collector_all_else_goes_on(start_server):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
    server = start_server(environment={"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_BSP_SCHEDULE_DELAY": "10"})
    create_model(server.stub, "m")
    until(lambda: "WARNING opentelemetry" in server.output())
    server.stop()
    assert server.process.returncode == 0


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_nothing_is_imported_unless_it_is_asked_for(start_server, environment):
    server = start_server(environment={**environment, "PYTHONPROFILEIMPORTTIME": "1"})
    create_model(server.stub, "m")
    register(server.stub, "m", files=upload_files(server.stub, "m", {"f": b"content"}))
    imported = [line.rpartition("|")[2].strip() for line in server.output().splitlines() if line.startswith("import time:")]
    assert "podium_server.tracing" in imported
    assert [name for name in imported if name.startswith("opentelemetry") or name == "podium_server.otel"] == []


def test_without_the_extra_a_warning_says_what_is_missing(start_server, collector, tmp_path):
    (tmp_path / "opentelemetry.py").write_text("raise ModuleNotFoundError('there is no opentelemetry', name='opentelemetry')")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    server = start_server(environment={**collector.environment, "PYTHONPATH": path})
    create_model(server.stub, "m")
    assert "nothing is traced, though OTEL_… asks for it: there is no opentelemetry (pip install 'podium[otel]'" in server.output()


def test_an_exporter_that_is_not_there_is_a_warning(start_server):
    server = start_server(environment={"OTEL_TRACES_EXPORTER": "zipkin"})
    create_model(server.stub, "m")
    assert "there is no exporter zipkin" in server.output()


def test_a_key_in_a_header_that_does_not_parse_is_not_logged(start_server, collector):
    server = start_server(environment={**collector.environment, "OTEL_EXPORTER_OTLP_HEADERS": "Bearer s3cret\\key"})
    create_model(server.stub, "m")
    until(lambda: collector.spans)
    assert "s3cret" not in server.output()
