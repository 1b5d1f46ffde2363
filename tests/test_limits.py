"""The limits that GetServerInfo tells, and the checks that several nouns share."""

import pytest
from podium.v1.server_pb2 import Limits
from podium_server.errors import shown
from podium_server.limits import (
    MAX_ALIASES,
    MAX_BLOB_BYTES,
    MAX_DESCRIPTION_BYTES,
    MAX_LABEL_KEY_BYTES,
    MAX_LABEL_VALUE_BYTES,
    MAX_LABELS,
    MAX_NOTE_BYTES,
    MAX_REASON_BYTES,
    MAX_URI_BYTES,
    check_count,
    check_description,
    check_labels,
    check_line,
    check_name,
    check_note,
    check_page_size,
    check_reason,
    check_text,
    check_uri,
    limits,
)
from refusals import refused_field

CONTROL = [chr(code) for code in [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029]]
NO_CONTROL = [" ", "~", "\u00a0", "é", "模型", "👩‍🚀", "می‌خواهم", "\U0001fae9", "\ue000", "\u202e"]


def test_every_limit_is_told():
    told = limits()
    assert told == Limits(
        max_message_bytes=4 * 1024**2,
        max_chunk_bytes=2 * 1024**2,
        max_blob_bytes=MAX_BLOB_BYTES,
        max_files=10_000,
        max_path_bytes=1_024,
        max_paths_bytes=2 * 1024**2,
        max_record_bytes=1024**2,
        max_model_name_bytes=256,
        max_alias_bytes=128,
        max_description_bytes=65_536,
        max_note_bytes=8_192,
        max_reason_bytes=4_096,
        max_labels=100,
        max_label_key_bytes=250,
        max_label_value_bytes=4_096,
        max_record_items=1_000,
        max_record_links=100,
        max_aliases=MAX_ALIASES,
        max_page_size=1_000,
        max_find_blobs=10_000,
        max_version_bytes=320,
        max_string_bytes=1_024,
        max_item_name_bytes=250,
        max_uri_bytes=2_048,
        max_param_bytes=8_192,
        max_input_digest_bytes=256,
        max_dimensions=64,
        max_content_types=32,
        max_registered_aliases=100,
        max_archived=1_000,
        max_request_id_bytes=128,
        max_actor_bytes=256,
        max_transfers=256,
        max_watch_filters=1_000,
        max_watches=10_000,
        max_sign_downloads=100,
    )
    assert len(told.ListFields()) == len(Limits.DESCRIPTOR.fields)


@pytest.mark.parametrize(
    ("check", "most"),
    [(check_description, MAX_DESCRIPTION_BYTES), (check_note, MAX_NOTE_BYTES), (check_reason, MAX_REASON_BYTES)],
)
def test_free_text_is_limited_in_bytes_and_has_no_nul(check, most):
    for text in ("x" * most, "é" * (most // 2), "two\nlines\tand \x1b", *NO_CONTROL):
        check(text, "text")
    for text in ("x" * (most + 1), "é" * (most // 2) + "x", "a\0b"):
        assert refused_field(check, text, "text") == "text"


def test_a_note_says_something_and_the_others_may_be_empty():
    assert refused_field(check_note, "", "text") == "text"
    check_reason("")
    check_description("")


@pytest.mark.parametrize("character", CONTROL)
def test_a_line_has_no_control_character(character):
    for text in (character, f"a{character}", f"é{character}b"):
        assert refused_field(check_line, text, "name") == "name"


@pytest.mark.parametrize("text", ["", *NO_CONTROL])
def test_a_line_has_everything_else(text):
    check_line(text, "name")


def test_a_line_is_limited_in_bytes():
    check_line("é" * 5, "name", 10)
    check_line("x" * 1_024, "name")
    assert refused_field(check_line, "é" * 5 + "x", "name", 10) == "name"
    assert refused_field(check_line, "x" * 1_025, "name") == "name"


def test_a_name_is_a_line_that_is_not_empty():
    check_name("x", "name")
    assert refused_field(check_name, "", "name") == "name"
    assert refused_field(check_name, "a\nb", "name") == "name"


def test_text_is_limited_before_it_is_read():
    assert refused_field(check_text, "\0" * 11, "text", 10) == "text"


@pytest.mark.parametrize(
    "uri",
    ["", "s3://bucket/key", "https://example.org/@ann/model?by=a@b", "https://example.org?x=a@b"]
    + ["git@github.com:ann/model.git", "ssh://git@example.org:22/a@b", "ssh://git@[::1]:22/x"]
    + ["abfss://box@account.dfs.core.windows.net/x", "/data/a@b", "hf://org/model@main", "mailto:ann@example.org"]
    + ["https://example.org:8080/x", "x" * MAX_URI_BYTES],
)
def test_uris(uri):
    check_uri(uri, "uri")


@pytest.mark.parametrize(
    "uri",
    ["https://ann:secret@example.org/x", "https://secret@example.org/x", "HTTPS://secret@example.org"]
    + ["http://:secret@h", "git+https://secret@example.org/x.git", "ssh://git:secret@example.org"]
    + ["s3://key:secret@bucket/x", "s3://:secret@b", "postgresql://ann:secret@db/x"]
    + [" https://ann:secret@example.org", "https://ann:secret@example.org\n"]
    + ["https://proxy.example.org/?to=https://ann:secret@example.org", "https://ann:se cret@example.org"],
)
def test_credentials_are_refused_and_not_repeated(uri):
    with pytest.raises(Exception, match="credentials") as refusal:
        check_uri(uri, "uri")
    assert "secret" not in str(refusal.value)
    assert "ann" not in str(refusal.value)


@pytest.mark.parametrize("uri", ["s3://a\nb", "s3://a\0", "x" * (MAX_URI_BYTES + 1), "é" * (MAX_URI_BYTES // 2) + "x"])
def test_what_is_no_uri(uri):
    assert refused_field(check_uri, uri, "uri") == "uri"


def test_as_many_labels_as_the_limit_says():
    labels = {f"key-{index}": "" for index in range(MAX_LABELS)}
    check_labels(labels)
    assert refused_field(check_labels, {**labels, "one-more": ""}) == "labels"


def test_far_too_many_labels_are_counted_and_not_read():
    class Unread(dict):
        def items(self):
            raise AssertionError

    assert refused_field(check_labels, Unread.fromkeys(range(100_000))) == "labels"


@pytest.mark.parametrize("key", ["k", "a.b/c d", "é" * (MAX_LABEL_KEY_BYTES // 2), "x" * MAX_LABEL_KEY_BYTES, *NO_CONTROL])
def test_label_keys(key):
    check_labels({key: "value"})


@pytest.mark.parametrize("key", ["", *CONTROL, "x" * (MAX_LABEL_KEY_BYTES + 1), "é" * (MAX_LABEL_KEY_BYTES // 2) + "x"])
def test_what_is_no_label_key(key):
    assert refused_field(check_labels, {"fine": "", key: "value"}, "model.labels") == "model.labels"


def test_label_values():
    check_labels({"a": "x" * MAX_LABEL_VALUE_BYTES, "b": "", "c": "two\nlines"})
    assert refused_field(check_labels, {"a": "x" * (MAX_LABEL_VALUE_BYTES + 1)}) == "labels"
    assert refused_field(check_labels, {"a": "\0"}) == "labels"


def test_a_text_is_shown_escaped_and_cut():
    assert shown("a\n\x1b") == r"'a\n\x1b'"
    assert shown("x" * 80) == f"'{'x' * 80}'"
    assert shown("x" * 81) == f"'{'x' * 77}...'"


def test_counts():
    check_count(range(10), "items", 10)
    assert refused_field(check_count, range(11), "items", 10) == "items"


@pytest.mark.parametrize(("asked", "given"), [(0, 100), (1, 1), (999, 999), (1_000, 1_000), (1_001, 1_000), (2**31 - 1, 1_000)])
def test_page_sizes(asked, given):
    assert check_page_size(asked) == given


@pytest.mark.parametrize("asked", [-1, -(2**31)])
def test_a_page_size_is_not_negative(asked):
    assert refused_field(check_page_size, asked) == "page_size"
