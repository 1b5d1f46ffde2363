"""What a record may say, its bytes, and the rows by which it is searched."""

import math
from hashlib import sha256

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from podium.v1 import records_pb2 as pb
from podium.v1.versions_pb2 import ManifestFile, RegisterVersionRequest
from podium_server import tables
from podium_server.limits import MAX_RECORD_BYTES
from podium_server.records import (
    check_known_fields,
    check_record,
    input_rows,
    metric_rows,
    param_rows,
    parent_rows,
    record_digest,
    serialize,
)
from refusals import refused_field

DIGEST = "sha256:" + "0" * 64
INFINITE = [math.inf, -math.inf]


def record(**content):
    return pb.VersionRecord(**content)


def library(**content):
    return {"name": "numpy", **content}


def dataset(**content):
    return {"kind": pb.INPUT_KIND_DATASET, "name": "loans", **content}


def metric(**content):
    return {"name": "auc", "value": 0.5, **content}


FULL = record(
    manifest_digest=DIGEST,
    author="ann@example.org",
    team="risk",
    framework=library(name="scikit-learn", version="1.7.0"),
    runtime=library(name="python", version="3.11.7"),
    dependencies=[library(version="2.1"), library(name="scipy")],
    params=[
        {"name": "text", "string_value": "two\nlines\t\x1b"},
        {"name": "empty", "string_value": ""},
        {"name": "int", "int_value": 100},
        {"name": "double", "double_value": 0.1},
        {"name": "bool", "bool_value": False},
    ],
    metrics=[
        metric(),
        metric(dataset="test"),
        metric(dataset="test", slice="country=DE"),
        metric(step=0),
        metric(step=-1, time=Timestamp(seconds=-1, nanos=999_999_999)),
        metric(name="loss", value=math.inf),
    ],
    training_start_time=Timestamp(seconds=1_737_720_000),
    training_duration=Duration(seconds=3_600, nanos=1),
    hardware={
        "cpu": "EPYC",
        "cpu_count": 8,
        "accelerator": "H100",
        "accelerator_count": 2,
        "memory_bytes": 2**40,
        "node_count": 1,
    },
    inputs=[
        dataset(version="3", digest="md5:abc", uri="s3://data/loans"),
        dataset(kind=pb.INPUT_KIND_FEATURES),
        dataset(kind=pb.INPUT_KIND_PIPELINE),
    ],
    source={"repository": "git@github.com:ann/fraud.git", "commit": "1f3a9c2d7", "branch": "main", "dirty": False},
    parents=[
        {"reference": "risk/fraud@champion", "relation": "fine-tuned", "model_uid": "uid", "number": 7},
        {"uri": "hf://org/model"},
    ],
    run={"system": "mlflow", "id": "1", "uri": "https://mlflow.example.org/1"},
    input_schema=[{"name": "amount", "type": "float32", "shape": [-1, 0, 3]}, {"name": "country", "optional": True}],
    output_schema=[{"type": "float32"}],
    serving={
        "image": "registry:5000/x@" + DIGEST,
        "request_content_types": ["text/csv"],
        "response_content_types": ["text/csv"],
    },
)

# Each string: its field, how a record with it is made, its most bytes, and whether it may be empty.
STRINGS = [
    ("author", lambda text: record(author=text), 1_024, True),
    ("team", lambda text: record(team=text), 1_024, True),
    ("framework.name", lambda text: record(framework=library(name=text)), 1_024, False),
    ("framework.version", lambda text: record(framework=library(version=text)), 1_024, True),
    ("runtime.name", lambda text: record(runtime=library(name=text)), 1_024, False),
    ("runtime.version", lambda text: record(runtime=library(version=text)), 1_024, True),
    ("dependencies[1].name", lambda text: record(dependencies=[library(), library(name=text)]), 1_024, False),
    ("dependencies[0].version", lambda text: record(dependencies=[library(version=text)]), 1_024, True),
    ("params[0].name", lambda text: record(params=[{"name": text, "int_value": 1}]), 250, False),
    ("metrics[1].name", lambda text: record(metrics=[metric(), metric(name=text)]), 250, False),
    ("metrics[0].dataset", lambda text: record(metrics=[metric(dataset=text)]), 1_024, True),
    ("metrics[0].slice", lambda text: record(metrics=[metric(slice=text)]), 1_024, True),
    ("hardware.cpu", lambda text: record(hardware={"cpu": text}), 1_024, True),
    ("hardware.accelerator", lambda text: record(hardware={"accelerator": text}), 1_024, True),
    ("inputs[1].name", lambda text: record(inputs=[dataset(), dataset(name=text)]), 1_024, False),
    ("inputs[0].version", lambda text: record(inputs=[dataset(version=text)]), 1_024, True),
    ("inputs[0].digest", lambda text: record(inputs=[dataset(digest=text)]), 256, True),
    ("inputs[0].uri", lambda text: record(inputs=[dataset(uri=text)]), 2_048, True),
    ("source.repository", lambda text: record(source={"repository": text}), 2_048, True),
    ("source.branch", lambda text: record(source={"branch": text}), 1_024, True),
    ("parents[0].uri", lambda text: record(parents=[{"uri": text or "x"}]), 2_048, True),
    ("parents[0].relation", lambda text: record(parents=[{"uri": "x", "relation": text}]), 250, True),
    ("parents[0].model_uid", lambda text: record(parents=[{"reference": "a:1", "model_uid": text}]), 1_024, True),
    ("run.system", lambda text: record(run={"system": text}), 1_024, True),
    ("run.id", lambda text: record(run={"id": text}), 1_024, True),
    ("run.uri", lambda text: record(run={"uri": text}), 2_048, True),
    ("input_schema[0].name", lambda text: record(input_schema=[{"name": text}]), 1_024, True),
    ("input_schema[1].name", lambda text: record(input_schema=[{"name": "a"}, {"name": text}]), 1_024, False),
    ("output_schema[0].name", lambda text: record(output_schema=[{"name": text}, {"name": "a"}]), 1_024, False),
    ("output_schema[0].type", lambda text: record(output_schema=[{"type": text}]), 1_024, True),
    ("serving.image", lambda text: record(serving={"image": text}), 2_048, True),
    ("serving.request_content_types[0]", lambda text: record(serving={"request_content_types": [text]}), 1_024, False),
    (
        "serving.response_content_types[1]",
        lambda text: record(serving={"response_content_types": ["a/b", text]}),
        1_024,
        False,
    ),
]

# Each list: its field, a record with so many items, and its most items.
LISTS = [
    ("dependencies", lambda count: record(dependencies=[library(name=f"{i}") for i in range(count)]), 1_000),
    ("params", lambda count: record(params=[{"name": f"{i}", "int_value": i} for i in range(count)]), 1_000),
    ("metrics", lambda count: record(metrics=[metric(step=i) for i in range(count)]), 1_000),
    ("inputs", lambda count: record(inputs=[dataset() for i in range(count)]), 100),
    ("parents", lambda count: record(parents=[{"uri": f"{i}"} for i in range(count)]), 100),
    ("input_schema", lambda count: record(input_schema=[{"name": f"{i}"} for i in range(count)]), 1_000),
    ("output_schema", lambda count: record(output_schema=[{"name": f"{i}"} for i in range(count)]), 1_000),
    ("output_schema[0].shape", lambda count: record(output_schema=[{"shape": [1] * count}]), 64),
    ("serving.request_content_types", lambda count: record(serving={"request_content_types": ["a/b"] * count}), 32),
    ("serving.response_content_types", lambda count: record(serving={"response_content_types": ["a/b"] * count}), 32),
]


def by_field(cases):
    return pytest.mark.parametrize([*["field", "make", "most", "empty"]][: len(cases[0])], cases, ids=[case[0] for case in cases])


def test_nothing_need_be_said_and_everything_may_be():
    check_record(record())
    check_record(FULL)
    assert [field.name for field in FULL.DESCRIPTOR.fields if field not in {f for f, _ in FULL.ListFields()}] == ["external_files"]


def test_a_check_changes_nothing():
    request = RegisterVersionRequest()
    check_record(request.record)
    assert not request.HasField("record")
    before = FULL.SerializeToString()
    check_record(FULL)
    assert FULL.SerializeToString() == before


@by_field(STRINGS)
def test_strings_up_to_their_limit(field, make, most, empty):
    for text in ("x" * most, "é" * (most // 2), "a b", "模型"):
        check_record(make(text))
    for text in ("x" * (most + 1), "é" * (most // 2) + "x"):
        assert refused_field(check_record, make(text)) == f"record.{field}"
    if empty:
        check_record(make(""))
    else:
        assert refused_field(check_record, make("")) == f"record.{field}"


@by_field(STRINGS)
@pytest.mark.parametrize("character", ["\x00", "\n", "\x1b", "\x7f", "\x85", "\u2028"])
def test_strings_have_no_control_characters(field, make, most, empty, character):
    assert refused_field(check_record, make(f"a{character}b")) == f"record.{field}"


@by_field(LISTS)
def test_lists_up_to_their_limit(field, make, most):
    check_record(make(0))
    check_record(make(most))
    assert refused_field(check_record, make(most + 1)) == f"record.{field}"


@pytest.mark.parametrize("wrong", ["sha256:", DIGEST[:-1], DIGEST + "0", DIGEST.upper(), "0" * 64])
def test_the_manifest_digest_is_a_digest(wrong):
    assert refused_field(check_record, record(manifest_digest=wrong)) == "record.manifest_digest"


@pytest.mark.parametrize(
    "value",
    [{"string_value": "x" * 8_192}, {"string_value": "é" * 4_096}, {"int_value": 2**63 - 1}]
    + [{"int_value": -(2**63)}, {"double_value": 1.7976931348623157e308}, {"double_value": 5e-324}]
    + [{"double_value": -0.0}, {"bool_value": True}],
)
def test_params(value):
    check_record(record(params=[{"name": "a", **value}]))


@pytest.mark.parametrize(
    ("value", "field"),
    [({}, "params[1]"), ({"string_value": "x" * 8_193}, "params[1].string_value")]
    + [({"string_value": "\0"}, "params[1].string_value")]
    + [({"string_value": "é" * 4_096 + "x"}, "params[1].string_value")]
    + [({"double_value": number}, "params[1].double_value") for number in (*INFINITE, math.nan)],
)
def test_what_is_no_param(value, field):
    params = [{"name": "a", "int_value": 1}, {"name": "b", **value}]
    assert refused_field(check_record, record(params=params)) == f"record.{field}"


@pytest.mark.parametrize("value", [0.0, -0.0, 5e-324, *INFINITE])
def test_a_metric_may_be_infinite(value):
    check_record(record(metrics=[metric(value=value)]))


@pytest.mark.parametrize("value", [math.nan, -math.nan])
def test_a_metric_is_a_number(value):
    assert refused_field(check_record, record(metrics=[metric(), metric(name="b", value=value)])) == "record.metrics[1].value"


def test_each_name_once():
    params = [{"name": "a", "int_value": 1}, {"name": "A", "int_value": 1}, {"name": "a", "string_value": "1"}]
    check_record(record(params=params[:2]))
    assert refused_field(check_record, record(params=params)) == "record.params[2]"
    dependencies = [library(), library(name="Numpy"), library(version="2")]
    check_record(record(dependencies=dependencies[:2]))
    assert refused_field(check_record, record(dependencies=dependencies)) == "record.dependencies[2]"


@pytest.mark.parametrize("said", [{}, {"dataset": "d"}, {"slice": "s"}, {"step": 0}, {"step": 1}, {"dataset": "s", "slice": "d"}])
def test_each_metric_once(said):
    others = [metric(name="b"), metric(dataset="x"), metric(slice="x"), metric(step=9)]
    check_record(record(metrics=[*others, metric(**said)]))
    twice = [*others, metric(**said), metric(value=0.1, time=Timestamp(seconds=1), **said)]
    assert refused_field(check_record, record(metrics=twice)) == "record.metrics[5]"


def test_a_metric_without_a_step_is_not_that_of_step_0():
    check_record(record(metrics=[metric(), metric(step=0)]))


@pytest.mark.parametrize("field", ["cpu_count", "accelerator_count", "memory_bytes", "node_count"])
def test_hardware_is_not_negative(field):
    most = 2**63 - 1 if field == "memory_bytes" else 2**31 - 1
    for number in (0, 1, most):
        check_record(record(hardware={field: number}))
    for number in (-1, -most - 1):
        assert refused_field(check_record, record(hardware={field: number})) == f"record.hardware.{field}"


FIRST, LAST = -62_135_596_800, 253_402_300_799


@pytest.mark.parametrize(("seconds", "nanos"), [(FIRST, 0), (-1, 999_999_999), (0, 0), (LAST, 999_999_999)])
def test_times(seconds, nanos):
    time = Timestamp(seconds=seconds, nanos=nanos)
    check_record(record(training_start_time=time, metrics=[metric(time=time)]))


@pytest.mark.parametrize(("seconds", "nanos"), [(FIRST - 1, 0), (LAST + 1, 0), (0, -1), (0, 10**9), (2**63 - 1, 0), (-(2**63), 0)])
def test_what_is_no_time(seconds, nanos):
    time = Timestamp(seconds=seconds, nanos=nanos)
    assert refused_field(check_record, record(training_start_time=time)) == "record.training_start_time"
    assert refused_field(check_record, record(metrics=[metric(time=time)])) == "record.metrics[0].time"


@pytest.mark.parametrize(("seconds", "nanos"), [(0, 0), (0, 1), (1, 999_999_999), (315_576_000_000, 0)])
def test_durations(seconds, nanos):
    check_record(record(training_duration=Duration(seconds=seconds, nanos=nanos)))


@pytest.mark.parametrize(("seconds", "nanos"), [(-1, 0), (0, -1), (1, -1), (0, 10**9), (315_576_000_001, 0), (-(2**63), 0)])
def test_what_is_no_duration(seconds, nanos):
    duration = Duration(seconds=seconds, nanos=nanos)
    assert refused_field(check_record, record(training_duration=duration)) == "record.training_duration"


@pytest.mark.parametrize("kind", [0, 4, -1, 2**31 - 1])
def test_an_input_has_a_kind_that_is_known(kind):
    assert refused_field(check_record, record(inputs=[dataset(), dataset(kind=kind)])) == "record.inputs[1].kind"


@pytest.mark.parametrize("commit", ["", "1f3a9c2", "0" * 40, "f" * 64])
def test_commits(commit):
    check_record(record(source={"commit": commit}))


@pytest.mark.parametrize("commit", ["1f3a9c", "0" * 65, "1F3A9C2", "1f3a9cg", "1f3a9c2\n", " 1f3a9c2", "HEAD", "1f3a9c２"])
def test_what_is_no_commit(commit):
    assert refused_field(check_record, record(source={"commit": commit})) == "record.source.commit"


@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("source.repository", lambda uri: record(source={"repository": uri})),
        ("inputs[0].uri", lambda uri: record(inputs=[dataset(uri=uri)])),
        ("parents[0].uri", lambda uri: record(parents=[{"uri": uri}])),
        ("run.uri", lambda uri: record(run={"uri": uri})),
    ],
)
def test_no_uri_has_credentials(field, make):
    for uri in (
        "https://github.com/ann/fraud.git",
        "ssh://git@github.com/ann/fraud.git",
        "git@github.com:ann/fraud.git",
    ):
        check_record(make(uri))
    for uri in (
        "https://token@github.com/ann/fraud.git",
        "https://ann:secret@github.com/ann/fraud.git",
        "ssh://a:b@c/d",
    ):
        assert refused_field(check_record, make(uri)) == f"record.{field}"


@pytest.mark.parametrize("reference", ["a:1", "a:1.0.0", "a@champion", "a#production", "a/b@latest", "a@" + DIGEST])
def test_a_parent_may_be_any_reference(reference):
    check_record(record(parents=[{"reference": reference}]))


@pytest.mark.parametrize(
    ("parent", "field"),
    [
        ({}, "parents[1]"),
        ({"relation": "distilled"}, "parents[1]"),
        ({"reference": ""}, "parents[1]"),
        ({"uri": ""}, "parents[1]"),
        ({"uri": "hf://org/model", "model_uid": "uid"}, "parents[1]"),
        ({"uri": "hf://org/model", "number": 1}, "parents[1]"),
        ({"reference": "a:1", "number": -1}, "parents[1].number"),
        ({"reference": "a"}, "parents[1].reference"),
        ({"reference": "../a:1"}, "parents[1].reference"),
    ],
)
def test_what_is_no_parent(parent, field):
    assert refused_field(check_record, record(parents=[{"uri": "x"}, parent])) == f"record.{field}"


@pytest.mark.parametrize(("shape", "fine"), [([], True), ([-1, 0, 2**63 - 1], True), ([1, -2], False), ([-(2**63)], False)])
def test_shapes(shape, fine):
    schema = record(input_schema=[{"name": "a", "shape": shape}])
    if fine:
        check_record(schema)
    else:
        assert refused_field(check_record, schema) == "record.input_schema[0].shape"


UNKNOWN = b"\xf8\x07\x01"  # field 127, the number 1


@pytest.mark.parametrize("path", ["", "framework", "params", "metrics.time", "parents", "serving", "training_duration"])
def test_what_only_a_newer_client_knows_is_refused_at_any_depth(path):
    newer = pb.VersionRecord.FromString(FULL.SerializeToString())
    part = newer
    for name in filter(None, path.split(".")):
        part = getattr(part, name)
        part = part[-1] if hasattr(part, "add") else part
    part.MergeFromString(UNKNOWN)
    assert refused_field(check_record, newer) == "record"


def test_unknown_fields_of_any_message():
    check_known_fields(ManifestFile(path="a"), "files[0]")
    assert refused_field(check_known_fields, ManifestFile.FromString(UNKNOWN), "files[0]") == "files[0]"


def test_the_bytes_are_the_message_and_the_digest_is_of_the_bytes():
    content = serialize(FULL)
    assert pb.VersionRecord.FromString(content) == FULL
    assert content == serialize(pb.VersionRecord.FromString(content))
    assert record_digest(content) == f"sha256:{sha256(content).hexdigest()}"
    assert serialize(record()) == b""


def test_a_record_has_at_most_a_mebibyte():
    tag_and_length = 4
    assert len(serialize(record(author="x" * (MAX_RECORD_BYTES - tag_and_length)))) == MAX_RECORD_BYTES
    assert refused_field(serialize, record(author="x" * (MAX_RECORD_BYTES - tag_and_length + 1))) == "record"


def rows_as_columns(table, rows):
    columns = [field.column_name for field in table._meta.sorted_fields]
    return [dict(zip(columns, row, strict=True)) for row in rows]


def test_metric_rows():
    first, *_, negative, infinite = rows_as_columns(tables.Metric, metric_rows(FULL, 5))
    unsaid = {"version_id": 5, "name": "auc", "value": 0.5, "dataset": "", "slice": "", "step": None, "time": None}
    assert first == {"place": 0, **unsaid}
    assert negative == {**unsaid, "place": 4, "step": -1, "time": -1}
    assert infinite == {**unsaid, "place": 5, "name": "loss", "value": math.inf}
    sliced = rows_as_columns(tables.Metric, metric_rows(FULL, 5))[2]
    assert sliced == {**unsaid, "place": 2, "dataset": "test", "slice": "country=DE"}
    assert metric_rows(FULL, 5)[3][6] == 0


def test_param_rows():
    rows = rows_as_columns(tables.Param, param_rows(FULL, 5))
    assert [row.pop("version_id") for row in rows] == [5] * 5
    assert rows == [
        {"name": "text", "type": "string", "text": "two\nlines\t\x1b", "number": None},
        {"name": "empty", "type": "string", "text": "", "number": None},
        {"name": "int", "type": "int", "text": "100", "number": 100.0},
        {"name": "double", "type": "double", "text": "0.1", "number": 0.1},
        {"name": "bool", "type": "bool", "text": "false", "number": None},
    ]


def test_a_whole_number_beyond_a_double_is_exact_as_text():
    (row,) = param_rows(record(params=[{"name": "a", "int_value": 2**53 + 1}]), 5)
    assert row == (5, "a", "int", "9007199254740993", 2.0**53)


def test_input_rows():
    said, *others = rows_as_columns(tables.Input, input_rows(FULL, 5))
    digest_and_place = {"version": "3", "digest": "md5:abc", "uri": "s3://data/loans"}
    assert said == {"version_id": 5, "place": 0, "kind": 1, "name": "loans", **digest_and_place}
    unsaid = {"version_id": 5, "name": "loans", "version": "", "digest": "", "uri": ""}
    assert others == [{"place": place, "kind": place + 1, **unsaid} for place in (1, 2)]


def test_parent_rows():
    here, elsewhere = rows_as_columns(tables.Parent, parent_rows(FULL, 5))
    reference = {"reference": "risk/fraud@champion", "uri": "", "model_uid": "uid", "number": 7}
    assert here == {"version_id": 5, "place": 0, "relation": "fine-tuned", **reference}
    uri = {"reference": "", "uri": "hf://org/model", "model_uid": "", "number": 0}
    assert elsewhere == {"version_id": 5, "place": 1, "relation": "", **uri}


def test_nothing_said_makes_no_rows():
    assert [rows(record(), 5) for rows in (metric_rows, param_rows, input_rows, parent_rows)] == [[]] * 4
