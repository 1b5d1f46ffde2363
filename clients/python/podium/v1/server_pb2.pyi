import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from podium.v1 import stages_pb2 as _stages_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetServerInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetServerInfoResponse(_message.Message):
    __slots__ = ("version", "registry_uid", "position", "time", "database", "blobs", "model_count", "version_count", "stored_bytes", "free_bytes", "limits", "lifecycles", "signs_downloads")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REGISTRY_UID_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    DATABASE_FIELD_NUMBER: _ClassVar[int]
    BLOBS_FIELD_NUMBER: _ClassVar[int]
    MODEL_COUNT_FIELD_NUMBER: _ClassVar[int]
    VERSION_COUNT_FIELD_NUMBER: _ClassVar[int]
    STORED_BYTES_FIELD_NUMBER: _ClassVar[int]
    FREE_BYTES_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    LIFECYCLES_FIELD_NUMBER: _ClassVar[int]
    SIGNS_DOWNLOADS_FIELD_NUMBER: _ClassVar[int]
    version: str
    registry_uid: str
    position: str
    time: _timestamp_pb2.Timestamp
    database: str
    blobs: str
    model_count: int
    version_count: int
    stored_bytes: int
    free_bytes: int
    limits: Limits
    lifecycles: _containers.RepeatedCompositeFieldContainer[_stages_pb2.Lifecycle]
    signs_downloads: bool
    def __init__(self, version: _Optional[str] = ..., registry_uid: _Optional[str] = ..., position: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., database: _Optional[str] = ..., blobs: _Optional[str] = ..., model_count: _Optional[int] = ..., version_count: _Optional[int] = ..., stored_bytes: _Optional[int] = ..., free_bytes: _Optional[int] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., lifecycles: _Optional[_Iterable[_Union[_stages_pb2.Lifecycle, _Mapping]]] = ..., signs_downloads: bool = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("max_message_bytes", "max_chunk_bytes", "max_blob_bytes", "max_files", "max_path_bytes", "max_paths_bytes", "max_record_bytes", "max_model_name_bytes", "max_alias_bytes", "max_description_bytes", "max_note_bytes", "max_reason_bytes", "max_labels", "max_label_key_bytes", "max_label_value_bytes", "max_record_items", "max_record_links", "max_aliases", "max_page_size", "max_find_blobs", "max_version_bytes", "max_string_bytes", "max_item_name_bytes", "max_uri_bytes", "max_param_bytes", "max_input_digest_bytes", "max_dimensions", "max_content_types", "max_registered_aliases", "max_archived", "max_request_id_bytes", "max_actor_bytes", "max_transfers", "max_watch_filters", "max_watches", "max_sign_downloads")
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_CHUNK_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_BLOB_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_FILES_FIELD_NUMBER: _ClassVar[int]
    MAX_PATH_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_PATHS_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_RECORD_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_MODEL_NAME_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_ALIAS_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_DESCRIPTION_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_NOTE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_REASON_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_LABELS_FIELD_NUMBER: _ClassVar[int]
    MAX_LABEL_KEY_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_LABEL_VALUE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_RECORD_ITEMS_FIELD_NUMBER: _ClassVar[int]
    MAX_RECORD_LINKS_FIELD_NUMBER: _ClassVar[int]
    MAX_ALIASES_FIELD_NUMBER: _ClassVar[int]
    MAX_PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    MAX_FIND_BLOBS_FIELD_NUMBER: _ClassVar[int]
    MAX_VERSION_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_STRING_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_ITEM_NAME_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_URI_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_PARAM_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_INPUT_DIGEST_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    MAX_CONTENT_TYPES_FIELD_NUMBER: _ClassVar[int]
    MAX_REGISTERED_ALIASES_FIELD_NUMBER: _ClassVar[int]
    MAX_ARCHIVED_FIELD_NUMBER: _ClassVar[int]
    MAX_REQUEST_ID_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_ACTOR_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_TRANSFERS_FIELD_NUMBER: _ClassVar[int]
    MAX_WATCH_FILTERS_FIELD_NUMBER: _ClassVar[int]
    MAX_WATCHES_FIELD_NUMBER: _ClassVar[int]
    MAX_SIGN_DOWNLOADS_FIELD_NUMBER: _ClassVar[int]
    max_message_bytes: int
    max_chunk_bytes: int
    max_blob_bytes: int
    max_files: int
    max_path_bytes: int
    max_paths_bytes: int
    max_record_bytes: int
    max_model_name_bytes: int
    max_alias_bytes: int
    max_description_bytes: int
    max_note_bytes: int
    max_reason_bytes: int
    max_labels: int
    max_label_key_bytes: int
    max_label_value_bytes: int
    max_record_items: int
    max_record_links: int
    max_aliases: int
    max_page_size: int
    max_find_blobs: int
    max_version_bytes: int
    max_string_bytes: int
    max_item_name_bytes: int
    max_uri_bytes: int
    max_param_bytes: int
    max_input_digest_bytes: int
    max_dimensions: int
    max_content_types: int
    max_registered_aliases: int
    max_archived: int
    max_request_id_bytes: int
    max_actor_bytes: int
    max_transfers: int
    max_watch_filters: int
    max_watches: int
    max_sign_downloads: int
    def __init__(self, max_message_bytes: _Optional[int] = ..., max_chunk_bytes: _Optional[int] = ..., max_blob_bytes: _Optional[int] = ..., max_files: _Optional[int] = ..., max_path_bytes: _Optional[int] = ..., max_paths_bytes: _Optional[int] = ..., max_record_bytes: _Optional[int] = ..., max_model_name_bytes: _Optional[int] = ..., max_alias_bytes: _Optional[int] = ..., max_description_bytes: _Optional[int] = ..., max_note_bytes: _Optional[int] = ..., max_reason_bytes: _Optional[int] = ..., max_labels: _Optional[int] = ..., max_label_key_bytes: _Optional[int] = ..., max_label_value_bytes: _Optional[int] = ..., max_record_items: _Optional[int] = ..., max_record_links: _Optional[int] = ..., max_aliases: _Optional[int] = ..., max_page_size: _Optional[int] = ..., max_find_blobs: _Optional[int] = ..., max_version_bytes: _Optional[int] = ..., max_string_bytes: _Optional[int] = ..., max_item_name_bytes: _Optional[int] = ..., max_uri_bytes: _Optional[int] = ..., max_param_bytes: _Optional[int] = ..., max_input_digest_bytes: _Optional[int] = ..., max_dimensions: _Optional[int] = ..., max_content_types: _Optional[int] = ..., max_registered_aliases: _Optional[int] = ..., max_archived: _Optional[int] = ..., max_request_id_bytes: _Optional[int] = ..., max_actor_bytes: _Optional[int] = ..., max_transfers: _Optional[int] = ..., max_watch_filters: _Optional[int] = ..., max_watches: _Optional[int] = ..., max_sign_downloads: _Optional[int] = ...) -> None: ...
