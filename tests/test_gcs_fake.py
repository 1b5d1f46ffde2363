"""The strict fake holds to Cloud Storage's documented protocol: by the bare library, and request by request."""

import io
import os

import pytest
import requests
from gcs_servers import BUCKET
from google.api_core import exceptions
from google.cloud import storage
from streams import MIB

STEP = 256 << 10


@pytest.fixture
def bucket(gcs, monkeypatch):
    for name, value in gcs.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    return storage.Client(project=None).bucket(BUCKET)


@pytest.fixture
def put(bucket):
    """`put("bytes 0-9/*", b"…")`: sends to a session; the status, and the Range that the answer has."""
    uri = bucket.blob("a/b").create_resumable_upload_session(checksum=None, retry=None)

    def put(content_range, data=b"", method="PUT", **headers):
        headers = {"Content-Range": content_range, **{name.replace("_", "-"): value for name, value in headers.items()}}
        answer = requests.request(method, uri, data=data, headers=headers, timeout=30)
        return answer.status_code, answer.headers.get("Range")

    return put


def test_the_library_finds_what_it_expects(bucket):
    data = os.urandom(3 * MIB + 5)
    blob = bucket.blob("a/b c%", chunk_size=MIB)
    blob.upload_from_file(io.BytesIO(data), checksum="crc32c", if_generation_match=0, retry=None)
    assert blob.size == len(data)
    other = bucket.blob("a/b c%")
    assert other.download_as_bytes(checksum="crc32c", retry=None) == data
    assert other.download_as_bytes(start=5, end=9, retry=None) == data[5:10]
    small = bucket.blob("small")
    small.upload_from_string(b"s", retry=None)
    joined = bucket.blob("joined")
    joined.compose([blob, small, blob], if_generation_match=0, retry=None)
    assert joined.download_as_bytes(checksum="crc32c", retry=None) == data + b"s" + data
    assert [one.name for one in bucket.list_blobs(page_size=2)] == ["a/b c%", "joined", "small"]
    assert [one.name for one in bucket.list_blobs(prefix="a/")] == ["a/b c%"]
    small.delete(retry=None)
    assert bucket.get_blob("small") is None


def test_conditions_are_kept(gcs, bucket):
    blob = bucket.blob("x")
    blob.upload_from_string(b"1", if_generation_match=0, retry=None)
    for ask in (
        lambda: blob.upload_from_string(b"2", if_generation_match=0, retry=None),
        lambda: blob.create_resumable_upload_session(if_generation_match=0, retry=None),
        lambda: blob.compose([blob], if_generation_match=5, retry=None),
        lambda: blob.delete(if_generation_match=5, retry=None),
    ):
        with pytest.raises(exceptions.PreconditionFailed):
            ask()
    with pytest.raises(exceptions.NotFound):
        blob.compose([bucket.blob("y")], retry=None)
    gcs.order(method="POST", damage=True)
    with pytest.raises(exceptions.BadRequest):
        bucket.blob("y").upload_from_string(os.urandom(MIB), checksum="crc32c", retry=None)
    assert bucket.get_blob("y") is None
    assert blob.download_as_bytes(retry=None) == b"1"


def test_a_session_persists_in_steps_and_says_so(put, bucket):
    data = os.urandom(2 * STEP + 7)
    assert put("bytes */*") == (308, None)
    assert put(f"bytes 0-{STEP}/*", data[: STEP + 1])[0] == 400, "no multiple of the step"
    assert put(f"bytes {STEP}-{2 * STEP - 1}/*", data[:STEP])[0] == 400, "a gap"
    assert put(f"bytes 0-{STEP - 1}/*", data[:STEP]) == (308, f"bytes=0-{STEP - 1}")
    assert put(f"bytes 0-{2 * STEP - 1}/*", b"!" * STEP + data[STEP : 2 * STEP]) == (308, f"bytes=0-{2 * STEP - 1}")
    last = f"bytes {2 * STEP}-{2 * STEP + 6}/{len(data)}"
    assert put(last, data[2 * STEP :], X_Goog_Hash="crc32c=AAAAAA==")[0] == 400
    assert put("bytes */*") == (308, f"bytes=0-{2 * STEP - 1}")
    assert put(last, data[2 * STEP :]) == (200, None)
    assert put("bytes */*") == put(f"bytes 0-{STEP - 1}/*", b"!" * STEP) == (200, None), "it is what it is"
    assert bucket.blob("a/b").download_as_bytes(checksum="crc32c") == data


def test_a_session_ends_where_it_is_told_to(put, bucket):
    assert put(f"bytes 0-{STEP - 1}/*", bytes(STEP))[0] == 308
    assert put(f"bytes */{2 * STEP}") == (308, f"bytes=0-{STEP - 1}"), "not all of that is here"
    assert put(f"bytes */{STEP}") == (200, None)
    assert bucket.get_blob("a/b").size == STEP
    assert put("", method="DELETE")[0] == 499
    assert bucket.get_blob("a/b").size == STEP


def test_a_cancelled_session_is_gone(put):
    assert put("", method="DELETE")[0] == 499
    assert put("bytes */*")[0] == put("", method="DELETE")[0] == 410
