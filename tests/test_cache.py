"""Pulling, and the cache that all processes share: bytes move once, nothing appears half, and damage is noticed and healed."""

import errno
import logging
import multiprocessing
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import podium
import pytest
from conftest import RunningServer
from podium.locks import lock_file
from podium.sealed import FILE_TIME, is_sealed
from podium.sink import Sink
from podium.v1.records_pb2 import ExternalFile, VersionRecord
from podium.v1.versions_pb2 import RegisterVersionRequest
from relay import Relay
from streams import digest_of

MIB = 1 << 20
OVERHEAD = 200_000  # bytes on the wire that are no file's


@pytest.fixture(scope="module")
def rough(tmp_path_factory):
    """A server whose downloads are cut, at which gRPC itself may log a trace."""
    running = RunningServer(tmp_path_factory.mktemp("rough") / "data")
    yield running
    running.stop()
    assert running.process.returncode == 0, running.output()


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def registry(server, cache):
    with podium.connect(server.address, cache=cache) as connected:
        yield connected


@pytest.fixture
def model(request):
    return "pull/" + request.node.name.translate(str.maketrans("[]/ ", "...."))[:100].rstrip(".")


@pytest.fixture
def files():
    return {"model.bin": os.urandom(3 * MIB + 5), "conf/a.json": b"{}", "conf/deep/b": os.urandom(100), "empty": b""}


@pytest.fixture
def pushed(server, model, files, tmp_path):
    """A version with these files, pushed by somebody else; a reference to it."""
    return push(server, model, files, tmp_path / "pushed")


def push(server, model, files, folder):
    shutil.rmtree(folder, ignore_errors=True)
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    with podium.connect(server.address) as registry:
        version = registry.push(model, folder).version
    return f"{model}:{version.number}"


def content_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def blob_of(cache, content):
    return podium.Cache(cache).file_path(digest_of(content))


def writable(path):
    """Opens up a path of the cache, as somebody who wants to spoil it would."""
    path.parent.chmod(0o755)
    path.chmod(0o644)
    return path


# A pull into the cache.


def test_a_pull_is_a_read_only_folder_in_the_cache(registry, pushed, files, cache):
    folder = registry.pull(pushed)
    assert content_of(folder) == files
    assert cache in folder.parents
    for path in (folder, *folder.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o555 if path.is_dir() else 0o444), path
    for path, content in files.items():
        assert (folder / path).samefile(blob_of(cache, content))
    assert not list((cache / "v1/partial").iterdir())
    assert {path.name for path in (cache / "v1/trees").iterdir()} == {folder.name}


def test_a_second_pull_of_the_same_digest_moves_no_bytes(relay, pushed, cache):
    with podium.connect(relay.address, cache=cache) as registry:
        first = registry.pull(pushed)
        assert relay.down > 3 * MIB
        before = relay.down
        assert registry.pull(pushed.replace(":1", "@latest")) == first
    with podium.connect(relay.address, cache=cache) as registry:
        assert registry.pull(f"{pushed[:-2]}@{registry.resolve(pushed).digest}") == first
    assert relay.down - before < OVERHEAD


def test_versions_share_what_they_have_in_common(server, relay, model, files, pushed, cache, tmp_path):
    second = push(server, model, {**files, "new": os.urandom(MIB), "conf/copy": files["model.bin"]}, tmp_path / "pushed")
    with podium.connect(relay.address, cache=cache) as registry:
        registry.pull(pushed)
        before = relay.down
        folder = registry.pull(second)
    assert MIB < relay.down - before < MIB + OVERHEAD
    assert (folder / "conf/copy").samefile(folder / "model.bin")


def test_a_version_without_files_is_an_empty_folder(registry, stub, model):
    registry.create_model(model)
    stub.RegisterVersion(RegisterVersionRequest(model=model, request_id=model))
    folder = registry.pull(f"{model}:1")
    assert list(folder.iterdir()) == []
    assert registry.verify(f"{model}:1", folder) == []


def test_external_files_are_told_and_not_fetched(registry, stub, model, caplog):
    registry.create_model(model)
    record = VersionRecord(external_files=[ExternalFile(path="big.bin", uri="s3://bucket/big.bin")])
    stub.RegisterVersion(RegisterVersionRequest(model=model, record=record, request_id=model))
    with caplog.at_level(logging.WARNING, "podium"):
        folder = registry.pull(f"{model}:1")
    assert list(folder.iterdir()) == []
    assert "1 external files are not fetched: big.bin ('s3://bucket/big.bin')" in caplog.text


def test_progress_is_told_in_bytes(registry, pushed, files, tmp_path):
    told = []
    registry.pull(pushed, tmp_path / "out", progress=lambda *report: told.append(report))
    total = sum(map(len, files.values()))
    assert {stage for stage, _, _ in told} == {"downloading", "copying"}
    for stage in ("downloading", "copying"):
        done = [report[1:] for report in told if report[0] == stage]
        assert done == sorted(done)
        assert done[-1] == (total, total)


# A copy at a destination.


def test_a_copy_may_be_edited_without_poisoning_the_cache(registry, pushed, files, tmp_path):
    copy = registry.pull(pushed, tmp_path / "deep/out")
    assert copy == tmp_path / "deep/out"
    assert content_of(copy) == files
    assert [path.name for path in copy.parent.iterdir()] == ["out"]
    for path in files:
        with (copy / path).open("r+b") as file:
            file.write(b"spoiled")
        (copy / path).with_name("new" + Path(path).name).write_text("x")
    assert content_of(registry.pull(pushed)) == files
    assert content_of(registry.pull(pushed, tmp_path / "again")) == files


def test_an_empty_folder_may_be_the_destination(registry, pushed, files, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to("out")
    assert content_of(registry.pull(pushed, tmp_path / "link")) == files
    assert content_of(tmp_path / "out") == files


def test_a_destination_that_is_taken_is_refused_and_left_alone(registry, pushed, tmp_path, monkeypatch, relay):
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine").write_text("1")
    with pytest.raises(podium.InvalidArgument, match="taken is not empty") as refused:
        registry.pull(pushed, taken)
    assert "destination" in refused.value.fields
    with pytest.raises(podium.InvalidArgument, match="is not a folder"):
        registry.pull(pushed, taken / "mine")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(podium.InvalidArgument, match="current folder"):
        registry.pull(pushed, ".")
    with pytest.raises(podium.InvalidArgument, match=r"not empty|mount point"):
        registry.pull(pushed, "/")
    assert content_of(taken) == {"mine": b"1"}
    assert not registry.cache.entries()  # refused before anything was fetched


def test_a_destination_that_is_taken_meanwhile_is_left_alone(registry, pushed, tmp_path):
    def take(stage, _done, _total):
        if stage == "copying":
            (tmp_path / "out").mkdir(exist_ok=True)
            (tmp_path / "out/mine").write_text("1")

    with pytest.raises(podium.InvalidArgument, match="made by somebody else"):
        registry.pull(pushed, tmp_path / "out", progress=take)
    assert content_of(tmp_path / "out") == {"mine": b"1"}
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_pull_that_fails_leaves_no_destination(registry, pushed, tmp_path):
    def fail(stage, done, total):
        if stage == "copying":
            raise RuntimeError

    with pytest.raises(RuntimeError):
        registry.pull(pushed, tmp_path / "out", progress=fail)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "pushed"]


# Cuts, crashes, damage on the way.


def test_a_cut_download_goes_on_where_it_stopped(rough, model, cache, tmp_path):
    files = {"big": os.urandom(64 * MIB), "other": os.urandom(8 * MIB)}
    pushed = push(rough, model, files, tmp_path / "pushed")
    relay = Relay(rough.address)
    relay.cut_after(down=48 * MIB)
    with podium.connect(relay.address, cache=cache) as registry:
        assert content_of(registry.pull(pushed)) == files
    assert relay.cuts == 1
    assert relay.down < (72 + 40) * MIB  # what was on its way comes again, which may be much where buffers are large
    relay.close()


def test_a_pull_survives_a_server_that_is_killed_and_started_again(start_server, model, cache, tmp_path):
    server = start_server()
    files = {"big": os.urandom(64 * MIB)}
    pushed = push(server, model, files, tmp_path / "pushed")
    relay = Relay(server.address)

    def restart():
        server.kill()
        server.start()
        relay.server = ("127.0.0.1", int(server.address.rpartition(":")[2]))

    relay.when_cut = restart
    relay.cut_after(down=48 * MIB)
    with podium.connect(relay.address, cache=cache) as registry:
        assert content_of(registry.pull(pushed)) == files
    assert relay.down < (64 + 40) * MIB
    relay.close()


def test_a_server_that_stays_away_ends_the_pull_with_unavailable(start_server, model, cache, tmp_path):
    server = start_server()
    pushed = push(server, model, {"big": os.urandom(40 * MIB)}, tmp_path / "pushed")
    relay = Relay(server.address)
    relay.when_cut = server.kill
    relay.cut_after(down=20 * MIB)
    with podium.connect(relay.address, cache=cache, timeout=1) as registry:
        with pytest.raises(podium.Unavailable):
            registry.pull(pushed)
        assert [entry.kind for entry in registry.cache.entries()] == ["partial"]
    relay.close()


PULL = "import podium, sys; print(podium.pull(*sys.argv[1:]), flush=True)"


def puller(address, cache, *arguments, code=PULL):
    environment = {**os.environ, "PODIUM_URL": address, "PODIUM_CACHE": str(cache)}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def finished(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


def test_a_killed_pull_is_continued_by_the_next_process(rough, model, cache, tmp_path):
    files = {"big": os.urandom(64 * MIB)}
    pushed = push(rough, model, files, tmp_path / "pushed")
    relay = Relay(rough.address)
    first = puller(relay.address, cache, pushed)
    relay.when_cut = first.kill
    relay.cut_after(down=48 * MIB)
    first.communicate(timeout=120)
    assert first.returncode == -9
    assert not (cache / "v1/blobs").exists() or not list((cache / "v1/blobs").rglob("*/*/*"))
    before = relay.down
    folder = Path(finished(puller(relay.address, cache, pushed)).strip())
    assert content_of(folder) == files
    assert relay.down - before < (16 + 40) * MIB
    assert not list((cache / "v1/partial").iterdir())
    relay.close()


def test_a_start_that_was_spoiled_is_noticed_and_replaced(registry, pushed, files):
    partial = registry.cache.partial_path(digest_of(files["model.bin"]))
    partial.parent.mkdir(parents=True)
    partial.write_bytes(bytes(2 * MIB))
    assert content_of(registry.pull(pushed)) == files


@pytest.mark.parametrize("size", [3 * MIB + 5, 4 * MIB])
def test_a_start_that_is_as_long_or_longer(registry, pushed, files, size):
    """A process may end between the last byte and the rename, when the file is read-only already."""
    partial = registry.cache.partial_path(digest_of(files["model.bin"]))
    partial.parent.mkdir(parents=True)
    partial.write_bytes((files["model.bin"] + bytes(MIB))[:size])
    partial.chmod(0o444)
    assert content_of(registry.pull(pushed)) == files


def test_a_blob_damaged_on_the_server_is_data_loss_and_nothing_appears(start_server, model, cache, tmp_path):
    server = start_server()
    content = os.urandom(5 * MIB)
    pushed = push(server, model, {"a": b"1", "big": content}, tmp_path / "pushed")
    (stored,) = [path for path in (server.data / "blobs").rglob("*") if path.is_file() and path.stat().st_size == 5 * MIB]
    stored.chmod(0o644)
    with stored.open("r+b") as file:
        file.seek(3 * MIB)
        file.write(b"damage")
    with podium.connect(server.address, cache=cache) as registry:
        with pytest.raises(podium.DataLoss) as lost:
            registry.pull(pushed, tmp_path / "out")
        assert lost.value.reason == "BLOB_DAMAGED"
        assert not [entry for entry in registry.cache.entries() if entry.kind == "version"]
    assert not (tmp_path / "out").exists()


def test_a_disk_without_room_is_told_before_the_download(registry, pushed, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=MIB)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(podium.DiskFull, match="are to be fetched"):
        registry.pull(pushed)
    assert not registry.cache.entries()


def test_a_disk_that_becomes_full_is_told(rough, model, files, cache, tmp_path, monkeypatch):
    registry = podium.connect(rough.address, cache=cache)
    pushed = push(rough, model, files, tmp_path / "pushed")
    append = Sink._append

    def full(sink, chunk):
        if sink._path.stat().st_size >= MIB:
            sink._file.close()
            sink._file = Path("/dev/full").open("ab", buffering=0)  # noqa: SIM115  the sink closes it
        append(sink, chunk)

    monkeypatch.setattr(Sink, "_append", full)
    with pytest.raises(podium.DiskFull, match="no room left"):
        registry.pull(pushed)
    monkeypatch.undo()
    assert content_of(registry.pull(pushed)) == files


# Damage in the cache.


def edit(path):
    with writable(path).open("r+b") as file:
        file.write(b"spoiled")
    path.chmod(0o444)


def destroy(folder):
    folder.parent.chmod(0o755)
    subprocess.run(["chmod", "-R", "u+w", folder], check=True)
    shutil.rmtree(folder)


def truncate_secretly(path):
    os.truncate(writable(path), 9)
    path.chmod(0o444)
    os.utime(path, (FILE_TIME, FILE_TIME))


def damages(folder, blob):
    """Ways to spoil a version's folder or the file behind it."""
    inside = folder / "model.bin"
    return {
        "edited in the folder": lambda: edit(inside),
        "edited behind it": lambda: edit(blob),
        "truncated and the rest put back": lambda: truncate_secretly(blob),
        "truncated": lambda: os.truncate(writable(blob), 100),
        "made writable": lambda: writable(inside),
        "removed from the folder": lambda: writable(inside).unlink(),
        "replaced by a link": lambda: (writable(inside).unlink(), inside.symlink_to("/etc/hostname")),
        "replaced by a folder": lambda: (writable(inside).unlink(), inside.mkdir()),
        "extra file": lambda: (folder.chmod(0o755), (folder / "extra").write_text("x")),
        "extra folder with a file": lambda: (folder.chmod(0o755), (folder / "sub").mkdir(), (folder / "sub/x").touch()),
        "folder emptied": lambda: (destroy(folder / "conf"), writable(inside).unlink()),
        "folder removed": lambda: destroy(folder),
        "folder replaced by a file": lambda: (destroy(folder), folder.write_text("x")),
        "folder closed": lambda: folder.chmod(0),
        "blob removed": lambda: (writable(blob).unlink(), edit(inside)),
        "blob replaced by a folder": lambda: (writable(blob).unlink(), blob.mkdir(), (blob / "x").touch(), edit(inside)),
        "all of it removed": lambda: destroy(folder.parents[2]),
    }


@pytest.mark.parametrize("damage", list(damages(Path(), Path())))
def test_damage_is_noticed_by_the_next_pull_and_healed(registry, pushed, files, cache, damage):
    folder = registry.pull(pushed)
    damages(folder, blob_of(cache, files["model.bin"]))[damage]()
    assert registry.pull(pushed) == folder
    assert content_of(folder) == files
    assert registry.verify(pushed, folder) == []
    assert (folder / "model.bin").stat().st_mtime == FILE_TIME
    assert {path.name for path in folder.parent.iterdir()} == {folder.name}


def test_only_what_is_damaged_is_fetched_again(relay, pushed, files, cache):
    with podium.connect(relay.address, cache=cache) as registry:
        folder = registry.pull(pushed)
        edit(folder / "conf/deep/b")
        before = relay.down
        assert content_of(registry.pull(pushed)) == files
    assert relay.down - before < OVERHEAD


def test_damage_that_only_the_digest_shows_is_found_by_verify_and_healed_by_the_next_pull(registry, pushed, files):
    """Bits that rot on a disk change no time. A pull does not read all bytes again; verify does."""
    folder = registry.pull(pushed)
    edit(folder / "model.bin")
    os.utime(folder / "model.bin", (FILE_TIME, FILE_TIME))
    registry.pull(pushed)
    assert content_of(folder) != files
    assert registry.verify(pushed, folder) == [podium.Difference("model.bin", "changed")]
    assert content_of(registry.pull(pushed)) == files
    assert registry.verify(pushed, folder) == []


def test_somebody_who_reads_while_the_folder_is_healed_reads_on(registry, pushed, files):
    folder = registry.pull(pushed)
    with (folder / "model.bin").open("rb") as open_file:
        (folder / "conf").chmod(0o755)
        edit(folder / "conf/a.json")
        registry.pull(pushed)
        assert open_file.read() == files["model.bin"]


@pytest.mark.parametrize("number", [errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP])
def test_where_files_cannot_be_linked_they_are_copied(registry, pushed, files, cache, monkeypatch, number):
    def refuse(self, target):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    folder = registry.pull(pushed)
    assert content_of(folder) == files
    assert not (folder / "model.bin").samefile(blob_of(cache, files["model.bin"]))
    inode = (folder / "model.bin").stat().st_ino
    assert (registry.pull(pushed) / "model.bin").stat().st_ino == inode


def test_a_file_system_that_keeps_no_modes_and_times_is_told_at_once(registry, pushed, cache, monkeypatch):
    monkeypatch.setattr("podium.cache.seal", lambda _path: None)
    with pytest.raises(podium.PodiumError, match="set PODIUM_CACHE") as told:
        registry.pull(pushed)
    assert str(cache) in str(told.value)


# Verify.


def test_verify_lists_what_differs(registry, pushed, tmp_path):
    copy = registry.pull(pushed, tmp_path / "out")
    assert registry.verify(pushed, copy) == []
    (copy / "model.bin").write_bytes(b"1")
    (copy / "conf/deep/b").unlink()
    (copy / "extra").mkdir()
    (copy / "extra/x").touch()
    (copy / "empty").unlink()
    (copy / "empty").mkdir()
    assert [(found.path, found.problem) for found in registry.verify(pushed, copy)] == [
        ("conf/deep/b", "missing"),
        ("empty", "changed"),
        ("extra/x", "extra"),
        ("model.bin", "changed"),
    ]
    with pytest.raises(podium.InvalidArgument, match="is not a folder"):
        registry.verify(pushed, tmp_path / "absent")


def test_verify_follows_links_and_takes_external_files_as_they_are_known(registry, stub, model, tmp_path):
    registry.create_model(model)
    known = ExternalFile(path="known", uri="s3://b/known", digest=digest_of(b"1"), size_bytes=1)
    record = VersionRecord(external_files=[known, ExternalFile(path="unknown", uri="s3://b/unknown")])
    stub.RegisterVersion(RegisterVersionRequest(model=model, record=record, request_id=model))
    folder = tmp_path / "out"
    folder.mkdir()
    assert registry.verify(f"{model}:1", folder) == []
    (tmp_path / "elsewhere").write_text("1")
    (folder / "known").symlink_to(tmp_path / "elsewhere")
    (folder / "unknown").write_text("whatever")
    assert registry.verify(f"{model}:1", folder) == []
    (tmp_path / "elsewhere").write_text("2")
    assert registry.verify(f"{model}:1", folder) == [podium.Difference("known", "changed")]


def test_verify_tells_links_to_folders_that_the_version_does_not_have(registry, pushed, tmp_path):
    copy = registry.pull(pushed, tmp_path / "out")
    (tmp_path / "elsewhere").mkdir()
    (copy / "conf/extra").symlink_to(tmp_path / "elsewhere")
    (copy / "conf").rename(tmp_path / "moved")
    (copy / "conf").symlink_to(tmp_path / "moved")
    assert registry.verify(pushed, copy) == []  # what is behind a link that stands for a folder of the version is not looked at
    (copy / "conf").unlink()
    (tmp_path / "moved").rename(copy / "conf")
    assert registry.verify(pushed, copy) == [podium.Difference("conf/extra", "extra")]


def test_verify_breaks_no_seal_but_those_of_the_version_itself(server, registry, model, pushed, files, tmp_path):
    folder = registry.pull(pushed)
    other = push(server, model, {**files, "model.bin": b"another"}, tmp_path / "pushed")
    assert registry.verify(other, folder) == [podium.Difference("model.bin", "changed")]
    assert {path.stat().st_mtime for path in folder.rglob("*") if path.is_file()} == {FILE_TIME}


def test_verify_in_the_cache_leaves_files_behind_links_alone(registry, pushed, tmp_path):
    folder = registry.pull(pushed)
    (tmp_path / "mine").write_text("1")
    os.utime(tmp_path / "mine", (1, 1))
    writable(folder / "model.bin").unlink()
    (folder / "model.bin").symlink_to(tmp_path / "mine")
    assert registry.verify(pushed, folder) == [podium.Difference("model.bin", "changed")]
    assert (tmp_path / "mine").stat().st_mtime == 1


# Many at once.


def pull_once(address, cache, reference, results):
    with podium.connect(address, cache=cache) as registry:
        results.put(str(registry.pull(reference)))


def test_64_processes_at_once_download_once(server, relay, model, cache, tmp_path):
    files = {"big": os.urandom(8 * MIB), "sub/other": os.urandom(2 * MIB), "small": b"1"}
    pushed = push(server, model, files, tmp_path / "pushed")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["podium.api"])
    results = context.SimpleQueue()
    processes = [context.Process(target=pull_once, args=(relay.address, cache, pushed, results)) for _ in range(64)]
    for process in processes:
        process.start()
    folders = {results.get() for _ in processes}
    for process in processes:
        process.join()
    assert {process.exitcode for process in processes} == {0}
    (folder,) = folders
    assert content_of(Path(folder)) == files
    assert relay.down < 10 * MIB + 64 * 20_000


def test_who_waited_for_a_download_does_not_repeat_it(cache, monkeypatch):
    """All have seen that the file is not there before the first one fetches it."""
    content, fetched, everybody = b"content", [], threading.Barrier(8)
    seen = threading.local()

    def look(path, size):
        sealed = is_sealed(path, size)
        if not hasattr(seen, "once"):
            seen.once = True
            everybody.wait(60)
        return sealed

    def fetch(partial):
        fetched.append(partial)
        partial.write_bytes(content)

    def use():
        with podium.Cache(cache).file(digest_of(content), len(content), fetch) as path:
            assert path.read_bytes() == content

    monkeypatch.setattr("podium.cache.is_sealed", look)
    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fetched) == 1


def test_threads_of_one_process_download_once(relay, pushed, files, cache):
    folders, failures = [], []
    with podium.connect(relay.address, cache=cache) as registry:

        def pull():
            try:
                folders.append(registry.pull(pushed))
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=pull) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    assert len(set(folders)) == 1
    assert content_of(folders[0]) == files
    assert relay.down < 3 * MIB + OVERHEAD + 16 * 20_000


def test_versions_that_share_files_are_pulled_side_by_side(server, relay, model, cache, tmp_path):
    """Processes, each with several threads, hold some files and wait for others: no false deadlock, and no file comes twice."""
    shared = {f"file{number}": os.urandom(MIB) for number in range(12)}
    references = [push(server, model, {**shared, "own": bytes([n])}, tmp_path / "pushed") for n in range(6)]
    processes = [puller(relay.address, cache, reference) for reference in references]
    for process, n in zip(processes, range(6), strict=True):
        assert content_of(Path(finished(process).strip())) == {**shared, "own": bytes([n])}
    assert relay.down < 12 * MIB + 6 * 30_000


# Locks.

HOLD = """
import sys
from pathlib import Path
from podium.locks import lock_file
locks = lock_file(Path(sys.argv[1]))
assert getattr(locks, "try_" + sys.argv[2])(sys.argv[3])
print("held", flush=True)
sys.stdin.read()
"""


def holder(path, kind, digest):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, path, kind, digest], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    return process


def test_locks_between_processes_and_their_death(tmp_path):
    digest, other = digest_of(b"1"), digest_of(b"2")
    locks = lock_file(tmp_path / "locks/x")
    with holder(tmp_path / "locks/x", "exclusive", digest) as process:
        assert not locks.try_shared(digest)
        assert not locks.try_exclusive(digest)
        assert locks.try_exclusive(other)
        process.kill()
        process.wait()
        assert locks.try_exclusive(digest)
    locks.release(digest)
    locks.release(other)
    with holder(tmp_path / "locks/x", "shared", digest) as process:
        assert locks.try_shared(digest)
        locks.release(digest)
        assert not locks.try_exclusive(digest)
        process.stdin.close()
        process.wait()
        assert locks.try_exclusive(digest)
    locks.release(digest)


def test_locks_between_threads_are_the_same_as_between_processes(tmp_path):
    digest = digest_of(b"1")
    locks = lock_file(tmp_path / "locks/x")
    assert lock_file(tmp_path / "locks/x") is locks
    assert locks.try_shared(digest)
    assert locks.try_shared(digest)
    assert not locks.try_exclusive(digest)
    locks.release(digest)
    assert not locks.try_exclusive(digest)
    locks.release(digest)
    assert locks.try_exclusive(digest)
    assert not locks.try_shared(digest)
    locks.release(digest)
    assert not locks.is_taken(digest)


def test_a_wait_for_a_lock_can_be_ended(tmp_path):
    locks = lock_file(tmp_path / "locks/x")

    def give_up(_seconds):
        raise InterruptedError

    with locks.exclusive("sha256:" + "0" * 64), pytest.raises(InterruptedError), locks.shared("sha256:" + "0" * 64, give_up):
        pass
    assert not locks.is_taken("sha256:" + "0" * 64)


def test_the_lock_of_a_digest_is_the_byte_that_the_contract_says(tmp_path):
    """Other languages must find the same byte: the kernel's own list shows it."""
    locks = lock_file(tmp_path / "locks/x")
    digest = "sha256:123456789abcdef" + "f" * 49
    assert locks.try_exclusive(digest)
    place = str(0x123456789ABCDEF)
    inode = (tmp_path / "locks/x").stat().st_ino
    held = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    mine = [line for line in held if line[4] == str(os.getpid()) and line[5].endswith(f":{inode}")]
    assert [(line[1], line[3], *line[6:8]) for line in mine] == [("POSIX", "WRITE", place, place)]
    locks.release(digest)


# What is there, and pruning.

STAY = "import podium, sys; print(podium.pull(*sys.argv[1:]), flush=True); sys.stdin.read()"


def staying(address, cache, reference):
    """A process that pulled and lives on."""
    environment = {**os.environ, "PODIUM_URL": address, "PODIUM_CACHE": str(cache)}
    process = subprocess.Popen(
        [sys.executable, "-c", STAY, reference], env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline().startswith(str(cache))
    return process


def test_a_version_is_not_pruned_while_somebody_who_pulled_it_runs(server, pushed, files, cache):
    stored = podium.Cache(cache)
    with staying(server.address, cache, pushed) as process:
        (entry,) = stored.entries()
        assert (entry.kind, entry.in_use, entry.size_bytes) == ("version", True, sum(map(len, files.values())))
        assert stored.prune(0) == podium.Pruned((), 0)
        assert content_of(entry.path) == files
        process.stdin.close()
        process.wait()
    (entry,) = stored.entries()
    assert not entry.in_use
    assert stored.prune() == podium.Pruned((), 0)  # it was used just now
    assert stored.prune(0) == podium.Pruned((entry,), entry.size_bytes)
    assert stored.entries() == []
    assert not [path for path in cache.rglob("*") if path.is_file() and path.parent.name != "locks"]


def test_pruning_goes_by_the_last_pull(server, model, files, pushed, cache, tmp_path):
    second = push(server, model, {**files, "new": os.urandom(MIB)}, tmp_path / "pushed")
    old, new = (Path(finished(puller(server.address, cache, reference)).strip()) for reference in (pushed, second))
    long_ago = time.time() - 31 * 86_400
    for folder in (old, new):
        os.utime(folder, (long_ago, long_ago))
    finished(puller(server.address, cache, second))
    pruned = podium.Cache(cache).prune()
    assert [entry.path for entry in pruned.entries] == [old]
    assert pruned.freed_bytes == 0  # the other version has all of its files
    assert content_of(new).keys() == {*files, "new"}
    assert [entry.path for entry in podium.Cache(cache).prune(0).entries] == [new]


def test_starts_and_leftovers_are_pruned(server, pushed, cache):
    stored = podium.Cache(cache)
    folder = Path(finished(puller(server.address, cache, pushed)).strip())
    partial = stored.partial_path(digest_of(b"never finished"))
    partial.write_bytes(b"never")
    for name in (f"{folder.name}.new", f"{folder.name}.old"):
        shutil.copytree(folder, folder.with_name(name))
    (folder.parent / ".DS_Store").touch()
    assert sorted(entry.kind for entry in stored.entries()) == ["partial", "version"]
    locks = lock_file(cache.resolve() / "v1/locks/blobs")
    with holder(cache.resolve() / "v1/locks/blobs", "exclusive", digest_of(b"never finished")) as process:
        assert [entry.kind for entry in stored.prune(0).entries] == ["version"]
        process.kill()
    assert not locks.is_taken(digest_of(b"never finished"))
    pruned = stored.prune(0)
    assert [(entry.kind, entry.size_bytes) for entry in pruned.entries] == [("partial", 5)]
    assert [path.name for path in folder.parent.iterdir()] == [".DS_Store"]


def test_files_of_a_pull_that_did_not_end_are_kept_for_a_while(registry, pushed, monkeypatch):
    monkeypatch.setattr(Path, "hardlink_to", lambda *_: os.link("/absent", "/absent"))
    with pytest.raises(FileNotFoundError):
        registry.pull(pushed)
    monkeypatch.undo()
    assert "file" in {entry.kind for entry in registry.cache.entries()}
    assert registry.cache.prune().entries == ()
    pruned = registry.cache.prune(0)
    assert pruned.freed_bytes == sum(entry.size_bytes for entry in pruned.entries)
    assert registry.cache.entries() == []


def test_a_cache_that_is_not_there_is_empty(tmp_path):
    stored = podium.Cache(tmp_path / "absent")
    assert stored.entries() == []
    assert stored.prune(0) == podium.Pruned((), 0)


def test_where_the_cache_is(tmp_path, monkeypatch):
    monkeypatch.setenv("PODIUM_CACHE", str(tmp_path / "named"))
    assert podium.Cache().root == tmp_path / "named"
    for given in (tmp_path / "given", str(tmp_path / "given")):
        assert podium.connect(cache=given).cache.root == tmp_path / "given"
    registry = podium.connect()
    assert registry.cache.root == tmp_path / "named"
    monkeypatch.setenv("PODIUM_CACHE", str(tmp_path / "renamed"))
    assert registry.cache.root == tmp_path / "renamed"
    monkeypatch.delenv("PODIUM_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert podium.Cache().root == tmp_path / ".cache/podium"


def test_one_lock_file_by_two_paths_is_one(tmp_path):
    """Else each would have a table of its own, and exclude nobody."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    first = lock_file(tmp_path / "real" / "locks")
    assert lock_file(tmp_path / "link" / "locks") is first
    (tmp_path / "real" / "locks").unlink()
    assert lock_file(tmp_path / "real" / "locks") is not first
