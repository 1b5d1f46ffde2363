"""Blobs are verified whole, also those that several writers have written."""

import os
from pathlib import Path

import pytest
from podium_server.blob_writer import BlobWriter
from podium_server.blobs import open_store
from podium_server.blobs.base import BlobStore, Durable
from podium_server.blobs.errors import NoSuchBlob
from podium_server.checksums import Checksums
from podium_server.errors import ContentMismatch, OffsetMismatch
from streams import MIB, digest_of

NOTHING = Durable(0, "")


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return open_store(f"file://{tmp_path}/blobs")


def begun(store, data, left, offset):
    writer = BlobWriter(store, digest_of(data), len(data), left)
    writer.open(offset)
    while writer.reread():
        pass
    return writer


@pytest.mark.parametrize(("size", "split"), [(2 * MIB, 0), (2 * MIB, 1), (2 * MIB, MIB), (2 * MIB, 2 * MIB), (66 * MIB, 65 * MIB)])
def test_a_resumed_blob_is_verified_whole(store, size, split):
    data = os.urandom(MIB) * (size // MIB)
    first = begun(store, data, NOTHING, 0)
    first.write([memoryview(data[:split])])
    first.close()
    assert first.durable.offset == split
    second = begun(store, data, first.durable, split)
    second.write([memoryview(data[split:])])
    assert second.finish(len(data)) == len(data)
    expected = Checksums()
    expected.update(data)
    assert (second.checksums.digest, second.checksums.crc32c) == (expected.digest, expected.crc32c)
    second.discard()
    assert store.size(digest_of(data)) == len(data)


@pytest.mark.parametrize("wrong", ["before", "after"])
def test_wrong_bytes_never_stay(store, wrong):
    data = os.urandom(2 * MIB)
    first = begun(store, data, NOTHING, 0)
    first.write([memoryview(bytes(MIB) if wrong == "before" else data[:MIB])])
    first.close()
    second = begun(store, data, first.durable, MIB)
    second.write([memoryview(bytes(MIB) if wrong == "after" else data[MIB:])])
    with pytest.raises(ContentMismatch) as mismatch:
        second.finish(len(data))
    assert mismatch.value.metadata["expected"] == digest_of(data)
    second.discard()
    with pytest.raises(NoSuchBlob):
        store.size(digest_of(data))


def test_at_0_what_was_left_is_thrown_away(store):
    data = os.urandom(2 * MIB)
    first = begun(store, data, NOTHING, 0)
    first.write([memoryview(b"something else")])
    first.close()
    second = begun(store, data, first.durable, 0)
    second.write([memoryview(data)])
    second.finish(len(data))
    second.discard()
    assert store.size(digest_of(data)) == len(data)


def test_where_the_store_lost_what_was_left_the_offset_is_0(store):
    data = os.urandom(20)
    first = begun(store, data, NOTHING, 0)
    first.write([memoryview(data[:10])])
    first.close()
    store.begin(digest_of(data), 20, first.durable.resume).discard()
    second = BlobWriter(store, digest_of(data), 20, first.durable)
    with pytest.raises(OffsetMismatch) as mismatch:
        second.open(10)
    assert mismatch.value.metadata == {"expected_offset": "0"}
    second.close()
    assert second.durable.offset == 0
