"""Registration: a version is whole or not there, and is what was said."""

import hashlib
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from podium.v1.artifacts_pb2 import DownloadArtifactRequest
from podium.v1.events_pb2 import EventFilter, EventKind, ListEventsRequest
from podium.v1.models_pb2 import GetModelRequest, VersionStrategy
from podium.v1.records_pb2 import InputKind, VersionRecord
from podium.v1.resolve_pb2 import ResolveVersionRequest
from podium.v1.versions_pb2 import (
    GetVersionRequest,
    ListFilesRequest,
    ListVersionsRequest,
    ManifestFile,
    RegisterVersionRequest,
    VersionBump,
)
from story import create_model, download, register, resolve, upload, upload_files

MAJOR, MINOR, PATCH = VersionBump.VERSION_BUMP_MAJOR, VersionBump.VERSION_BUMP_MINOR, VersionBump.VERSION_BUMP_PATCH
FILES = {
    "model.pkl": b"weights",
    "config/params.json": b"{}",
    "config/empty": b"",
    "ünïcode/模型.txt": b"x" * 3_000_000,
}


def full_record():
    """A record with everything in it."""
    record = VersionRecord(author="ann@example.org", team="risk")
    record.framework.name, record.framework.version = "scikit-learn", "1.7.0"
    record.runtime.name, record.runtime.version = "python", "3.11.7"
    record.dependencies.add(name="numpy", version="2.4.0")
    for name, field, value in (
        ("trees", "int_value", 100),
        ("rate", "double_value", 0.1),
        ("kind", "string_value", "gbdt"),
        ("early", "bool_value", True),
        ("zero", "int_value", 0),
    ):
        setattr(record.params.add(name=name), field, value)
    record.metrics.add(name="auc", value=0.93, dataset="test", slice="country=DE")
    record.metrics.add(name="loss", value=float("inf"), step=0).time.GetCurrentTime()
    record.training_start_time.FromJsonString("2025-01-24T12:00:00Z")
    record.training_duration.FromSeconds(3600)
    record.hardware.cpu, record.hardware.cpu_count, record.hardware.accelerator = "EPYC", 96, "H100"
    record.hardware.accelerator_count, record.hardware.memory_bytes, record.hardware.node_count = 8, 2**40, 2
    record.inputs.add(kind=InputKind.INPUT_KIND_DATASET, name="transactions", version="7", digest="md5:1", uri="s3://b/t")
    record.inputs.add(kind=InputKind.INPUT_KIND_FEATURES, name="spend")
    record.inputs.add(kind=InputKind.INPUT_KIND_PIPELINE, name="train")
    record.source.repository, record.source.commit = "https://example.org/risk.git", "1f3a9c2d7e"
    record.source.branch, record.source.dirty = "main", False
    record.parents.add(uri="hf://org/base", relation="fine-tuned")
    record.run.system, record.run.id, record.run.uri = "mlflow", "42", "https://example.org/42"
    record.input_schema.add(name="amount", type="float32", shape=[-1, 3])
    record.output_schema.add(type="float32", shape=[-1], optional=True)
    record.serving.image = "example.org/serve:1"
    record.serving.request_content_types.append("application/json")
    record.serving.response_content_types.append("application/json")
    return record


def test_a_version_with_files_goes_in_and_comes_out(stub, tmp_path):
    create_model(stub, "whole")
    files = upload_files(stub, "whole", FILES)
    reply = stub.RegisterVersion(RegisterVersionRequest(model="whole", files=files))
    version = reply.version
    assert reply.created
    assert (version.number, version.version, version.stage) == (1, "1.0.0", "development")
    assert (version.file_count, version.size_bytes) == (4, sum(map(len, FILES.values())))
    listed = stub.ListFiles(ListFilesRequest(reference="whole:1")).files
    assert [file.path for file in listed] == sorted(FILES, key=str.encode)
    for file in listed:
        content = download(stub, "whole:1", file.path)
        assert content == FILES[file.path]
        (tmp_path / file.path).parent.mkdir(exist_ok=True)
        (tmp_path / file.path).write_bytes(content)
    manifest = "".join(f"{file.digest.removeprefix('sha256:')}  {file.path}\n" for file in listed)
    assert version.digest == f"sha256:{hashlib.sha256(manifest.encode()).hexdigest()}"
    subprocess.run(["sha256sum", "--check", "--quiet", "--strict"], input=manifest.encode(), cwd=tmp_path, check=True)


def test_the_record_comes_back_as_it_was_said_byte_for_byte(stub):
    create_model(stub, "recorded")
    said = full_record()
    version = stub.RegisterVersion(RegisterVersionRequest(model="recorded", record=said)).version
    reply = stub.GetVersion(GetVersionRequest(reference="recorded:1"))
    said.manifest_digest = version.digest
    assert reply.version.record == said
    assert VersionRecord.FromString(reply.record_bytes) == said
    assert version.record_digest == f"sha256:{hashlib.sha256(reply.record_bytes).hexdigest()}"
    assert reply.version.record.params[0].WhichOneof("value") == "int_value"
    assert reply.version.record.metrics[1].HasField("step")
    assert not reply.version.record.metrics[0].HasField("step")


def test_a_parent_is_the_version_that_the_reference_meant_then(stub):
    model = create_model(stub, "family")
    register(stub, "family", aliases=["champion"])
    child = VersionRecord()
    child.parents.add(reference="family@champion", relation="fine-tuned")
    register(stub, "family", record=child, aliases=["champion"])
    (parent,) = stub.GetVersion(GetVersionRequest(reference="family:2")).version.record.parents
    assert (parent.reference, parent.number, parent.model_uid) == ("family@champion", 1, model.uid)


def test_a_parent_that_is_not_there_is_refused(stub, refused):
    create_model(stub, "orphan")
    record = VersionRecord()
    record.parents.add(reference="orphan@nobody", relation="x")
    assert refused(stub.RegisterVersion, RegisterVersionRequest(model="orphan", record=record)).reason == "ALIAS_NOT_FOUND"
    record.parents[0].reference = "nobody:1"
    assert refused(stub.RegisterVersion, RegisterVersionRequest(model="orphan", record=record)).reason == "MODEL_NOT_FOUND"
    record.parents[0].reference = "orphan"
    assert refused(stub.RegisterVersion, RegisterVersionRequest(model="orphan", record=record)).fields == [
        "record.parents[0].reference"
    ]


def test_blobs_that_are_not_uploaded_are_named_and_nothing_is_registered(stub, refused):
    create_model(stub, "missing")
    there = upload_files(stub, "missing", {"a": b"there"})
    absent = [ManifestFile(path=f"b{number}", digest=f"sha256:{number:064x}", size_bytes=1) for number in range(50)]
    request = RegisterVersionRequest(model="missing", files=there + absent, aliases=["champion"])
    refusal = refused(stub.RegisterVersion, request)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "BLOBS_MISSING")
    assert refusal.metadata["total"] == "50"
    named = refusal.metadata["digests"].split(",")
    assert set(named) < {file.digest for file in absent}
    assert stub.ListVersions(ListVersionsRequest(model="missing")).versions == []
    assert refused(stub.ResolveVersion, ResolveVersionRequest(reference="missing@champion")).reason == "ALIAS_NOT_FOUND"
    assert stub.GetModel(GetModelRequest(name="missing")).model.last_number == 0


def test_a_size_that_is_not_the_blobs_is_refused(stub, refused):
    create_model(stub, "sized")
    files = upload_files(stub, "sized", {"a": b"four", "b": b"more"})
    files[1].size_bytes = 5
    refusal = refused(stub.RegisterVersion, RegisterVersionRequest(model="sized", files=files))
    assert (refusal.code, refusal.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["files[1].size_bytes"])


def test_a_size_that_is_not_the_blobs_is_refused_also_where_the_files_are_known(stub, refused):
    create_model(stub, "resized")
    files = upload_files(stub, "resized", {"a": b"x" * 100, "b": b"y" * 50})
    stub.RegisterVersion(RegisterVersionRequest(model="resized", files=files))
    files[0].size_bytes, files[1].size_bytes = 75, 75
    request = RegisterVersionRequest(model="resized", files=files, record=VersionRecord(author="other"))
    assert refused(stub.RegisterVersion, request).fields == ["files[0].size_bytes"]


def test_ten_thousand_files_are_one_version(stub, refused):
    create_model(stub, "many")
    digest = upload(stub, "many", b"same")
    files = [ManifestFile(path=f"{number % 100}/{number}", digest=digest, size_bytes=4) for number in range(10_000)]
    version = stub.RegisterVersion(RegisterVersionRequest(model="many", files=files)).version
    assert (version.file_count, version.size_bytes) == (10_000, 40_000)
    listed, token = [], ""
    while True:
        page = stub.ListFiles(ListFilesRequest(reference="many:1", page_size=1000, page_token=token))
        listed += [file.path for file in page.files]
        token = page.next_page_token
        if not token:
            break
    assert listed == sorted(file.path for file in files)
    assert download(stub, "many:1", "99/9999") == b"same"
    files.append(ManifestFile(path="more", digest=digest, size_bytes=4))
    assert refused(stub.RegisterVersion, RegisterVersionRequest(model="many", files=files)).fields == ["files"]


def test_a_long_file_list_with_a_missing_blob_leaves_nothing_and_can_come_again(stub, refused):
    create_model(stub, "pieces")
    digest = upload(stub, "pieces", b"piece")
    late = f"sha256:{hashlib.sha256(b'late').hexdigest()}"
    files = [ManifestFile(path=f"f{number}", digest=digest, size_bytes=5) for number in range(1500)]
    files[3] = ManifestFile(path="f3", digest=late, size_bytes=4)
    request = RegisterVersionRequest(model="pieces", files=files)
    refusal = refused(stub.RegisterVersion, request)
    assert refusal.metadata == {"digests": late, "total": "1"}
    upload(stub, "pieces", b"late")
    assert stub.RegisterVersion(request).version.size_bytes == 5 * 1499 + 4
    assert len(stub.ListFiles(ListFilesRequest(reference="pieces:1", page_size=1000)).files) == 1000


def test_the_same_again_is_the_version_that_is_there(stub):
    create_model(stub, "again")
    files = upload_files(stub, "again", {"a": b"1"})
    request = RegisterVersionRequest(model="again", files=files, record=full_record())
    first = stub.RegisterVersion(request)
    second = stub.RegisterVersion(request)
    assert (second.version, second.created, second.position) == (first.version, False, first.position)
    request.record.author = "somebody else"
    assert stub.RegisterVersion(request).version.number == 2
    request.files[0].path = "b"
    assert stub.RegisterVersion(request).version.number == 3


def test_the_same_again_with_stage_and_alias_moves_the_version_that_is_there(stub, refused):
    create_model(stub, "asked")
    request = RegisterVersionRequest(model="asked", record=VersionRecord(author="x"))
    stub.RegisterVersion(request)
    request.stage = "staging"
    request.aliases.append("champion")
    reply = stub.RegisterVersion(request)
    assert (reply.created, reply.version.number, reply.version.stage, list(reply.version.aliases)) == (
        False,
        1,
        "staging",
        ["champion"],
    )
    assert resolve(stub, "asked#staging").number == 1
    request.stage = "deprecated"
    assert refused(stub.RegisterVersion, request).reason == "TRANSITION_NOT_ALLOWED"


def test_the_same_with_another_version_string_is_a_version_of_its_own(stub, refused):
    create_model(stub, "strings")
    request = RegisterVersionRequest(model="strings", record=VersionRecord(author="x"), version="1.0.0")
    first = stub.RegisterVersion(request).version
    assert stub.RegisterVersion(request).version.number == first.number
    request.version = "2.0.0"
    assert stub.RegisterVersion(request).version.number == 2
    request.version = "1.0.0"
    request.record.author = "y"
    refusal = refused(stub.RegisterVersion, request)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ALREADY_EXISTS, "VERSION_EXISTS")


def test_a_version_asked_for_by_its_string_again_is_the_one_of_that_string(stub):
    create_model(stub, "twice")
    requests = [
        RegisterVersionRequest(model="twice", record=VersionRecord(author="x"), version=version) for version in ("1.0.0", "2.0.0")
    ]
    numbers = [stub.RegisterVersion(request).version.number for request in requests * 2]
    assert numbers == [1, 2, 1, 2]


def test_semantic_versions_follow_the_highest(stub, refused):
    create_model(stub, "semantic")
    told = [
        register(stub, "semantic", **asked).version.version
        for asked in (
            {},
            {},
            {"bump": MINOR},
            {"version": "3.0.0-rc.1"},
            {"bump": PATCH},
            {"version": "2.9.9"},
            {},
            {"bump": MAJOR},
        )
    ]
    assert told == ["1.0.0", "1.0.1", "1.1.0", "3.0.0-rc.1", "3.0.0", "2.9.9", "3.0.1", "4.0.0"]
    refusal = refused(stub.RegisterVersion, RegisterVersionRequest(model="semantic", version="5.0.0", bump=MAJOR))
    assert refusal.fields == ["bump"]
    assert refused(stub.RegisterVersion, RegisterVersionRequest(model="semantic", version="v5")).fields == ["version"]


def test_git_versions_are_named_by_the_commit(stub, refused):
    create_model(stub, "risk/by-git", strategy=VersionStrategy.VERSION_STRATEGY_GIT)
    record = VersionRecord()
    record.source.commit = "abc123def4567890"
    names = []
    for author in "xyz":
        record.author = author
        names.append(register(stub, "risk/by-git", record=record).version.version)
    assert names == ["by-git-abc123def", "by-git-abc123def-2", "by-git-abc123def-3"]
    assert resolve(stub, "risk/by-git:by-git-abc123def-2").number == 2
    refusal = refused(stub.RegisterVersion, RegisterVersionRequest(model="risk/by-git"))
    assert refusal.fields == ["record.source.commit"]
    assert refused(stub.RegisterVersion, RegisterVersionRequest(model="risk/by-git", bump=MAJOR)).fields == ["bump"]


def test_timestamp_versions_are_named_by_the_time(stub):
    create_model(stub, "by-time", strategy=VersionStrategy.VERSION_STRATEGY_TIMESTAMP)
    with ThreadPoolExecutor(8) as pool:
        versions = [reply.version for reply in pool.map(lambda _: register(stub, "by-time"), range(24))]
    assert len({version.version for version in versions}) == 24
    for version in versions:
        time = version.create_time.ToDatetime().strftime("%Y%m%d-%H%M%S")
        assert re.fullmatch(rf"by-time-{time}(-[0-9]+)?", version.version)


def test_integer_versions_are_the_numbers(stub, refused):
    create_model(stub, "by-number", strategy=VersionStrategy.VERSION_STRATEGY_INTEGER)
    assert [register(stub, "by-number").version.version for _ in range(3)] == ["1", "2", "3"]
    assert register(stub, "by-number", version="4").version.number == 4
    refusal = refused(stub.RegisterVersion, RegisterVersionRequest(model="by-number", version="9"))
    assert refusal.fields == ["version"]
    assert resolve(stub, "by-number:2").version == "2"


def test_external_files_are_listed_and_not_stored(stub, refused):
    create_model(stub, "external")
    digest = f"sha256:{hashlib.sha256(b'far').hexdigest()}"
    record = VersionRecord()
    record.external_files.add(path="far/known.bin", uri="s3://bucket/known", digest=digest, size_bytes=3)
    record.external_files.add(path="far/unknown.bin", uri="s3://bucket/unknown")
    files = upload_files(stub, "external", {"near.bin": b"near", "a.bin": b"a"})
    version = stub.RegisterVersion(RegisterVersionRequest(model="external", files=files, record=record)).version
    assert (version.file_count, version.external_file_count, version.size_bytes) == (2, 2, 5)
    page = stub.ListFiles(ListFilesRequest(reference="external:1", page_size=3))
    rest = stub.ListFiles(ListFilesRequest(reference="external:1", page_size=3, page_token=page.next_page_token))
    listed = [*page.files, *rest.files]
    assert [file.path for file in listed] == ["a.bin", "far/known.bin", "far/unknown.bin", "near.bin"]
    assert (listed[1].uri, listed[1].digest, listed[1].size_bytes) == ("s3://bucket/known", digest, 3)
    assert not listed[2].HasField("size_bytes")
    refusal = refused(stub.DownloadArtifact, DownloadArtifactRequest(reference="external:1", path="far/known.bin"))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "FILE_IS_EXTERNAL")
    assert refusal.metadata == {"uri": "s3://bucket/known"}


def test_first_stage_and_aliases_are_set_in_the_same_revision(stub):
    create_model(stub, "atomic")
    reply = register(stub, "atomic", stage="staging", aliases=["champion", "canary"], reason="good")
    assert (reply.version.stage, list(reply.version.aliases)) == ("staging", ["canary", "champion"])
    events = stub.ListEvents(ListEventsRequest(filter=EventFilter(model="atomic"), newest_first=True)).events
    last = [event for event in events if event.position == reply.position]
    assert [(event.kind, event.name) for event in reversed(last)] == [
        (EventKind.EVENT_KIND_VERSION_REGISTERED, "1.0.0"),
        (EventKind.EVENT_KIND_LATEST, "latest"),
        (EventKind.EVENT_KIND_STAGE, "staging"),
        (EventKind.EVENT_KIND_ALIAS, "canary"),
        (EventKind.EVENT_KIND_ALIAS, "champion"),
    ]


def test_a_model_must_exist(stub, refused):
    refusal = refused(stub.RegisterVersion, RegisterVersionRequest(model="nobody"))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND")


@pytest.mark.parametrize("stage", ["nowhere", "deprecated"])
def test_a_first_stage_that_cannot_be_reached_is_refused(stub, refused, stage):
    name = f"unreachable-{stage}"
    create_model(stub, name)
    assert refused(stub.RegisterVersion, RegisterVersionRequest(model=name, stage=stage)).code in (
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION,
    )
    assert stub.GetModel(GetModelRequest(name=name)).model.last_number == 0
