from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Target(_message.Message):
    __slots__ = ("model", "model_uid", "number", "version", "digest", "record_digest", "file_count", "size_bytes", "stage", "servable", "warnings")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_UID_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    RECORD_DIGEST_FIELD_NUMBER: _ClassVar[int]
    FILE_COUNT_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    SERVABLE_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    model: str
    model_uid: str
    number: int
    version: str
    digest: str
    record_digest: str
    file_count: int
    size_bytes: int
    stage: str
    servable: bool
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, model: _Optional[str] = ..., model_uid: _Optional[str] = ..., number: _Optional[int] = ..., version: _Optional[str] = ..., digest: _Optional[str] = ..., record_digest: _Optional[str] = ..., file_count: _Optional[int] = ..., size_bytes: _Optional[int] = ..., stage: _Optional[str] = ..., servable: bool = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class ResolveVersionRequest(_message.Message):
    __slots__ = ("reference", "for_serving", "at_least")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    FOR_SERVING_FIELD_NUMBER: _ClassVar[int]
    AT_LEAST_FIELD_NUMBER: _ClassVar[int]
    reference: str
    for_serving: bool
    at_least: str
    def __init__(self, reference: _Optional[str] = ..., for_serving: bool = ..., at_least: _Optional[str] = ...) -> None: ...

class ResolveVersionResponse(_message.Message):
    __slots__ = ("target", "position")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    target: Target
    position: str
    def __init__(self, target: _Optional[_Union[Target, _Mapping]] = ..., position: _Optional[str] = ...) -> None: ...
