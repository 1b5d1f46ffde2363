import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class InputKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    INPUT_KIND_UNSPECIFIED: _ClassVar[InputKind]
    INPUT_KIND_DATASET: _ClassVar[InputKind]
    INPUT_KIND_FEATURES: _ClassVar[InputKind]
    INPUT_KIND_PIPELINE: _ClassVar[InputKind]
INPUT_KIND_UNSPECIFIED: InputKind
INPUT_KIND_DATASET: InputKind
INPUT_KIND_FEATURES: InputKind
INPUT_KIND_PIPELINE: InputKind

class VersionRecord(_message.Message):
    __slots__ = ("manifest_digest", "external_files", "author", "team", "framework", "dependencies", "params", "metrics", "training_start_time", "training_duration", "hardware", "inputs", "source", "parents", "run", "input_schema", "output_schema", "serving", "runtime")
    MANIFEST_DIGEST_FIELD_NUMBER: _ClassVar[int]
    EXTERNAL_FILES_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    TEAM_FIELD_NUMBER: _ClassVar[int]
    FRAMEWORK_FIELD_NUMBER: _ClassVar[int]
    DEPENDENCIES_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    TRAINING_START_TIME_FIELD_NUMBER: _ClassVar[int]
    TRAINING_DURATION_FIELD_NUMBER: _ClassVar[int]
    HARDWARE_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    PARENTS_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    INPUT_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    SERVING_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    manifest_digest: str
    external_files: _containers.RepeatedCompositeFieldContainer[ExternalFile]
    author: str
    team: str
    framework: Library
    dependencies: _containers.RepeatedCompositeFieldContainer[Library]
    params: _containers.RepeatedCompositeFieldContainer[Param]
    metrics: _containers.RepeatedCompositeFieldContainer[Metric]
    training_start_time: _timestamp_pb2.Timestamp
    training_duration: _duration_pb2.Duration
    hardware: Hardware
    inputs: _containers.RepeatedCompositeFieldContainer[Input]
    source: Source
    parents: _containers.RepeatedCompositeFieldContainer[Parent]
    run: Run
    input_schema: _containers.RepeatedCompositeFieldContainer[Column]
    output_schema: _containers.RepeatedCompositeFieldContainer[Column]
    serving: Serving
    runtime: Library
    def __init__(self, manifest_digest: _Optional[str] = ..., external_files: _Optional[_Iterable[_Union[ExternalFile, _Mapping]]] = ..., author: _Optional[str] = ..., team: _Optional[str] = ..., framework: _Optional[_Union[Library, _Mapping]] = ..., dependencies: _Optional[_Iterable[_Union[Library, _Mapping]]] = ..., params: _Optional[_Iterable[_Union[Param, _Mapping]]] = ..., metrics: _Optional[_Iterable[_Union[Metric, _Mapping]]] = ..., training_start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., training_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., hardware: _Optional[_Union[Hardware, _Mapping]] = ..., inputs: _Optional[_Iterable[_Union[Input, _Mapping]]] = ..., source: _Optional[_Union[Source, _Mapping]] = ..., parents: _Optional[_Iterable[_Union[Parent, _Mapping]]] = ..., run: _Optional[_Union[Run, _Mapping]] = ..., input_schema: _Optional[_Iterable[_Union[Column, _Mapping]]] = ..., output_schema: _Optional[_Iterable[_Union[Column, _Mapping]]] = ..., serving: _Optional[_Union[Serving, _Mapping]] = ..., runtime: _Optional[_Union[Library, _Mapping]] = ...) -> None: ...

class ExternalFile(_message.Message):
    __slots__ = ("path", "uri", "digest", "size_bytes")
    PATH_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    path: str
    uri: str
    digest: str
    size_bytes: int
    def __init__(self, path: _Optional[str] = ..., uri: _Optional[str] = ..., digest: _Optional[str] = ..., size_bytes: _Optional[int] = ...) -> None: ...

class Library(_message.Message):
    __slots__ = ("name", "version")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class Param(_message.Message):
    __slots__ = ("name", "string_value", "int_value", "double_value", "bool_value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STRING_VALUE_FIELD_NUMBER: _ClassVar[int]
    INT_VALUE_FIELD_NUMBER: _ClassVar[int]
    DOUBLE_VALUE_FIELD_NUMBER: _ClassVar[int]
    BOOL_VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    string_value: str
    int_value: int
    double_value: float
    bool_value: bool
    def __init__(self, name: _Optional[str] = ..., string_value: _Optional[str] = ..., int_value: _Optional[int] = ..., double_value: _Optional[float] = ..., bool_value: bool = ...) -> None: ...

class Metric(_message.Message):
    __slots__ = ("name", "value", "dataset", "slice", "step", "time")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    SLICE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: float
    dataset: str
    slice: str
    step: int
    time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., value: _Optional[float] = ..., dataset: _Optional[str] = ..., slice: _Optional[str] = ..., step: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Hardware(_message.Message):
    __slots__ = ("cpu", "cpu_count", "accelerator", "accelerator_count", "memory_bytes", "node_count")
    CPU_FIELD_NUMBER: _ClassVar[int]
    CPU_COUNT_FIELD_NUMBER: _ClassVar[int]
    ACCELERATOR_FIELD_NUMBER: _ClassVar[int]
    ACCELERATOR_COUNT_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    NODE_COUNT_FIELD_NUMBER: _ClassVar[int]
    cpu: str
    cpu_count: int
    accelerator: str
    accelerator_count: int
    memory_bytes: int
    node_count: int
    def __init__(self, cpu: _Optional[str] = ..., cpu_count: _Optional[int] = ..., accelerator: _Optional[str] = ..., accelerator_count: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., node_count: _Optional[int] = ...) -> None: ...

class Input(_message.Message):
    __slots__ = ("kind", "name", "version", "digest", "uri")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    kind: InputKind
    name: str
    version: str
    digest: str
    uri: str
    def __init__(self, kind: _Optional[_Union[InputKind, str]] = ..., name: _Optional[str] = ..., version: _Optional[str] = ..., digest: _Optional[str] = ..., uri: _Optional[str] = ...) -> None: ...

class Source(_message.Message):
    __slots__ = ("repository", "commit", "branch", "dirty")
    REPOSITORY_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    BRANCH_FIELD_NUMBER: _ClassVar[int]
    DIRTY_FIELD_NUMBER: _ClassVar[int]
    repository: str
    commit: str
    branch: str
    dirty: bool
    def __init__(self, repository: _Optional[str] = ..., commit: _Optional[str] = ..., branch: _Optional[str] = ..., dirty: bool = ...) -> None: ...

class Parent(_message.Message):
    __slots__ = ("reference", "uri", "relation", "model_uid", "number")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    RELATION_FIELD_NUMBER: _ClassVar[int]
    MODEL_UID_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    reference: str
    uri: str
    relation: str
    model_uid: str
    number: int
    def __init__(self, reference: _Optional[str] = ..., uri: _Optional[str] = ..., relation: _Optional[str] = ..., model_uid: _Optional[str] = ..., number: _Optional[int] = ...) -> None: ...

class Run(_message.Message):
    __slots__ = ("system", "id", "uri")
    SYSTEM_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    system: str
    id: str
    uri: str
    def __init__(self, system: _Optional[str] = ..., id: _Optional[str] = ..., uri: _Optional[str] = ...) -> None: ...

class Column(_message.Message):
    __slots__ = ("name", "type", "shape", "optional")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    OPTIONAL_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    optional: bool
    def __init__(self, name: _Optional[str] = ..., type: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., optional: bool = ...) -> None: ...

class Serving(_message.Message):
    __slots__ = ("image", "request_content_types", "response_content_types")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_CONTENT_TYPES_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_CONTENT_TYPES_FIELD_NUMBER: _ClassVar[int]
    image: str
    request_content_types: _containers.RepeatedScalarFieldContainer[str]
    response_content_types: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, image: _Optional[str] = ..., request_content_types: _Optional[_Iterable[str]] = ..., response_content_types: _Optional[_Iterable[str]] = ...) -> None: ...
