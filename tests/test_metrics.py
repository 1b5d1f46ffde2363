"""The metrics: what is counted fits what was called."""

import socket
from itertools import pairwise

import grpc
import pytest
from gcs_servers import BUCKET
from metrics_page import SHOWN, Page, reaches
from story import create_model, download, register, resolve, upload_files
from watching import Watching
from wire import request_of

SERVER_OPTIONS = SHOWN
MIB = 1 << 20


def champion_of(server, name):
    """Makes a model with a champion."""
    create_model(server.stub, name)
    register(server.stub, name, aliases=["champion"])
    return f"{name}@champion"


def grown(server, before, name, **labels):
    return Page(server).value(name, **labels) - before.value(name, **labels)


def test_calls_are_counted_by_method_and_status(server, refused):
    reference = champion_of(server, "counted")
    before = Page(server)
    for _ in range(3):
        resolve(server.stub, reference)
    for _ in range(2):
        refused(server.stub.ResolveVersion, request_of("ResolveVersion", reference="counted@nobody"))
    refused(server.stub.ResolveVersion, request_of("ResolveVersion"))
    method = {"grpc_service": "podium.v1.RegistryService", "grpc_method": "ResolveVersion", "grpc_type": "unary"}
    reaches(
        server, before.value("grpc_server_handling_seconds_count", **method) + 6, "grpc_server_handling_seconds_count", **method
    )
    for code, count in (("OK", 3), ("NOT_FOUND", 2), ("INVALID_ARGUMENT", 1)):
        assert grown(server, before, "grpc_server_handled_total", **method, grpc_code=code) == count
    assert Page(server).value("podium_calls_in_flight", grpc_method="ResolveVersion") == 0


def test_the_histogram_has_each_call_in_one_place(server):
    reference = champion_of(server, "timed")
    before = Page(server)
    for _ in range(20):
        resolve(server.stub, reference)
    page, method = Page(server), {"grpc_method": "ResolveVersion"}
    buckets = [
        one for one in page.samples if one.name == "grpc_server_handling_seconds_bucket" and method.items() <= one.labels.items()
    ]
    assert buckets[-1].labels["le"] == "+Inf"
    assert buckets[-1].value - before.value("grpc_server_handling_seconds_bucket", **method, le="+Inf") == 20
    assert all(small.value <= large.value for small, large in pairwise(buckets))
    assert 0 < grown(server, before, "grpc_server_handling_seconds_sum", **method) < 60


def test_a_watch_is_under_way_until_it_is_cancelled(server):
    create_model(server.stub, "watched")
    number = register(server.stub, "watched").version.number
    before = Page(server)
    with Watching(server.stub, {"model": "watched"}) as watch:
        watch.snapshot()
        assert Page(server).value("podium_calls_in_flight", grpc_method="Watch") == 1
        server.stub.SetAlias(request_of("SetAlias", reference=f"watched:{number}", alias="champion"))
        watch.events(1)
        assert grown(server, before, "podium_watch_snapshots_total") == 1
        assert grown(server, before, "podium_watch_events_total") == 1
        position = watch.position
    reaches(server, 0, "podium_calls_in_flight", grpc_method="Watch")
    assert grown(server, before, "grpc_server_handled_total", grpc_method="Watch", grpc_code="CANCELLED") == 1
    with Watching(server.stub, {"model": "watched"}, position=position) as watch:
        watch.any_step()
        assert grown(server, before, "podium_watch_snapshots_total") == 1, "it went on where it was"


def test_bytes_that_come_and_go(server):
    create_model(server.stub, "moved")
    before = Page(server)
    content = bytes(3 * MIB + 5)
    register(server.stub, "moved", files=upload_files(server.stub, "moved", {"f": content}))
    assert grown(server, before, "podium_uploaded_bytes_total") == len(content)
    assert download(server.stub, "moved:1", "f", offset=MIB) == content[MIB:]
    assert 0 <= grown(server, before, "podium_downloaded_bytes_total") - (len(content) - MIB) < 100, "with the frames"


def test_what_the_ledger_and_the_view_do(server):
    before = Page(server)
    reference = champion_of(server, "kept")
    page = Page(server)
    assert page.value("podium_view_revision") - before.value("podium_view_revision") == 2
    assert page.value("podium_view_references") - before.value("podium_view_references") == 3, "champion, latest, a stage"
    assert page.value("podium_ledger_waiting") == 0
    assert page.value("podium_ledger_group_changes_sum") - before.value("podium_ledger_group_changes_sum") == 2
    assert page.value("podium_ledger_commit_seconds_count") - before.value("podium_ledger_commit_seconds_count") == 2
    assert 0 <= page.value("podium_view_lag_seconds") < 30
    server.stub.GetModel(request_of("GetModel", name="kept"))
    assert grown(server, page, "podium_database_read_seconds_count") == 1
    resolve(server.stub, reference)
    assert grown(server, page, "podium_database_read_seconds_count") == 1, "that was a memory read"
    assert page.value("podium_storage_errors_total") == 0
    assert {one.labels["seen_by"] for one in page.families["podium_storage_errors"].samples if one.name.endswith("_total")} == {
        "ledger",
        "tailer",
        "read",
        "blobs",
    }


def test_the_process_and_its_version_are_there(server):
    page = Page(server)
    assert page.value("process_resident_memory_bytes") > 10 * MIB
    assert page.value("podium_build_info", version="0.1.0") == 1


def test_a_server_shows_what_another_one_committed(start_server):
    one, other = start_server(*SHOWN), start_server(*SHOWN)
    champion_of(one, "m")
    reaches(other, 2, "podium_view_revision")
    assert Page(other).value("podium_view_references") == 3
    assert Page(other).value("podium_ledger_group_changes_count") == 0


def test_requests_that_are_made_again_are_counted(start_server, gcs):
    server = start_server("--blobs", f"gs://{BUCKET}/registry", *SHOWN, environment=gcs.environment)
    create_model(server.stub, "m")
    register(server.stub, "m", files=upload_files(server.stub, "m", {"f": bytes(MIB)}))
    gcs.order(method="GET", status=503)
    assert download(server.stub, "m:1", "f") == bytes(MIB)
    assert Page(server).value("podium_blob_retries_total") == 1
    gcs.order(method="GET", status=403)
    with pytest.raises(grpc.RpcError):
        download(server.stub, "m:1", "f")
    reaches(server, 1, "podium_storage_errors_total", seen_by="blobs")


def test_nothing_is_shown_unless_that_is_asked_for(start_server):
    assert "metrics at" not in start_server().output()


def test_a_port_that_is_taken_is_said_in_one_line(start_server):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(pytest.fail.Exception, match=f"cannot show metrics at {address}: Address already in use") as failed:
            start_server("--metrics", address)
    assert "Traceback" not in str(failed.value)
