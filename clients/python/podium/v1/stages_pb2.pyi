from podium.v1 import versions_pb2 as _versions_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Lifecycle(_message.Message):
    __slots__ = ("name", "stages", "transitions", "initial_stage", "archive_stage")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    TRANSITIONS_FIELD_NUMBER: _ClassVar[int]
    INITIAL_STAGE_FIELD_NUMBER: _ClassVar[int]
    ARCHIVE_STAGE_FIELD_NUMBER: _ClassVar[int]
    name: str
    stages: _containers.RepeatedCompositeFieldContainer[Stage]
    transitions: _containers.RepeatedCompositeFieldContainer[Transition]
    initial_stage: str
    archive_stage: str
    def __init__(self, name: _Optional[str] = ..., stages: _Optional[_Iterable[_Union[Stage, _Mapping]]] = ..., transitions: _Optional[_Iterable[_Union[Transition, _Mapping]]] = ..., initial_stage: _Optional[str] = ..., archive_stage: _Optional[str] = ...) -> None: ...

class Stage(_message.Message):
    __slots__ = ("name", "servable", "warning")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SERVABLE_FIELD_NUMBER: _ClassVar[int]
    WARNING_FIELD_NUMBER: _ClassVar[int]
    name: str
    servable: bool
    warning: str
    def __init__(self, name: _Optional[str] = ..., servable: bool = ..., warning: _Optional[str] = ...) -> None: ...

class Transition(_message.Message):
    __slots__ = ("from_stage", "to_stage", "rollback_only")
    FROM_STAGE_FIELD_NUMBER: _ClassVar[int]
    TO_STAGE_FIELD_NUMBER: _ClassVar[int]
    ROLLBACK_ONLY_FIELD_NUMBER: _ClassVar[int]
    from_stage: str
    to_stage: str
    rollback_only: bool
    def __init__(self, from_stage: _Optional[str] = ..., to_stage: _Optional[str] = ..., rollback_only: bool = ...) -> None: ...

class TransitionStageRequest(_message.Message):
    __slots__ = ("reference", "stage", "reason", "expected_stage", "archive_existing", "rollback", "request_id")
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_STAGE_FIELD_NUMBER: _ClassVar[int]
    ARCHIVE_EXISTING_FIELD_NUMBER: _ClassVar[int]
    ROLLBACK_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    reference: str
    stage: str
    reason: str
    expected_stage: str
    archive_existing: bool
    rollback: bool
    request_id: str
    def __init__(self, reference: _Optional[str] = ..., stage: _Optional[str] = ..., reason: _Optional[str] = ..., expected_stage: _Optional[str] = ..., archive_existing: bool = ..., rollback: bool = ..., request_id: _Optional[str] = ...) -> None: ...

class TransitionStageResponse(_message.Message):
    __slots__ = ("version", "archived_numbers", "position")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ARCHIVED_NUMBERS_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    version: _versions_pb2.Version
    archived_numbers: _containers.RepeatedScalarFieldContainer[int]
    position: str
    def __init__(self, version: _Optional[_Union[_versions_pb2.Version, _Mapping]] = ..., archived_numbers: _Optional[_Iterable[int]] = ..., position: _Optional[str] = ...) -> None: ...
