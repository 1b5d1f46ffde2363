"""What a request may hold: the limits that GetServerInfo tells, and the small checks that several nouns share."""

import re
from collections.abc import Mapping, Sized

from podium.v1.server_pb2 import Limits

from podium_server.errors import InvalidArgument, shown
from podium_server.names import MAX_ALIAS_BYTES, MAX_MODEL_NAME_BYTES, MAX_VERSION_BYTES

KIB, MIB, GIB = 1024, 1024**2, 1024**3

MAX_MESSAGE_BYTES = 4 * MIB
MAX_CHUNK_BYTES = 2 * MIB
MAX_BLOB_BYTES = 512 * GIB  # its row has a CRC32C of every MiB: 2 MiB of them
MAX_FIND_BLOBS = 10_000
MAX_SIGN_DOWNLOADS = 100  # so many in one message, and each may be a question to another server

MAX_FILES = 10_000
MAX_PATH_BYTES = 1_024
MAX_PATHS_BYTES = 2 * MIB

MAX_RECORD_BYTES = MIB
MAX_RECORD_ITEMS = 1_000
MAX_RECORD_LINKS = 100
MAX_DIMENSIONS = 64
MAX_CONTENT_TYPES = 32
MAX_STRING_BYTES = 1_024
MAX_ITEM_NAME_BYTES = 250
MAX_PARAM_BYTES = 8_192
MAX_URI_BYTES = 2_048
MAX_INPUT_DIGEST_BYTES = 256

MAX_DESCRIPTION_BYTES = 64 * KIB
MAX_NOTE_BYTES = 8_192
MAX_REASON_BYTES = 4_096
MAX_LABELS = 100
MAX_LABEL_KEY_BYTES = 250
MAX_LABEL_VALUE_BYTES = 4_096
MAX_ALIASES = 1_000
MAX_REGISTERED_ALIASES = 100
MAX_ARCHIVED = 1_000
MAX_REQUEST_ID_BYTES = 128
MAX_ACTOR_BYTES = 256
MAX_TRANSFERS = 256
MAX_WATCH_FILTERS = 1_000
MAX_WATCHES = 10_000

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1_000

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# A user's name alone is a credential over HTTP (that is where tokens go) and none elsewhere (ssh://git@, abfss://container@).
_CREDENTIALS = re.compile(r"https?://[^/?#]*@|://[^/?#:]*:[^/?#@]*@", re.IGNORECASE)


def limits() -> Limits:
    """The limits as GetServerInfo returns them."""
    return Limits(
        max_message_bytes=MAX_MESSAGE_BYTES,
        max_chunk_bytes=MAX_CHUNK_BYTES,
        max_blob_bytes=MAX_BLOB_BYTES,
        max_files=MAX_FILES,
        max_path_bytes=MAX_PATH_BYTES,
        max_paths_bytes=MAX_PATHS_BYTES,
        max_record_bytes=MAX_RECORD_BYTES,
        max_model_name_bytes=MAX_MODEL_NAME_BYTES,
        max_alias_bytes=MAX_ALIAS_BYTES,
        max_description_bytes=MAX_DESCRIPTION_BYTES,
        max_note_bytes=MAX_NOTE_BYTES,
        max_reason_bytes=MAX_REASON_BYTES,
        max_labels=MAX_LABELS,
        max_label_key_bytes=MAX_LABEL_KEY_BYTES,
        max_label_value_bytes=MAX_LABEL_VALUE_BYTES,
        max_record_items=MAX_RECORD_ITEMS,
        max_record_links=MAX_RECORD_LINKS,
        max_aliases=MAX_ALIASES,
        max_page_size=MAX_PAGE_SIZE,
        max_find_blobs=MAX_FIND_BLOBS,
        max_version_bytes=MAX_VERSION_BYTES,
        max_string_bytes=MAX_STRING_BYTES,
        max_item_name_bytes=MAX_ITEM_NAME_BYTES,
        max_uri_bytes=MAX_URI_BYTES,
        max_param_bytes=MAX_PARAM_BYTES,
        max_input_digest_bytes=MAX_INPUT_DIGEST_BYTES,
        max_dimensions=MAX_DIMENSIONS,
        max_content_types=MAX_CONTENT_TYPES,
        max_registered_aliases=MAX_REGISTERED_ALIASES,
        max_archived=MAX_ARCHIVED,
        max_request_id_bytes=MAX_REQUEST_ID_BYTES,
        max_actor_bytes=MAX_ACTOR_BYTES,
        max_transfers=MAX_TRANSFERS,
        max_watch_filters=MAX_WATCH_FILTERS,
        max_watches=MAX_WATCHES,
        max_sign_downloads=MAX_SIGN_DOWNLOADS,
    )


def byte_length(text: str) -> int:
    """The length in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def is_line(text: str) -> bool:
    """Whether the text has no control character (C0, DEL, C1) and no line or paragraph separator.

    Deliberately no more than that: what else is printable differs between versions of Unicode and so between servers.
    """
    return text.isprintable() or not _CONTROL.search(text)


def check_size(text: str, field: str, max_bytes: int) -> None:
    """The text is at most so many bytes of UTF-8."""
    if (size := byte_length(text)) > max_bytes:
        raise InvalidArgument(f"{field} has {size} bytes: at most {max_bytes}", field=field)


def check_count(items: Sized, field: str, most: int) -> None:
    """There are at most so many items."""
    if len(items) > most:
        raise InvalidArgument(f"{field} has {len(items)} items: at most {most}", field=field)


def check_text(text: str, field: str, max_bytes: int) -> None:
    """Free text: any lines, but no NUL, which PostgreSQL cannot keep."""
    check_size(text, field, max_bytes)
    if "\0" in text:
        raise InvalidArgument(f"{field} has a NUL character", field=field)


def check_line(text: str, field: str, max_bytes: int = MAX_STRING_BYTES) -> None:
    """One line of text, or nothing."""
    check_size(text, field, max_bytes)
    if not is_line(text):
        raise InvalidArgument(f"{field} is {shown(text)}, which has a control character or line separator", field=field)


def check_name(text: str, field: str, max_bytes: int = MAX_STRING_BYTES) -> None:
    """One line of text that is not empty."""
    if not text:
        raise InvalidArgument(f"{field} is empty", field=field)
    check_line(text, field, max_bytes)


def check_uri(text: str, field: str) -> None:
    """A place, or nothing, in one line and without credentials: what is registered is kept and shown for good."""
    # First of all, and without quoting the text: errors are logged.
    if _CREDENTIALS.search(text):
        raise InvalidArgument(f"{field} has credentials before its '@': leave them out", field=field)
    check_line(text, field, MAX_URI_BYTES)


def check_label_key(key: str, field: str) -> None:
    """The key of one label."""
    check_name(key, field, MAX_LABEL_KEY_BYTES)


def check_label_value(value: str, field: str) -> None:
    """The value of one label."""
    check_text(value, field, MAX_LABEL_VALUE_BYTES)


def check_labels(labels: Mapping[str, str], field: str = "labels") -> None:
    """All labels of a model or version."""
    check_count(labels, field, MAX_LABELS)
    for key, value in labels.items():
        check_label_key(key, field)
        check_label_value(value, field)


def check_description(text: str, field: str = "description") -> None:
    """The description of a model or version."""
    check_text(text, field, MAX_DESCRIPTION_BYTES)


def check_note(text: str, field: str = "text") -> None:
    """The text of a note."""
    if not text:
        raise InvalidArgument(f"{field} is empty", field=field)
    check_text(text, field, MAX_NOTE_BYTES)


def check_reason(text: str, field: str = "reason") -> None:
    """Why something was done; may be empty."""
    check_text(text, field, MAX_REASON_BYTES)


def check_page_size(size: int, field: str = "page_size") -> int:
    """Returns how many items a page gets at most: the default for 0, no more than the most."""
    if size < 0:
        raise InvalidArgument(f"{field} is {size}: 0 or more", field=field)
    return min(size, MAX_PAGE_SIZE) or DEFAULT_PAGE_SIZE
