"""The record of a version: what it may say, its bytes and their digest, and the rows by which it is searched."""

import math
import re
from collections.abc import Iterable, Sequence
from hashlib import sha256

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from podium.v1 import records_pb2 as pb

from podium_server.errors import InvalidArgument, shown
from podium_server.limits import (
    MAX_CONTENT_TYPES,
    MAX_DIMENSIONS,
    MAX_INPUT_DIGEST_BYTES,
    MAX_ITEM_NAME_BYTES,
    MAX_PARAM_BYTES,
    MAX_RECORD_BYTES,
    MAX_RECORD_ITEMS,
    MAX_RECORD_LINKS,
    MAX_URI_BYTES,
    check_count,
    check_line,
    check_name,
    check_text,
    check_uri,
)
from podium_server.names import check_digest, parse_reference

Rows = list[tuple[str | float | None, ...]]

_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_INPUT_KINDS = frozenset(pb.InputKind.values()) - {pb.INPUT_KIND_UNSPECIFIED}
# What Timestamp and Duration allow: the years 1 to 9999, and 10,000 years.
_TIME_SECONDS = range(-62_135_596_800, 253_402_300_800)
_DURATION_SECONDS = range(315_576_000_001)
_NANOS = range(1_000_000_000)


def check_record(record: pb.VersionRecord) -> None:
    """Checks everything a caller can say but the external files (manifests.check_files) and the size (serialize).

    InvalidArgument names the first field that is not as records.proto says.
    """
    for name in ("dependencies", "params", "metrics", "input_schema", "output_schema"):
        check_count(getattr(record, name), f"record.{name}", MAX_RECORD_ITEMS)
    for name in ("inputs", "parents"):
        check_count(getattr(record, name), f"record.{name}", MAX_RECORD_LINKS)
    check_known_fields(record, "record")
    if record.manifest_digest:
        check_digest(record.manifest_digest, "record.manifest_digest")
    check_line(record.author, "record.author")
    check_line(record.team, "record.team")
    if record.HasField("framework"):
        _check_library(record.framework, "record.framework")
    if record.HasField("runtime"):
        _check_library(record.runtime, "record.runtime")
    _check_dependencies(record.dependencies)
    _check_params(record.params)
    _check_metrics(record.metrics)
    _check_time(record.training_start_time, "record.training_start_time")
    _check_duration(record.training_duration, "record.training_duration")
    _check_hardware(record.hardware)
    _check_inputs(record.inputs)
    _check_source(record.source)
    _check_parents(record.parents)
    _check_run(record.run)
    _check_schema(record.input_schema, "record.input_schema")
    _check_schema(record.output_schema, "record.output_schema")
    _check_serving(record.serving)


def check_known_fields(message: Message, field: str) -> None:
    """Refuses what only a newer client knows.

    Kept unread, it would be served and signed although nobody checked or indexed it; dropped, it would be lost for good.
    """
    known = type(message)()
    known.CopyFrom(message)  # a check does not change what it checks
    known.DiscardUnknownFields()
    if known.ByteSize() != message.ByteSize():
        raise InvalidArgument(f"{field} has fields that this server is too old to know", field=field)


def serialize(record: pb.VersionRecord) -> bytes:
    """The bytes that are stored, served and digested; InvalidArgument if they are too many."""
    text = record.SerializeToString(deterministic=True)
    if len(text) > MAX_RECORD_BYTES:
        raise InvalidArgument(f"the record has {len(text)} bytes: at most {MAX_RECORD_BYTES}", field="record")
    return text


def record_digest(record_bytes: bytes) -> str:
    """The digest of a serialized record."""
    return f"sha256:{sha256(record_bytes).hexdigest()}"


def external_rows(record: pb.VersionRecord, digest: str) -> Rows:
    """The rows of `external_file`, by the record's digest."""
    return [
        (digest, file.path, file.uri, file.digest, file.size_bytes if file.HasField("size_bytes") else None)
        for file in record.external_files
    ]


def metric_rows(record: pb.VersionRecord, version_id: int) -> Rows:
    """Rows (version_id, place, name, value, dataset, slice, step, time in microseconds)."""
    return [
        (version_id, place, item.name, item.value, item.dataset, item.slice, _step(item), _microseconds(item))
        for place, item in enumerate(record.metrics)
    ]


def param_rows(record: pb.VersionRecord, version_id: int) -> Rows:
    """Rows (version_id, name, type, text, number): the value written down, and as a number where it is one."""
    return [(version_id, param.name, *_typed(param)) for param in record.params]


def input_rows(record: pb.VersionRecord, version_id: int) -> Rows:
    """Rows (version_id, place, kind, name, version, digest, uri)."""
    return [
        (version_id, place, item.kind, item.name, item.version, item.digest, item.uri) for place, item in enumerate(record.inputs)
    ]


def parent_rows(record: pb.VersionRecord, version_id: int) -> Rows:
    """Rows (version_id, place, reference, uri, relation, model_uid, number), once the server has set the last two."""
    return [
        (version_id, place, parent.reference, parent.uri, parent.relation, parent.model_uid, parent.number)
        for place, parent in enumerate(record.parents)
    ]


def _check_library(library: pb.Library, field: str) -> None:
    check_name(library.name, f"{field}.name")
    check_line(library.version, f"{field}.version")


def _check_dependencies(dependencies: Sequence[pb.Library]) -> None:
    for place, library in enumerate(dependencies):
        _check_library(library, f"record.dependencies[{place}]")
    _check_once((library.name for library in dependencies), "record.dependencies", "name")


def _check_params(params: Sequence[pb.Param]) -> None:
    for place, param in enumerate(params):
        field = f"record.params[{place}]"
        check_name(param.name, f"{field}.name", MAX_ITEM_NAME_BYTES)
        kind = param.WhichOneof("value")
        if kind is None:
            raise InvalidArgument(f"the param {shown(param.name)} has no value", field=field)
        if kind == "string_value":
            check_text(param.string_value, f"{field}.string_value", MAX_PARAM_BYTES)
        elif kind == "double_value" and not math.isfinite(param.double_value):
            message = f"the param {shown(param.name)} is {param.double_value}, which is not a finite number"
            raise InvalidArgument(message, field=f"{field}.double_value")
    _check_once((param.name for param in params), "record.params", "name")


def _check_metrics(metrics: Sequence[pb.Metric]) -> None:
    for place, metric in enumerate(metrics):
        field = f"record.metrics[{place}]"
        check_name(metric.name, f"{field}.name", MAX_ITEM_NAME_BYTES)
        if math.isnan(metric.value):
            raise InvalidArgument(f"the metric {shown(metric.name)} is not a number", field=f"{field}.value")
        check_line(metric.dataset, f"{field}.dataset")
        check_line(metric.slice, f"{field}.slice")
        _check_time(metric.time, f"{field}.time")
    keys = ((metric.name, metric.dataset, metric.slice, _step(metric)) for metric in metrics)
    _check_once(keys, "record.metrics", "name, dataset, slice and step")


def _check_hardware(hardware: pb.Hardware) -> None:
    check_line(hardware.cpu, "record.hardware.cpu")
    check_line(hardware.accelerator, "record.hardware.accelerator")
    _check_not_negative(hardware.cpu_count, "record.hardware.cpu_count")
    _check_not_negative(hardware.accelerator_count, "record.hardware.accelerator_count")
    _check_not_negative(hardware.memory_bytes, "record.hardware.memory_bytes")
    _check_not_negative(hardware.node_count, "record.hardware.node_count")


def _check_inputs(inputs: Sequence[pb.Input]) -> None:
    for place, item in enumerate(inputs):
        field = f"record.inputs[{place}]"
        if item.kind not in _INPUT_KINDS:
            raise InvalidArgument(f"{item.kind} is no kind of input that this server knows", field=f"{field}.kind")
        check_name(item.name, f"{field}.name")
        check_line(item.version, f"{field}.version")
        check_line(item.digest, f"{field}.digest", MAX_INPUT_DIGEST_BYTES)
        check_uri(item.uri, f"{field}.uri")


def _check_source(source: pb.Source) -> None:
    check_uri(source.repository, "record.source.repository")
    if source.commit and not _COMMIT.fullmatch(source.commit):
        message = f"{shown(source.commit)} is not a commit: 7 to 64 lowercase hex digits"
        raise InvalidArgument(message, field="record.source.commit")
    check_line(source.branch, "record.source.branch")


def _check_parents(parents: Sequence[pb.Parent]) -> None:
    for place, parent in enumerate(parents):
        field = f"record.parents[{place}]"
        check_line(parent.relation, f"{field}.relation", MAX_ITEM_NAME_BYTES)
        _check_not_negative(parent.number, f"{field}.number")
        check_line(parent.model_uid, f"{field}.model_uid")
        check_uri(parent.uri, f"{field}.uri")
        if parent.reference:
            parse_reference(parent.reference, f"{field}.reference")
        elif not parent.uri:
            raise InvalidArgument(f"{field} has neither a reference nor a uri", field=field)
        elif parent.model_uid or parent.number:
            raise InvalidArgument(f"{field} is elsewhere and so has no model_uid and no number", field=field)


def _check_run(run: pb.Run) -> None:
    check_line(run.system, "record.run.system")
    check_line(run.id, "record.run.id")
    check_uri(run.uri, "record.run.uri")


def _check_schema(columns: Sequence[pb.Column], field: str) -> None:
    check_column_name = check_name if len(columns) > 1 else check_line
    for place, column in enumerate(columns):
        check_column_name(column.name, f"{field}[{place}].name")
        check_line(column.type, f"{field}[{place}].type")
        check_count(column.shape, f"{field}[{place}].shape", MAX_DIMENSIONS)
        if min(column.shape, default=0) < -1:
            raise InvalidArgument("a dimension is -1 for any size, or a size", field=f"{field}[{place}].shape")


def _check_serving(serving: pb.Serving) -> None:
    check_line(serving.image, "record.serving.image", MAX_URI_BYTES)
    for field, types in (
        ("record.serving.request_content_types", serving.request_content_types),
        ("record.serving.response_content_types", serving.response_content_types),
    ):
        check_count(types, field, MAX_CONTENT_TYPES)
        for place, text in enumerate(types):
            check_name(text, f"{field}[{place}]")


def _check_once(keys: Iterable[object], field: str, what: str) -> None:
    seen = set()
    for place, key in enumerate(keys):
        if key in seen:
            raise InvalidArgument(f"{field}[{place}] has the {what} of an earlier one", field=f"{field}[{place}]")
        seen.add(key)


def _check_not_negative(number: int, field: str) -> None:
    if number < 0:
        raise InvalidArgument(f"{field} is {number}: 0 or more", field=field)


def _check_time(time: Timestamp, field: str) -> None:
    if time.seconds not in _TIME_SECONDS or time.nanos not in _NANOS:
        raise InvalidArgument(f"{field} is not in the years 1 to 9999, or its nanos not under a second", field=field)


def _check_duration(duration: Duration, field: str) -> None:
    if duration.seconds not in _DURATION_SECONDS or duration.nanos not in _NANOS:
        raise InvalidArgument(f"{field} is negative or over 10,000 years, or its nanos not under a second", field=field)


def _step(metric: pb.Metric) -> int | None:
    return metric.step if metric.HasField("step") else None


def _microseconds(metric: pb.Metric) -> int | None:
    return metric.time.ToMicroseconds() if metric.HasField("time") else None


def _typed(param: pb.Param) -> tuple[str, str, float | None]:
    match param.WhichOneof("value"):
        case "int_value":
            return "int", str(param.int_value), float(param.int_value)
        case "double_value":
            return "double", repr(param.double_value), param.double_value
        case "bool_value":
            return "bool", "true" if param.bool_value else "false", None
        case _:
            return "string", param.string_value, None
