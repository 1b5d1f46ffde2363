"""The store in Cloud Storage when that fails: what it answers on order, and what it is asked. The strict fake alone can show this:

fake-gcs-server answers as it likes to a status query, forgets a session that was finished, ignores most generations, lets a wrong
CRC32C pass, and cannot be told to fail.
"""

import hashlib
import logging
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from gcs_servers import BUCKET
from podium_server.blobs import gcs_calls, gcs_reader, open_store
from podium_server.blobs.errors import NoSuchBlob, PartialLost, StoreUnavailable
from streams import MIB, digest_of, until

STEP = 256 << 10
FAILURES = [{"status": 429}, {"status": 503, "count": 3}, {"status": 500}, {"status": 408}, {"cut_request": 0}, {"cut_answer": 0}]
UPLOAD = f"/upload/storage/v1/b/{BUCKET}/o"


@pytest.fixture
def store(gcs, monkeypatch):
    for name, value in gcs.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(gcs_calls, "_BACKOFF", lambda _: 0.01)
    return open_store(f"gs://{BUCKET}/some/prefix")


def begun(store, data, sent, resume=""):
    partial = store.begin(digest_of(data), len(data), resume)
    assert list(partial.earlier()) == []
    partial.append(data[:sent])
    assert partial.sync().offset == sent // STEP * STEP
    return partial


def gone_on(store, data, durable):
    """The upload of another writer, with all that was persisted."""
    partial = store.begin(digest_of(data), len(data), durable.resume)
    assert b"".join(partial.earlier()) == data[: partial.durable.offset]
    return partial


def put(store, data):
    partial = begun(store, data, 0)
    partial.append(data)
    assert partial.finish() == len(data)
    partial.discard()
    return digest_of(data)


def put_by_session(store, data, sent=MIB):
    partial = begun(store, data, sent)
    partial.append(data[sent:])
    assert partial.finish() == len(data)
    partial.discard()
    return digest_of(data)


def get(store, digest, offset=0):
    reader = store.open(digest, offset)
    try:
        return b"".join(iter(lambda: reader.read(MIB), b""))
    finally:
        reader.close()


def name_of(digest):
    return f"some/prefix/sha256/{digest[7:9]}/{digest[7:]}"


def sent_bytes(gcs):
    return sum(count for *_, count in gcs.requests("PUT", UPLOAD))


def impatient(monkeypatch):
    monkeypatch.setattr(gcs_calls, "PATIENCE_SECONDS", 0)


# What is asked


def test_a_small_blob_is_one_request_and_one_to_read(store, gcs):
    before = len(gcs.requests())
    assert get(store, put(store, b"small")) == b"small"
    posted, read = gcs.requests()[before:]
    assert posted[:2] == ["POST", f"{UPLOAD}?uploadType=multipart&ifGenerationMatch=0"]
    assert read[0] == "GET"


def test_of_an_upload_only_the_blob_stays(store, gcs):
    data = os.urandom(9 * MIB + 3)
    digest = put_by_session(store, data, 2 * MIB)
    assert gcs.names() == [name_of(digest)]
    assert [request[2] for request in gcs.requests("PUT", UPLOAD)] == [308, 200]
    assert sent_bytes(gcs) == len(data)
    assert get(store, digest, 5 * MIB) == data[5 * MIB :]


def test_appending_alone_does_not_grow_without_bound(store, gcs):
    data = os.urandom(20 * MIB)
    partial = store.begin(digest_of(data), len(data))
    for start in range(0, len(data), MIB):
        partial.append(data[start : start + MIB])
    assert sent_bytes(gcs) == 16 * MIB
    partial.finish()
    partial.discard()
    assert get(store, digest_of(data)) == data


def test_of_many_writers_each_has_a_session_and_none_leaves_anything(store, gcs):
    data = os.urandom(6 * MIB + 1)
    durable = None
    for sent in range(5):
        partial = gone_on(store, data, durable) if durable else begun(store, data, 0)
        assert partial.durable.offset == sent * MIB
        partial.append(data[sent * MIB : (sent + 1) * MIB])
        durable = partial.sync()
        partial.close()
        assert len(gcs.names()) == min(sent, 1) + 2 * (sent > 1), (
            "what earlier writers left is one object, beside what it was made of"
        )
    partial = gone_on(store, data, durable)
    partial.append(data[5 * MIB :])
    partial.finish()
    partial.discard()
    assert gcs.names() == [name_of(digest_of(data))]
    assert sent_bytes(gcs) == len(data), "no byte was sent twice"
    assert gcs.requests("GET", f"/b/{BUCKET}?") == [], "the library asks for nothing by itself"
    assert get(store, digest_of(data)) == data


def test_what_is_superseded_stays_until_the_next_one_is_written_down(store, gcs):
    data = os.urandom(4 * MIB)
    first = begun(store, data, MIB)
    second = gone_on(store, data, first.durable)
    second.append(data[MIB : 2 * MIB])
    written_down = second.sync()
    third = gone_on(store, data, written_down)
    third.append(data[2 * MIB : 3 * MIB])
    third.sync()
    again = gone_on(store, data, written_down)
    assert again.durable.offset == 2 * MIB
    for partial in (first, second, third):
        partial.close()


def test_after_a_crash_nothing_that_was_persisted_is_sent_again(store, gcs):
    data = os.urandom(4 * MIB)
    partial = store.begin(digest_of(data), len(data))
    partial.append(data[:MIB])
    written_down = partial.sync()
    partial.append(data[MIB : 3 * MIB])
    partial.sync()
    second = gone_on(store, data, written_down)
    assert second.durable.offset == 3 * MIB
    second.append(data[3 * MIB :])
    second.finish()
    second.discard()
    assert sent_bytes(gcs) == len(data)
    assert get(store, digest_of(data)) == data


def test_a_session_that_was_taken_over_takes_no_more_bytes(store, gcs):
    data = os.urandom(3 * MIB)
    first = begun(store, data, MIB)
    second = gone_on(store, data, first.durable)
    first.append(b"!" * MIB)
    with pytest.raises(PartialLost):
        first.sync()
    for more in (first.sync, first.finish):
        with pytest.raises(PartialLost):
            more()
    first.discard()
    second.append(data[MIB:])
    second.finish()
    second.discard()
    assert get(store, digest_of(data)) == data
    assert gcs.names() == [name_of(digest_of(data))]


def test_a_writer_that_wakes_up_for_the_last_bytes_alone_does_not_finish(store):
    data = os.urandom(MIB + 5)
    first = begun(store, data, MIB)
    gone_on(store, data, first.durable).close()
    first.append(data[MIB:])
    with pytest.raises(PartialLost):
        first.finish()
    with pytest.raises(NoSuchBlob):
        store.size(digest_of(data))


def test_where_the_beginning_is_gone_the_rest_is_of_no_use(store, gcs):
    data = os.urandom(3 * MIB)
    first = begun(store, data, MIB)
    second = gone_on(store, data, first.durable)
    second.append(data[MIB : 2 * MIB])
    durable = second.sync()
    first_part = gcs.names()[0]
    gcs.ask("DELETE", f"/storage/v1/b/{BUCKET}/o/{first_part.replace('/', '%2F')}")
    third = store.begin(digest_of(data), len(data), durable.resume)
    assert third.durable == (0, "")
    third.append(data)
    third.finish()
    third.discard()
    assert gcs.names() == [name_of(digest_of(data))]


# What it answers


@pytest.mark.parametrize("failure", FAILURES, ids=str)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "uploadType=resumable"),
        ("PUT", "upload_id"),
        ("POST", "/compose"),
        ("DELETE", "/o/"),
        ("POST", "uploadType=multipart"),
        ("GET", "alt=media"),
        ("GET", "projection"),
        ("GET", "maxResults"),
    ],
    ids=["begin", "send", "compose", "delete", "put", "read", "stat", "list"],
)
def test_a_failure_that_passes_is_not_noticed(store, gcs, method, path, failure):
    gcs.order(method=method, path=path, **failure)
    data = os.urandom(2 * MIB)
    digest, small = put_by_session(store, data), put(store, b"small")
    assert get(store, digest) == data
    assert store.size(digest) == len(data)
    assert set(store.list()) == {digest, small}
    store.delete(digest)
    assert list(store.list()) == [small]


def test_a_burst_of_every_kind_at_every_place_passes(store, gcs):
    data = os.urandom(24 * MIB)
    for status in (429, 500, 502, 503, 504, 408):
        gcs.order(path="/b/", status=status, count=2)
    partial = store.begin(digest_of(data), len(data))
    for start in range(0, len(data), 4 * MIB):
        gcs.order(method="PUT", cut_request=MIB + 1234)
        gcs.order(method="PUT", cut_answer=0)
        partial.append(data[start : start + 4 * MIB])
        partial.sync()
    gcs.order(status=503, count=2)
    partial.finish()
    partial.discard()
    for cut in (0, MIB, 3 * MIB + 5):
        gcs.order(method="GET", path="alt=media", cut_answer=cut)
    assert get(store, digest_of(data)) == data


def test_after_a_cut_only_what_was_not_persisted_is_sent_again(store, gcs):
    data = os.urandom(4 * MIB)
    partial = begun(store, data, MIB)
    gcs.order(method="PUT", cut_request=MIB + 1234)
    partial.append(data[MIB:])
    partial.finish()
    partial.discard()
    assert get(store, digest_of(data)) == data
    assert sent_bytes(gcs) == len(data) + 1234, "what came of the step that was cut"


def test_an_answer_that_is_lost_costs_no_bytes(store, gcs):
    data = os.urandom(4 * MIB)
    gcs.order(method="PUT", cut_answer=0, count=1)
    partial = begun(store, data, MIB)
    gcs.order(method="PUT", cut_answer=0, count=1)
    partial.append(data[MIB:])
    partial.finish()
    partial.discard()
    assert get(store, digest_of(data)) == data
    assert sent_bytes(gcs) == len(data)


def test_it_waits_as_long_as_it_is_asked_to(store, gcs, caplog):
    caplog.set_level(logging.INFO)
    gcs.order(status=503, headers={"Retry-After": "1"})
    put(store, b"x")
    assert "answers 503: trying again in 1.0 s" in caplog.text


def test_when_patience_ends_the_store_is_unavailable_in_one_line(store, gcs, monkeypatch):
    impatient(monkeypatch)
    digest = put(store, b"x")
    for ask in (lambda: store.open(digest), lambda: store.size(digest), lambda: store.delete(digest), lambda: list(store.list())):
        gcs.order(status=503)
        with pytest.raises(StoreUnavailable) as away:
            ask()
        assert str(away.value) == f"the bucket {BUCKET} does not work now: it answers 503"
    assert get(store, digest) == b"x"


@pytest.mark.parametrize(("status", "says"), [(401, "needs credentials"), (403, "Storage Object User"), (404, "create it")])
def test_what_never_passes_says_what_to_do_and_is_not_tried_again(store, gcs, status, says):
    data = os.urandom(MIB)
    gcs.order(method="POST", status=status)
    partial = store.begin(digest_of(data), MIB)
    partial.append(data)
    with pytest.raises(StoreUnavailable, match=says):
        partial.sync()
    assert partial.sync().offset == MIB, "once it is mended, the same upload goes on"
    partial.discard()


def test_a_bucket_that_is_away_is_no_loss_of_data(store, gcs):
    data = os.urandom(MIB)
    digest = put(store, data)
    gcs.set_away(away=True)
    for ask in (lambda: store.open(digest), lambda: store.size(digest), lambda: store.delete(digest), lambda: list(store.list())):
        with pytest.raises(StoreUnavailable, match="is not there"):
            ask()
    again = open_store(f"gs://{BUCKET}/some/prefix")
    gcs.set_away(away=False)
    for one in (store, again):
        assert get(one, digest) == data


def test_a_store_is_opened_while_nobody_listens_and_works_when_somebody_does(store, gcs, monkeypatch):
    digest = put(store, b"x")
    gcs.kill()
    again = open_store(f"gs://{BUCKET}/some/prefix")
    impatient(monkeypatch)
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        again.size(digest)
    gcs.start()
    assert get(again, digest) == b"x"


def test_sessions_and_blobs_outlive_the_other_end(store, gcs):
    data = os.urandom(3 * MIB)
    partial = begun(store, data, MIB)
    gcs.kill()
    gcs.start()
    partial.append(data[MIB:])
    partial.finish()
    partial.discard()
    assert get(store, digest_of(data)) == data


@pytest.mark.parametrize("left", [0, MIB])
@pytest.mark.parametrize("status", [404, 410])
def test_where_a_session_is_lost_the_upload_starts_over_from_what_is_left(store, gcs, left, status):
    data = os.urandom(4 * MIB)
    partial = store.begin(digest_of(data), len(data))
    if left:
        partial.append(data[:left])
        partial = gone_on(store, data, partial.sync())
    partial.append(data[left : 2 * MIB])
    partial.sync()
    gcs.order(method="PUT", status=status)
    partial.append(data[2 * MIB : 3 * MIB])
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="send it again"):
            partial.sync()
    assert partial.durable.offset == left
    partial.close()
    again = gone_on(store, data, partial.durable)
    assert again.durable.offset == left
    again.append(data[left:])
    again.finish()
    again.discard()
    assert get(store, digest_of(data)) == data


def test_of_a_session_that_is_lost_when_another_writer_comes_nothing_is_left(store, gcs):
    data = os.urandom(2 * MIB)
    durable = begun(store, data, MIB).durable
    gcs.order(method="PUT", status=410)
    assert store.begin(digest_of(data), len(data), durable.resume).durable == (0, "")


def test_a_session_without_bytes_is_cancelled(store, gcs):
    data = os.urandom(2 * MIB)
    partial = store.begin(digest_of(data), len(data))
    gcs.order(method="PUT", status=403)
    partial.append(data)
    with pytest.raises(StoreUnavailable):
        partial.sync()
    assert partial.durable.offset == 0
    assert store.begin(digest_of(data), len(data), partial.durable.resume).durable == (0, "")
    assert [request[2] for request in gcs.requests("DELETE", UPLOAD)] == [499]


def test_what_cannot_be_thrown_away_is_left_and_logged(store, gcs, caplog):
    data = os.urandom(2 * MIB)
    gcs.order(method="DELETE", status=503, count=9)
    digest = put_by_session(store, data)
    assert "a part of an upload is left in the bucket" in caplog.text
    assert len(gcs.names()) == 2
    assert list(store.list()) == [digest]


# Checksums


@pytest.mark.parametrize("by_session", [False, True], ids=["at once", "by session"])
@pytest.mark.parametrize("fault", ["damage", "misreport"])
def test_bytes_that_change_on_their_way_never_become_a_blob(store, gcs, by_session, fault):
    """What is damaged Cloud Storage refuses; what it has stored wrongly is found by the CRC32C that it tells."""
    data = os.urandom(2 * MIB)
    partial = begun(store, data, MIB if by_session else 0)
    gcs.order(method="PUT" if by_session else "POST", **{fault: True})
    partial.append(data[partial.durable.offset :])
    with pytest.raises(StoreUnavailable):
        partial.finish()
    assert list(store.list()) == []
    partial.close()
    assert partial.durable.offset == 0, "nobody goes on with bytes that are wrong"
    assert gcs.names() == []
    assert get(store, put(store, data)) == data


def test_bytes_that_were_damaged_long_before_the_end_are_not_gone_on_with(store, gcs):
    data = os.urandom(3 * MIB)
    gcs.order(method="PUT", damage=True)
    partial = begun(store, data, MIB)
    partial.append(data[MIB:])
    with pytest.raises(StoreUnavailable, match="as they were sent: send it again"):
        partial.finish()
    assert partial.durable == (0, "")
    assert gcs.names() == []


def test_a_blob_that_is_put_together_wrongly_is_deleted(store, gcs):
    data = os.urandom(2 * MIB)
    partial = begun(store, data, MIB)
    gcs.order(method="POST", path="/compose", misreport=True)
    partial.append(data[MIB:])
    with pytest.raises(StoreUnavailable, match="has not kept the bytes"):
        partial.finish()
    assert list(store.list()) == []
    partial.close()
    again = gone_on(store, data, partial.durable)
    assert again.durable.offset == len(data), "its parts were right"
    again.finish()
    again.discard()
    assert get(store, digest_of(data)) == data


def test_earlier_bytes_that_come_back_otherwise_are_not_hashed_as_if_they_were(store, gcs):
    data = os.urandom(2 * MIB)
    second = store.begin(digest_of(data), len(data), begun(store, data, MIB).durable.resume)
    (name,) = gcs.names()
    file = gcs.data(name)
    file.write_bytes(b"!" + file.read_bytes()[1:])
    with pytest.raises(StoreUnavailable, match="have not come back"):
        list(second.earlier())


# Races


@pytest.mark.parametrize("size", [1000, 2 * MIB])
def test_of_two_writers_of_one_digest_both_succeed_and_there_is_one_object(store, gcs, size):
    data = os.urandom(size)
    both = [begun(store, data, size if size > STEP else 0) for _ in range(2)]
    for partial in both:
        partial.append(data[partial.durable.offset :])
        assert partial.finish() == size
    for partial in both:
        partial.discard()
    assert gcs.names() == [name_of(digest_of(data))]
    assert get(store, digest_of(data)) == data
    asked = [request for request in gcs.requests("POST") if "ifGenerationMatch" in request[1] and "resumable" not in request[1]]
    assert [request[2] for request in asked] == [200, 412, 200]
    assert [request[1].partition("ifGenerationMatch=0")[1] != "" for request in asked] == [True, True, False]


def test_many_writers_of_one_digest_at_once(store, gcs):
    data = os.urandom(MIB)
    start = threading.Barrier(6)

    def write(number):
        partial = begun(store, data, MIB if number % 2 else 0)
        partial.append(data[partial.durable.offset :])
        start.wait()
        partial.finish()
        partial.discard()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(6)))
    assert gcs.names() == [name_of(digest_of(data))]
    assert get(store, digest_of(data)) == data


def test_a_blob_that_is_gone_when_it_is_to_be_replaced_is_made(store, gcs):
    """Another one is seen there, and deleted before it is replaced."""
    digest = put(store, b"x")
    gcs.order(method="POST", status=412)
    store.delete(digest)
    assert get(store, put(store, b"x")) == b"x"


# Reading


def test_ranges_are_read_ahead_side_by_side_and_no_further(store, gcs):
    data = os.urandom(40 * MIB)
    reader = store.open(put_by_session(store, data))
    asked = lambda: len(gcs.requests("GET", "alt=media"))  # noqa: E731
    assert reader.read(MIB) == data[:MIB]
    assert asked() == 1, "who wants little gets little"
    rest = data[MIB:]
    for expected in (3, 5, 7, 8):
        assert reader.read(4 * MIB) == rest[: 4 * MIB]
        rest = rest[4 * MIB :]
        until(lambda expected=expected: asked() >= expected)
        assert asked() == expected
    assert b"".join(iter(lambda: reader.read(MIB + 1), b"")) == rest
    assert asked() == 10
    reader.close()


def test_readers_that_stand_still_hold_little_together(store, gcs, monkeypatch):
    monkeypatch.setattr(gcs_reader, "RANGE_BYTES", STEP)
    data = os.urandom(40 * STEP)
    digest = put(store, data)
    readers = [store.open(digest) for _ in range(20)]
    for _ in range(4):
        for reader in readers:
            reader.read(STEP)
    ahead = sum(len(reader._ahead) for reader in readers)
    assert ahead <= gcs_reader.AHEAD_IN_ALL + len(readers)
    for reader in readers:
        reader.read(STEP)
        reader.close()
    spare = store._ranges._spare
    until(lambda: spare._value == gcs_reader.AHEAD_IN_ALL)
    assert get(store, digest, 3) == data[3:]
    assert spare._value == gcs_reader.AHEAD_IN_ALL


def test_a_range_that_fails_ends_the_read_and_no_other(store, gcs, monkeypatch):
    impatient(monkeypatch)
    data = os.urandom(10 * MIB)
    digest = put_by_session(store, data)
    reader = store.open(digest)
    gcs.order(method="GET", status=503, count=2)
    assert reader.read(4 * MIB) == data[: 4 * MIB]
    with pytest.raises(StoreUnavailable):
        reader.read(MIB)
    until(lambda: [request[2] for request in gcs.requests("GET", "alt=media")].count(503) == 2)
    reader.close()
    assert get(store, digest) == data


def test_a_blob_that_is_deleted_under_its_reader_is_told(store):
    data = os.urandom(5 * MIB)
    digest = put_by_session(store, data)
    reader = store.open(digest)
    store.delete(digest)
    assert reader.read(4 * MIB) == data[: 4 * MIB]
    with pytest.raises(NoSuchBlob):
        reader.read(MIB)
    reader.close()


def test_lists_of_many_pages_pass_over_what_is_no_blob(store, gcs, monkeypatch):
    digests = {put(store, bytes([number])) for number in range(12)}
    other = open_store(f"gs://{BUCKET}/some/prefix/sha256/ab")
    put(other, b"elsewhere")
    begun(store, os.urandom(MIB), MIB)
    paged = store._bucket._page
    monkeypatch.setattr(store._bucket, "_page", lambda prefix, token, _: paged(prefix, token, 5))
    assert set(store.list()) == digests


# Secrets, and what is not paid for


def test_no_error_and_no_line_of_the_log_has_the_uri_of_a_session(store, gcs, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    data = os.urandom(2 * MIB)
    partial = begun(store, data, MIB)
    uri = partial.durable.resume.split()[-1]
    assert "upload_id=" in uri
    partial.append(data[MIB:])
    impatient(monkeypatch)
    errors = []
    for fault in ({"status": 503}, {"status": 403}, {"cut_answer": 0}):
        gcs.order(method="PUT", **fault)
        with pytest.raises(StoreUnavailable) as error:
            partial.sync()
        errors.append(error.value)
    gcs.kill()
    with pytest.raises(StoreUnavailable) as error:
        partial.sync()
    partial.discard()
    gcs.start()
    text = caplog.text + "".join(map(str, [*errors, error.value]))
    assert "left in the bucket" in text
    assert "upload_id" not in text
    assert all(one.__suppress_context__ for one in errors), "nor has a traceback"


def test_googles_libraries_are_loaded_where_they_are_used_alone(tmp_path):
    program = (
        "import sys, podium_server.__main__, podium_server.blobs as blobs\n"
        f"blobs.open_store('file://{tmp_path}/blobs')\n"
        "print([name for name in sys.modules if name.startswith(('google.cloud', 'google.auth', 'google.api', 'requests'))])"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said == "[]\n"


def test_without_credentials_it_says_what_to_set(monkeypatch):
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/no/such/file")
    with pytest.raises(StoreUnavailable, match="set GOOGLE_APPLICATION_CREDENTIALS"):
        open_store(f"gs://{BUCKET}")


def test_names_are_those_of_a_local_store(store, gcs):
    digest = put(store, b"x")
    assert gcs.names() == [f"some/prefix/sha256/{digest[7:9]}/{digest[7:]}"]
    assert hashlib.sha256(gcs.data(gcs.names()[0]).read_bytes()).hexdigest() == digest[7:]
    put(open_store(f"gs://{BUCKET}"), b"x")
    put(open_store(f"gs://{BUCKET}/other/"), b"x")
    assert {name.partition("sha256/")[0] for name in gcs.names()} == {"", "other/", "some/prefix/"}
