import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from podium.v1 import events_pb2 as _events_pb2
from podium.v1 import resolve_pb2 as _resolve_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WatchFilter(_message.Message):
    __slots__ = ("model", "name", "kinds")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    KINDS_FIELD_NUMBER: _ClassVar[int]
    model: str
    name: str
    kinds: _containers.RepeatedScalarFieldContainer[_events_pb2.EventKind]
    def __init__(self, model: _Optional[str] = ..., name: _Optional[str] = ..., kinds: _Optional[_Iterable[_Union[_events_pb2.EventKind, str]]] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("filters", "position", "for_serving", "at_least")
    FILTERS_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    FOR_SERVING_FIELD_NUMBER: _ClassVar[int]
    AT_LEAST_FIELD_NUMBER: _ClassVar[int]
    filters: _containers.RepeatedCompositeFieldContainer[WatchFilter]
    position: str
    for_serving: bool
    at_least: str
    def __init__(self, filters: _Optional[_Iterable[_Union[WatchFilter, _Mapping]]] = ..., position: _Optional[str] = ..., for_serving: bool = ..., at_least: _Optional[str] = ...) -> None: ...

class WatchResponse(_message.Message):
    __slots__ = ("heartbeat_interval", "snapshot", "references", "events", "position")
    HEARTBEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    REFERENCES_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    heartbeat_interval: _duration_pb2.Duration
    snapshot: bool
    references: _containers.RepeatedCompositeFieldContainer[Reference]
    events: _containers.RepeatedCompositeFieldContainer[_events_pb2.Event]
    position: str
    def __init__(self, heartbeat_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., snapshot: bool = ..., references: _Optional[_Iterable[_Union[Reference, _Mapping]]] = ..., events: _Optional[_Iterable[_Union[_events_pb2.Event, _Mapping]]] = ..., position: _Optional[str] = ...) -> None: ...

class Reference(_message.Message):
    __slots__ = ("target", "absence", "warnings", "kind", "model", "model_uid", "name")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    ABSENCE_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_UID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    target: _resolve_pb2.Target
    absence: _events_pb2.Absence
    warnings: _containers.RepeatedScalarFieldContainer[str]
    kind: _events_pb2.EventKind
    model: str
    model_uid: str
    name: str
    def __init__(self, target: _Optional[_Union[_resolve_pb2.Target, _Mapping]] = ..., absence: _Optional[_Union[_events_pb2.Absence, str]] = ..., warnings: _Optional[_Iterable[str]] = ..., kind: _Optional[_Union[_events_pb2.EventKind, str]] = ..., model: _Optional[str] = ..., model_uid: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...
