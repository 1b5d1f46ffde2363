import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from podium.v1 import models_pb2 as _models_pb2
from podium.v1 import resolve_pb2 as _resolve_pb2
from podium.v1 import versions_pb2 as _versions_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EventKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EVENT_KIND_UNSPECIFIED: _ClassVar[EventKind]
    EVENT_KIND_ALIAS: _ClassVar[EventKind]
    EVENT_KIND_STAGE: _ClassVar[EventKind]
    EVENT_KIND_LATEST: _ClassVar[EventKind]
    EVENT_KIND_MODEL_CREATED: _ClassVar[EventKind]
    EVENT_KIND_MODEL_UPDATED: _ClassVar[EventKind]
    EVENT_KIND_VERSION_REGISTERED: _ClassVar[EventKind]
    EVENT_KIND_VERSION_UPDATED: _ClassVar[EventKind]
    EVENT_KIND_VERSION_TRANSITIONED: _ClassVar[EventKind]
    EVENT_KIND_NOTE_ADDED: _ClassVar[EventKind]

class Absence(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ABSENCE_UNSPECIFIED: _ClassVar[Absence]
    ABSENCE_GONE: _ClassVar[Absence]
    ABSENCE_UNSERVABLE: _ClassVar[Absence]
EVENT_KIND_UNSPECIFIED: EventKind
EVENT_KIND_ALIAS: EventKind
EVENT_KIND_STAGE: EventKind
EVENT_KIND_LATEST: EventKind
EVENT_KIND_MODEL_CREATED: EventKind
EVENT_KIND_MODEL_UPDATED: EventKind
EVENT_KIND_VERSION_REGISTERED: EventKind
EVENT_KIND_VERSION_UPDATED: EventKind
EVENT_KIND_VERSION_TRANSITIONED: EventKind
EVENT_KIND_NOTE_ADDED: EventKind
ABSENCE_UNSPECIFIED: Absence
ABSENCE_GONE: Absence
ABSENCE_UNSERVABLE: Absence

class Event(_message.Message):
    __slots__ = ("revision", "ordinal", "position", "time", "kind", "model", "model_uid", "name", "actor", "peer", "request_id", "reason", "text", "rollback", "before", "after", "absence", "warnings")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    ORDINAL_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_UID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    ROLLBACK_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    ABSENCE_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    revision: int
    ordinal: int
    position: str
    time: _timestamp_pb2.Timestamp
    kind: EventKind
    model: str
    model_uid: str
    name: str
    actor: str
    peer: str
    request_id: str
    reason: str
    text: str
    rollback: bool
    before: EventState
    after: EventState
    absence: Absence
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, revision: _Optional[int] = ..., ordinal: _Optional[int] = ..., position: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., kind: _Optional[_Union[EventKind, str]] = ..., model: _Optional[str] = ..., model_uid: _Optional[str] = ..., name: _Optional[str] = ..., actor: _Optional[str] = ..., peer: _Optional[str] = ..., request_id: _Optional[str] = ..., reason: _Optional[str] = ..., text: _Optional[str] = ..., rollback: bool = ..., before: _Optional[_Union[EventState, _Mapping]] = ..., after: _Optional[_Union[EventState, _Mapping]] = ..., absence: _Optional[_Union[Absence, str]] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class EventState(_message.Message):
    __slots__ = ("target", "model", "version")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    target: _resolve_pb2.Target
    model: _models_pb2.Model
    version: _versions_pb2.Version
    def __init__(self, target: _Optional[_Union[_resolve_pb2.Target, _Mapping]] = ..., model: _Optional[_Union[_models_pb2.Model, _Mapping]] = ..., version: _Optional[_Union[_versions_pb2.Version, _Mapping]] = ...) -> None: ...

class EventFilter(_message.Message):
    __slots__ = ("model", "kinds", "name", "after")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    KINDS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    model: str
    kinds: _containers.RepeatedScalarFieldContainer[EventKind]
    name: str
    after: str
    def __init__(self, model: _Optional[str] = ..., kinds: _Optional[_Iterable[_Union[EventKind, str]]] = ..., name: _Optional[str] = ..., after: _Optional[str] = ...) -> None: ...

class ListEventsRequest(_message.Message):
    __slots__ = ("filter", "newest_first", "page_size", "page_token", "at_least")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    NEWEST_FIRST_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    AT_LEAST_FIELD_NUMBER: _ClassVar[int]
    filter: EventFilter
    newest_first: bool
    page_size: int
    page_token: str
    at_least: str
    def __init__(self, filter: _Optional[_Union[EventFilter, _Mapping]] = ..., newest_first: bool = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., at_least: _Optional[str] = ...) -> None: ...

class ListEventsResponse(_message.Message):
    __slots__ = ("events", "next_page_token")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    next_page_token: str
    def __init__(self, events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...
