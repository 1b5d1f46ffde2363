"""The contract of blob stores: one suite over every store."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

import pytest
from disks import SmallDisk
from gcs_servers import BUCKET
from podium_server.blobs import check_owner, open_store
from podium_server.blobs.base import BlobStore, Durable, Partial
from podium_server.blobs.errors import (
    NoSuchBlob,
    PartialLost,
    StoreError,
    StoreFull,
    StoreOfAnother,
    StoreUnavailable,
    UnsupportedStore,
)
from podium_server.blobs.local import LocalStore

MIB = 1 << 20
STEP = 256 << 10  # of stores that write in steps, the largest
FAKES = {"gcs": "strict_gcs", "fake-gcs-server": "fake_gcs_server"}


@pytest.fixture(params=["file", *FAKES])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BlobStore:
    if request.param == "file":
        return open_store(f"file://{tmp_path}/blobs")
    for name, value in request.getfixturevalue(FAKES[request.param]).environment.items():
        monkeypatch.setenv(name, value)
    return open_store(f"gs://{BUCKET}/{tmp_path.name}")


def if_remote(store: BlobStore, error: type[StoreError]) -> AbstractContextManager[None]:
    """Lets a store in a bucket say this; one in a folder has no reason to."""
    return nullcontext() if isinstance(store, LocalStore) else suppress(error)


# fake-gcs-server would not show it: it goes on with a cancelled session, and overwrites or deletes whatever the generation is.
only_strict = pytest.mark.parametrize("store", ["file", "gcs"], indirect=True)


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def put(store: BlobStore, data: bytes) -> str:
    digest = digest_of(data)
    partial = store.begin(digest, len(data))
    partial.append(data)
    assert partial.finish() == len(data)
    partial.discard()
    return digest


def get(store: BlobStore, digest: str, offset: int = 0) -> bytes:
    reader = store.open(digest, offset)
    try:
        return b"".join(iter(lambda: reader.read(MIB), b""))
    finally:
        reader.close()


def test_a_store_belongs_to_the_first_registry_that_uses_it(store: BlobStore) -> None:
    assert store.owner("one") == "one"
    assert store.owner("one") == "one"
    assert store.owner("other") == "one"
    check_owner(store, "one")
    with pytest.raises(StoreOfAnother, match="of another registry, one"):
        check_owner(store, "other")
    assert list(store.list()) == []


def begun(store: BlobStore, data: bytes, sent: int) -> tuple[Partial, Durable]:
    """An upload of which so many bytes are durable, still open."""
    partial = store.begin(digest_of(data), len(data))
    partial.append(data[:sent])
    durable = partial.sync()
    assert durable == partial.durable
    assert durable.offset == sent
    return partial, durable


def gone_on(store: BlobStore, data: bytes, durable: Durable) -> Partial:
    """The upload of `begun` by another writer, its earlier bytes read."""
    partial = store.begin(digest_of(data), len(data), durable.resume)
    assert partial.durable.offset == durable.offset
    assert b"".join(partial.earlier()) == data[: durable.offset]
    return partial


@pytest.mark.parametrize("size", [0, 1, MIB, 3 * MIB + 17])
def test_a_finished_blob_is_read_from_any_offset(store: BlobStore, size: int) -> None:
    data = os.urandom(size)
    digest = put(store, data)
    assert store.size(digest) == size
    for offset in {0, min(1, size), size // 2, size}:
        assert get(store, digest, offset) == data[offset:]


def test_reads_are_exact_until_the_end(store: BlobStore) -> None:
    reader = store.open(put(store, b"x" * 3_000_000))
    assert [len(reader.read(MIB)) for _ in range(4)] == [MIB, MIB, 3_000_000 - 2 * MIB, 0]
    reader.close()


def test_nothing_can_be_read_before_it_is_finished(store: BlobStore) -> None:
    data = b"unfinished" + bytes(STEP - 10)
    partial, _ = begun(store, data, len(data))
    for ask in (store.open, store.size, store.delete):
        with pytest.raises(NoSuchBlob):
            ask(digest_of(data))
    assert list(store.list()) == []
    partial.finish()
    assert get(store, digest_of(data)) == data
    partial.discard()
    assert get(store, digest_of(data)) == data


def test_what_is_durable_is_where_the_next_writer_goes_on(store: BlobStore) -> None:
    data = os.urandom(2 * MIB + 5)
    first, durable = begun(store, data, MIB + STEP)
    first.append(b"not made durable")
    first.close()
    second = gone_on(store, data, durable)
    second.append(data[MIB + STEP :])
    second.finish()
    second.discard()
    assert get(store, digest_of(data)) == data


def test_what_was_not_durable_is_no_part_of_the_blob(store: BlobStore) -> None:
    data = os.urandom(STEP + 5)
    first, durable = begun(store, data, STEP)
    first.append(b"not made durable, and longer than the rest")
    first.close()
    second = gone_on(store, data, durable)
    second.append(data[STEP:])
    assert second.finish() == STEP + 5
    second.discard()
    assert get(store, digest_of(data)) == data


def test_a_resumed_upload_can_be_resumed_again(store: BlobStore) -> None:
    data = os.urandom(3 * STEP)
    partial, durable = begun(store, data, STEP)
    partial.close()
    partial = gone_on(store, data, durable)
    partial.append(data[STEP : 2 * STEP])
    durable = partial.sync()
    assert durable.offset == 2 * STEP
    partial.close()
    partial = gone_on(store, data, durable)
    partial.append(data[2 * STEP :])
    partial.finish()
    partial.discard()
    assert get(store, digest_of(data)) == data


@pytest.mark.parametrize("resume", ["", "nonsense", "../../etc/passwd:0", f"{'0' * 16}:{5}"])
def test_an_upload_of_which_nothing_is_left_starts_over(store: BlobStore, resume: str) -> None:
    partial = store.begin(digest_of(b"x"), 1, resume)
    assert partial.durable.offset == 0
    partial.discard()


@only_strict
def test_what_was_thrown_away_is_gone(store: BlobStore) -> None:
    data = bytes(STEP)
    partial, durable = begun(store, data, STEP)
    partial.discard()
    again = store.begin(digest_of(data), STEP, durable.resume)
    assert again.durable.offset == 0
    again.discard()
    assert list(store.list()) == []


def test_letting_go_twice_does_nothing(store: BlobStore) -> None:
    partial, _ = begun(store, bytes(STEP), STEP)
    partial.close()
    partial.close()
    partial, _ = begun(store, bytes(STEP), STEP)
    partial.discard()
    partial.close()


@only_strict
def test_a_writer_that_wakes_up_changes_nothing_of_its_successor(store: BlobStore) -> None:
    data = os.urandom(2 * MIB)
    first, durable = begun(store, data, MIB)
    second = gone_on(store, data, durable)
    with if_remote(store, PartialLost):
        first.append(b"!" * MIB)
        first.sync()
    second.append(data[MIB:])
    second.sync()
    with pytest.raises(PartialLost):
        first.finish()
    first.close()
    second.finish()
    second.discard()
    assert get(store, digest_of(data)) == data


def test_a_writer_that_wakes_up_may_finish_before_its_successor_has_gone_on(store: BlobStore) -> None:
    data = os.urandom(2 * MIB)
    first, durable = begun(store, data, MIB)
    second = store.begin(digest_of(data), len(data), durable.resume)
    first.append(data[MIB:])
    finished = False
    with if_remote(store, StoreError):  # such a store may see to that as soon as its successor begins
        first.finish()
        finished = True
    first.discard()
    assert b"".join(second.earlier()) == data[:MIB]
    assert not finished or get(store, digest_of(data)) == data
    second.append(b"!" * MIB)
    second.discard()
    assert list(store.list()) == [digest_of(data)] * finished
    assert not finished or get(store, digest_of(data)) == data


def test_a_takeover_that_is_broken_off_leaves_what_it_would_have_gone_on_from(store: BlobStore) -> None:
    data = os.urandom(3 * MIB)
    first, durable = begun(store, data, 2 * MIB)
    second = store.begin(digest_of(data), len(data), durable.resume)
    earlier = second.earlier()
    next(earlier)
    assert second.sync().offset == durable.offset
    assert second.durable == durable or not isinstance(store, LocalStore)
    second.close()
    first.close()
    third = gone_on(store, data, durable)
    third.append(data[2 * MIB :])
    third.finish()
    third.discard()
    assert get(store, digest_of(data)) == data


def test_a_writer_that_lost_its_partial_leaves_that_of_its_successor(store: BlobStore) -> None:
    data = os.urandom(2 * MIB)
    first, durable = begun(store, data, MIB)
    second = gone_on(store, data, durable)
    durable = second.sync()
    first.discard()
    second.close()
    third = gone_on(store, data, durable)
    third.append(data[MIB:])
    third.finish()
    third.discard()
    assert get(store, digest_of(data)) == data


def test_a_blob_that_could_not_be_recorded_costs_no_bytes(store: BlobStore) -> None:
    data = os.urandom(2 * MIB)
    first, durable = begun(store, data, MIB)
    first.append(data[MIB:])
    first.finish()
    first.close()
    second = store.begin(digest_of(data), len(data), durable.resume)
    assert second.durable.offset >= durable.offset
    assert second.durable == durable or not isinstance(store, LocalStore)
    assert b"".join(second.earlier()) == data[: second.durable.offset]
    second.append(b"!" * 100)
    second.sync()
    assert get(store, digest_of(data)) == data, "a finished blob never changes"
    second.discard()
    assert get(store, digest_of(data)) == data


def test_a_blob_is_replaced_whole_under_those_who_read_it(store: BlobStore) -> None:
    data = os.urandom(2 * MIB)
    digest = digest_of(data)
    damaged = store.begin(digest, len(data))
    damaged.append(b"?" * len(data))
    damaged.finish()
    damaged.discard()
    reader = store.open(digest)
    assert reader.read(MIB) == b"?" * MIB
    put(store, data)
    assert get(store, digest) == data
    assert reader.read(MIB) in (b"?" * MIB, data[MIB:])
    reader.close()


def test_blobs_are_listed_and_deleted(store: BlobStore) -> None:
    digests = {put(store, bytes([number])) for number in range(20)}
    assert set(store.list()) == digests
    gone = digests.pop()
    store.delete(gone)
    assert set(store.list()) == digests
    for ask in (store.open, store.size, store.delete):
        with pytest.raises(NoSuchBlob, match=gone):
            ask(gone)


def test_usage_says_how_much_room_there_is(store: BlobStore) -> None:
    usage = store.usage()
    assert usage.total_bytes is None or usage.free_bytes is None or 0 < usage.free_bytes <= usage.total_bytes


@pytest.mark.parametrize("digest", ["", "sha256:", "sha256:../../../etc/passwd", f"sha256:{'A' * 64}", f"md5:{'a' * 64}"])
def test_only_a_digest_names_a_blob(store: BlobStore, digest: str) -> None:
    for ask in (store.open, store.size, store.delete, lambda name: store.begin(name, 1)):
        with pytest.raises(ValueError, match="not a digest"):
            ask(digest)


@pytest.mark.parametrize(
    "url",
    ["", "/data", "file:data", "file://host/data", "s3://bucket/prefix", "gs://", "gs:///x", "gs://Bucket", "gs://bucket/x?y"],
)
def test_a_url_of_no_store_is_refused_in_one_line(url: str) -> None:
    with pytest.raises(UnsupportedStore) as refusal:
        open_store(url)
    assert "\n" not in str(refusal.value)


# What is true of the local store alone


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "with space%"


@pytest.fixture
def local(folder: Path) -> BlobStore:
    return open_store(f"file://{str(folder).replace('%', '%25').replace(' ', '%20')}")


def partials(folder: Path) -> list[Path]:
    return sorted((folder / "partial").iterdir())


def test_a_blob_is_a_file_that_coreutils_can_check(local: BlobStore, folder: Path) -> None:
    hexadecimal = put(local, b"hello\n").removeprefix("sha256:")
    path = folder / "sha256" / hexadecimal[:2] / hexadecimal
    said = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout
    assert said.split()[0] == hexadecimal
    assert partials(folder) == []


def test_a_store_is_opened_again(local: BlobStore, folder: Path) -> None:
    digest = put(local, b"still there")
    assert get(open_store(f"file://localhost{str(folder).replace('%', '%25')}"), digest) == b"still there"


def test_nothing_is_left_of_an_upload_that_never_was_durable(local: BlobStore, folder: Path) -> None:
    partial = local.begin(digest_of(b"x"), 1)
    partial.append(b"x")
    assert len(partials(folder)) == 1
    partial.close()
    assert partials(folder) == []


def test_only_the_file_of_a_writer_that_lives_is_copied(local: BlobStore, folder: Path) -> None:
    data = os.urandom(2 * MIB)
    first, durable = begun(local, data, MIB)
    (file,) = partials(folder)
    inode = file.stat().st_ino
    second = gone_on(local, data, durable)
    assert len(partials(folder)) == 2, "until it is known where to go on from, the first one counts"
    second.append(data[MIB : MIB + 1])
    durable = second.sync()
    (file,) = partials(folder)
    assert file.stat().st_ino != inode, "two writers never share a file"
    inode = file.stat().st_ino
    second.close()
    third = gone_on(local, data, durable)
    assert [file.stat().st_ino for file in partials(folder)] == [inode]
    third.discard()
    first.close()


KILLED = """
import os, sys
from podium_server.blobs import check_owner, open_store
partial = open_store(sys.argv[1]).begin(sys.argv[2], 2 << 20)
partial.append(bytes(1 << 20))
print(partial.sync().resume, flush=True)
partial.append(b"!" * 1000)
os.kill(os.getpid(), 9)
"""


def test_the_file_of_a_killed_writer_is_taken_as_it_is(local: BlobStore, folder: Path) -> None:
    data = bytes(2 * MIB)
    url = f"file://{str(folder).replace('%', '%25')}"
    process = subprocess.run(
        [sys.executable, "-c", KILLED, url, digest_of(data)], capture_output=True, text=True, check=False, env=with_path()
    )
    assert process.returncode == -9, process.stderr
    (file,) = partials(folder)
    inode = file.stat().st_ino
    partial = gone_on(local, data, Durable(MIB, process.stdout.strip()))
    partial.append(data[MIB:])
    partial.finish()
    partial.discard()
    digest = digest_of(data)
    assert get(local, digest) == data
    assert (folder / "sha256" / digest[7:9] / digest[7:]).stat().st_ino == inode


def with_path() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def test_a_partial_that_lost_bytes_is_no_partial(local: BlobStore, folder: Path) -> None:
    data = os.urandom(100)
    partial, durable = begun(local, data, 50)
    partial.close()
    os.truncate(partials(folder)[0], 49)
    again = local.begin(digest_of(data), 100, durable.resume)
    assert again.durable.offset == 0
    again.discard()


def test_bytes_are_durable_before_their_name_and_the_name_before_it_counts(
    local: BlobStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []

    def noted(name: str, real: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: object) -> None:
            real(*arguments)
            where = arguments[0]
            path = Path(f"/proc/self/fd/{where}").readlink() if isinstance(where, int) else where
            assert isinstance(path, Path)
            steps.append(f"{name} {path.relative_to(folder).parts[0]} {len(path.relative_to(folder).parts)}")

        return call

    partial, _ = begun(local, b"0123456789", 5)
    partial.append(b"56789")
    monkeypatch.setattr(os, "fdatasync", noted("sync file in", os.fdatasync))
    monkeypatch.setattr(os, "fsync", noted("sync folder", os.fsync))
    monkeypatch.setattr(os, "rename", noted("rename from", os.rename))
    partial.finish()
    monkeypatch.undo()
    partial.discard()
    assert steps == ["sync file in partial 2", "sync folder sha256 1", "rename from partial 2", "sync folder sha256 2"]


def test_a_volume_that_is_not_there_is_no_loss_of_data(local: BlobStore, folder: Path) -> None:
    digest = put(local, b"x")
    (folder / "sha256").rename(folder / "elsewhere")
    for ask in (local.open, local.size, local.delete):
        with pytest.raises(StoreUnavailable):
            ask(digest)
    with pytest.raises(StoreUnavailable):
        list(local.list())


def test_errors_of_the_file_system_are_the_stores(local: BlobStore, folder: Path) -> None:
    digest = put(local, b"x")
    path = folder / "sha256" / digest[7:9] / digest[7:]
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreUnavailable):
        local.open(digest)
    (folder / "partial").rename(folder / "gone")
    with pytest.raises(StoreUnavailable):
        local.begin(digest, 1)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    disk = SmallDisk(tmp_path / "small", 4 * MIB)
    yield disk
    disk.close()


def test_a_full_disk_is_told_and_what_was_durable_goes_on_when_there_is_room(disk: SmallDisk) -> None:
    store = open_store(f"file://{disk.folder}/blobs")
    data = os.urandom(6 * MIB)
    disk.resize(4 * MIB, os.getpid())
    partial, durable = begun(store, data, 2 * MIB)
    with pytest.raises(StoreFull) as full:
        partial.append(data[2 * MIB :])
    assert isinstance(full.value, StoreError)
    partial.close()
    disk.resize(16 * MIB, os.getpid())
    partial = gone_on(store, data, durable)
    partial.append(data[2 * MIB :])
    partial.finish()
    partial.discard()
    assert get(store, digest_of(data)) == data
