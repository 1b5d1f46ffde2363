"""The folder of a sidecar: whole versions, a link that moves in one step, and no harm by a crash, a full disk or others."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from hashlib import sha256
from pathlib import Path

import podium
import pytest
from disks import SmallDisk
from podium.rollout import Rollout
from podium.v1.resolve_pb2 import Target
from processes import Process

PAGE = 4096
SCRIPT = Path(__file__).with_name("rollout_crashes.py")


class Made:
    """A version and its files, as they are in the cache. Each file says which version it is of."""

    def __init__(self, folder, number, *, words="", uid="model"):
        text = f"{number}{words}"
        digest = f"sha256:{sha256(text.encode()).hexdigest()}"
        self.target = Target(model="m", model_uid=uid, number=number, version=f"1.{number}.0", digest=digest)
        self.source = folder / "cache" / digest.removeprefix("sha256:")
        self.content = {"a": text.encode(), "b": text.encode() * 1000, "deep/c": text.encode()}
        for path, data in self.content.items():
            (self.source / path).parent.mkdir(parents=True, exist_ok=True)
            (self.source / path).write_bytes(data)


@pytest.fixture
def made(tmp_path):
    """Makes versions: `made(2)`."""

    def make(number, **values):
        return Made(tmp_path, number, **values)

    return make


@pytest.fixture
def place(tmp_path):
    return tmp_path / "serving"


@pytest.fixture
def rollout(place):
    with Rollout(place) as kept:
        yield kept


def put(rollout, version):
    return rollout.switch(version.target, version.source)


def content_of(folder):
    """All that is in a folder: files with their bytes, everything else with what it is."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = path.readlink()
        elif path.is_file():
            found[name] = path.read_bytes()
    return found


def visible(place):
    """The names that a serving system sees."""
    return {path.name for path in place.iterdir() if not path.name.startswith(".")}


def versions(place):
    """The folders of versions by name."""
    return {path.name: content_of(path) for path in place.iterdir() if path.is_dir() and path.name[0].isdigit()}


def numbers(place):
    """The numbers of the versions that are there, of which each is whole."""
    return {int(content["a"]) for content in versions(place).values()}


# What is there.


def test_a_version_is_a_folder_and_current_is_a_link_to_it(rollout, place, made):
    first = made(1)
    assert rollout.current is None
    assert put(rollout, first)
    assert visible(place) == {"1.1.0", "current"}
    assert (place / "current").readlink() == Path("1.1.0")
    assert content_of(place / "current") == first.content
    assert (rollout.current.number, rollout.current.digest, rollout.path) == (1, first.target.digest, place / "1.1.0")


def test_others_may_read_it_and_its_files_are_its_own(rollout, place, made):
    first = made(1)
    for path in first.source.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    put(rollout, first)
    umask = os.umask(0)
    os.umask(umask)
    assert {path.stat().st_mode & 0o777 for path in (place / "1.1.0").rglob("*") if path.is_file()} == {0o666 & ~umask}
    assert (place / "1.1.0").stat().st_mode & 0o777 == 0o777 & ~umask
    (place / "current" / "a").write_text("changed")
    assert (first.source / "a").read_text() == "1"


def test_what_is_there_is_not_made_again(rollout, place, made):
    put(rollout, made(1))
    before = {path: path.stat(follow_symlinks=False).st_ino for path in place.rglob("*")}
    assert not put(rollout, made(1))
    rollout.prune(1)
    assert {path: path.stat(follow_symlinks=False).st_ino for path in place.rglob("*")} == before


def test_back_and_forth_makes_no_folder_anew(rollout, place, made):
    put(rollout, made(1))
    put(rollout, made(2))
    inodes = {path: path.stat().st_ino for path in place.glob("1.*/**/*")}
    for number in (1, 2, 1):
        assert put(rollout, made(number))
        assert content_of(place / "current") == made(number).content
        assert rollout.current.number == number
    assert {path: path.stat().st_ino for path in place.glob("1.*/**/*")} == inodes


def test_numbers_as_names(place, made):
    with Rollout(place, naming="number") as rollout:
        for number in (9, 10):
            put(rollout, made(number))
        assert visible(place) == {"9", "10", "current"}
        assert (place / "current").readlink() == Path("10")
    with Rollout(place) as rollout:  # from now on by version
        put(rollout, made(10))
        assert visible(place) == {"9", "10", "1.10.0", "current"}
        rollout.prune(1)
        assert visible(place) == {"1.10.0", "current"}


# A reader at any moment.


class Reader:
    """A thread that opens what is current in a loop, until the block ends; what it saw, and what failed."""

    def __init__(self, place):
        self.place, self.seen, self.failed = place, [], []
        self._turned = threading.Condition()
        self._turns = 0
        self._ends = False
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ends = True
        self._thread.join()

    def turn(self):
        """Waits until it has begun and ended another round."""
        with self._turned:
            goal = self._turns + 2
            assert self._turned.wait_for(lambda: self._turns >= goal or self.failed, 60)

    def _run(self):
        while not self._ends and not self.failed:
            try:
                self._look()
            except Exception as error:
                self.failed.append(error)
            with self._turned:
                self._turns += 1
                self._turned.notify_all()

    def _look(self):
        by_path = int((self.place / "current" / "a").read_bytes())
        folder = os.open(self.place / "current", os.O_RDONLY | os.O_DIRECTORY)
        try:
            files = [os.open(name, os.O_RDONLY, dir_fd=folder) for name in ("a", "deep/c", "b", "a")]
            texts = [os.read(file, 10) for file in files]
            for file in files:
                os.close(file)
        finally:
            os.close(folder)
        resolved = (self.place / "current").resolve()
        again = {int((resolved / name).read_bytes()) for name in ("a", "deep/c")}
        assert texts[0] == texts[1] == texts[3] and texts[2].startswith(texts[0]), texts
        assert len(again) == 1, again
        self.seen += [by_path, int(texts[0]), *again]


def test_a_reader_never_fails_and_never_sees_two_versions_as_one(rollout, place, made):
    every = [made(number) for number in range(1, 61)]
    put(rollout, every[0])
    with Reader(place) as reader:
        for version in every[1:]:
            put(rollout, version)
            rollout.prune(3)
            reader.turn()
    assert reader.failed == []
    assert reader.seen == sorted(reader.seen), "a step back"
    assert set(reader.seen) == set(range(1, 61))


# What stays, and what is whose.


def test_the_last_that_were_current_are_kept(rollout, place, made):
    for number in (1, 2, 3, 4):
        put(rollout, made(number))
    rollout.prune(3)
    assert numbers(place) == {2, 3, 4}
    put(rollout, made(2))
    rollout.prune(2)
    assert numbers(place) == {2, 4}
    assert [placed.number for placed in rollout.placed] == [4, 2]
    rollout.prune(1)
    assert numbers(place) == {2}


def test_what_it_did_not_make_is_never_touched(place, made):
    (place / "9.9.9").mkdir(parents=True)
    (place / "9.9.9" / "a").write_text("9")
    (place / "notes").write_text("mine")
    (place / "1.2.0").mkdir()
    for _ in range(2):
        with Rollout(place) as rollout:
            for number in (1, 3, 4):
                put(rollout, made(number))
                rollout.prune(1)
            before = content_of(place)
            with pytest.raises(podium.InvalidArgument, match=r"1\.2\.0 is there and was not made by podium: move it away"):
                put(rollout, made(2))
            assert content_of(place) == before
    assert visible(place) == {"9.9.9", "notes", "1.2.0", "1.4.0", "current"}
    assert (place / "9.9.9" / "a").read_text() == "9"
    (place / "1.2.0").rmdir()
    with Rollout(place) as rollout:
        assert put(rollout, made(2))


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_something_else_called_current_is_not_touched(rollout, place, made, kind):
    current = place / "current"
    current.mkdir() if kind == "folder" else current.write_text("mine")
    with pytest.raises(podium.InvalidArgument, match="current is there and was not made by podium"):
        put(rollout, made(1))
    assert visible(place) == {"current"}


def test_a_link_that_somebody_turned_is_turned_back(rollout, place, made):
    put(rollout, made(1))
    put(rollout, made(2))
    (place / "current").unlink()
    (place / "current").symlink_to("1.1.0")
    assert rollout.current.number == 1
    assert put(rollout, made(2))
    assert content_of(place / "current") == made(2).content


def test_a_second_keeper_is_refused(place, made):
    with Rollout(place) as rollout:
        with pytest.raises(podium.AlreadyExists, match=f"another process keeps {place}"):
            Rollout(place)
        put(rollout, made(1))
    code = f"from pathlib import Path; from podium.rollout import Rollout\nwith Rollout(Path({str(place)!r})): print(1); input()"
    with Process([sys.executable, "-c", code], stdin=subprocess.PIPE) as other:
        assert other.line() == "1"
        with pytest.raises(podium.AlreadyExists):
            Rollout(place)
        other.end(signal.SIGKILL)
        other.popen.stdin.close()
    with Rollout(place) as rollout:
        assert rollout.current.number == 1


@pytest.mark.parametrize("version", ["../1.0.0", "..", ".", "", "a/b", "/tmp/x", "current", ".podium.json", "1\n", "1\0"])
def test_a_version_that_is_no_name_goes_nowhere(rollout, place, made, version, tmp_path):
    first = made(1)
    before = content_of(tmp_path)
    with pytest.raises(podium.HostileServer):
        rollout.switch(Target(model_uid="m", number=1, version=version, digest=first.target.digest), first.source)
    assert content_of(tmp_path) == before
    assert visible(place) == set()


# Damage.


def unlink_and(do):
    def harm(folder):
        (folder / "a").unlink()
        do(folder)

    return harm


DAMAGES = {
    "bytes": lambda folder: (folder / "b").write_bytes(b"x" + (folder / "b").read_bytes()[1:]),
    "shorter": lambda folder: os.truncate(folder / "b", 10),
    "removed": lambda folder: (folder / "deep/c").unlink(),
    "added": lambda folder: (folder / "deep/d").write_text("more"),
    "folder": lambda folder: (folder / "empty").mkdir(),
    "link": lambda folder: (folder / "deep/elsewhere").symlink_to("/"),
    "nowhere": lambda folder: (folder / "broken").symlink_to("nowhere"),
    "away": unlink_and(lambda folder: (folder / "a").symlink_to("deep/c")),
    "pipe": unlink_and(lambda folder: os.mkfifo(folder / "a")),
    "gone": shutil.rmtree,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("which", [1, 2])
def test_a_damaged_folder_is_noticed_and_healed_at_the_next_start(place, made, damage, which):
    with Rollout(place) as rollout:
        put(rollout, made(1))
        put(rollout, made(2))
        rollout.told()
    DAMAGES[damage](place / f"1.{which}.0")
    with Rollout(place) as rollout:
        assert put(rollout, made(which))
        assert not rollout.is_told
        assert versions(place)[f"1.{which}.0"] == content_of(place / "current") == made(which).content
        assert not put(rollout, made(which))
        rollout.told()
        assert rollout.is_told
        rollout.prune(2)
        assert numbers(place) == {1, 2}


def test_a_folder_of_the_same_version_with_another_digest_is_replaced(place, made):
    """As after a registry was restored, and another 1.2.0 was registered."""
    with Rollout(place) as rollout:
        put(rollout, made(1))
        put(rollout, made(2))
        rollout.told()
        other = made(2, words="0")
        assert put(rollout, other)
        assert not rollout.is_told
        assert content_of(place / "current") == other.content
        assert not put(rollout, other)
    with Rollout(place) as rollout:
        assert rollout.current.digest == other.target.digest
        assert not put(rollout, other)
        assert put(rollout, made(2))
        assert content_of(place / "current") == made(2).content
        assert numbers(place) == {1, 2}


def test_the_same_bytes_of_another_registry_stay(rollout, place, made):
    put(rollout, made(1))
    rollout.told()
    inode = (place / "1.1.0" / "a").stat().st_ino
    assert put(rollout, made(1, uid="another"))
    assert not rollout.is_told
    assert rollout.current.model_uid == "another"
    assert (place / "1.1.0" / "a").stat().st_ino == inode


STATES = [
    "",
    "{",
    "\xff",
    "[]",
    "{}",
    '{"placed": 3, "told": ""}',
    '{"placed": []}',
    '{"placed": [{}], "told": ""}',
    json.dumps({"placed": [{"folder": "../x", "model_uid": "", "number": 1, "version": "", "digest": ""}], "told": ""}),
    json.dumps({"placed": [{"folder": 1, "model_uid": "", "number": 1, "version": "", "digest": ""}], "told": ""}),
]


@pytest.mark.parametrize("state", STATES)
def test_a_damaged_state_is_one_line(place, made, state, tmp_path):
    with Rollout(place) as rollout:
        put(rollout, made(1))
    good = (place / ".podium.json").read_bytes()
    (place / ".podium.json").write_text(state, "latin-1")
    before = content_of(tmp_path)
    for _ in range(2):  # the lock is free again
        with pytest.raises(podium.InvalidArgument) as told:
            Rollout(place)
        assert str(told.value) == f"{place}/.podium.json is damaged: move {place} away, or name another folder"
    assert content_of(tmp_path) == before
    (place / ".podium.json").write_bytes(good)
    with Rollout(place) as rollout:
        assert rollout.current.number == 1


# Who was told.


def test_whether_the_last_switch_was_told_is_known_over_restarts(place, made):
    with Rollout(place) as rollout:
        assert not rollout.is_told
        put(rollout, made(1))
        assert not rollout.is_told
    with Rollout(place) as rollout:
        assert not rollout.is_told
        rollout.told()
        assert rollout.is_told
    with Rollout(place) as rollout:
        assert rollout.is_told
        put(rollout, made(1))
        assert rollout.is_told
        put(rollout, made(2))
        assert not rollout.is_told
        put(rollout, made(1))
        assert not rollout.is_told


# Failures.


@pytest.fixture
def disk(place):
    small = SmallDisk(place, 1 << 20)
    yield small
    small.close()


def test_a_full_disk_leaves_everything_as_it_was(disk, place, made):
    """Page by page there is more room, until there is enough: each attempt before that fails at another step."""
    second, failures = made(2, words="0" * 30), 0
    with Rollout(place) as rollout:
        put(rollout, made(1))
        rollout.told()
        before, status = content_of(place), os.statvfs(place)
        used = (status.f_blocks - status.f_bfree) * status.f_frsize if disk.mounted else 0
        for pages in range(1, 40):
            disk.resize(used + pages * PAGE, os.getpid())
            try:
                put(rollout, second)
                break
            except (OSError, podium.DiskFull) as error:
                assert "\n" not in str(error)
                failures += 1
            seen = content_of(place)
            assert {name: data for name, data in seen.items() if not name.startswith(".podium-")} == before
            assert (rollout.current.number, rollout.is_told) == (1, True)
            assert not put(rollout, made(1)), "it goes on with what there is"
        assert failures >= 3
        assert content_of(place / "current") == second.content
        rollout.prune(1)
        assert versions(place) == {"1.2.0": second.content}
    with Rollout(place) as rollout:
        assert not put(rollout, second)


def test_a_copy_that_fails_leaves_nothing(rollout, place, made, monkeypatch):
    copyfile = shutil.copyfile

    def fail(source, target):
        if source.name == "c":
            raise OSError(5, "Input/output error", str(source))
        copyfile(source, target)

    put(rollout, made(1))
    before = content_of(place)
    monkeypatch.setattr(shutil, "copyfile", fail)
    with pytest.raises(OSError, match="Input/output error"):
        put(rollout, made(2))
    assert content_of(place) == before
    assert {path.name for path in place.iterdir()} == {".podium.json", ".podium.lock", "1.1.0", "current"}


def test_what_a_killed_process_left_is_removed(place, made):
    with Rollout(place) as rollout:
        put(rollout, made(1))
    for name in (".podium-old", ".podium-x1y2"):
        shutil.copytree(made(1).source, place / name / "new")
        (place / name / "new" / "deep").chmod(0o500)
    (place / ".podium-current").symlink_to("1.1.0")
    (place / ".podium-state").write_text("{")
    with Rollout(place) as rollout:
        assert rollout.current.number == 1
        assert {path.name for path in place.iterdir()} == {".podium.json", ".podium.lock", "1.1.0", "current"}


# Crashes.


@pytest.fixture(scope="module")
def crashes():
    """Ask it to go from one version to another, and to be killed at a certain step: whether there was such a step."""
    with Process([sys.executable, SCRIPT], stdin=subprocess.PIPE) as driver:

        def ask(place, version, log, step):
            target = {name: getattr(version.target, name) for name in ("model_uid", "number", "version", "digest")}
            asked = {"place": str(place), "target": target, "source": str(version.source), "log": str(log), "step": step}
            print(json.dumps(asked), file=driver.popen.stdin, flush=True)
            return driver.line() == "killed"

        yield ask
        driver.popen.stdin.close()
        assert driver.wait() == 0


@pytest.mark.parametrize("case", ["next", "back", "replaced", "damaged"])
def test_killed_at_any_step_it_goes_on(place, made, crashes, tmp_path, monkeypatch, case):
    """A process is killed before each step that changes something on disk; whatever is wanted then, it comes to be."""
    first, second = made(1), made(2)
    wanted = {"next": made(3), "back": first, "replaced": made(2, words="0"), "damaged": second}[case]
    monkeypatch.setattr(os, "fsync", lambda _: None)  # no power fails here
    begun, again, log = tmp_path / "begun", tmp_path / "again", tmp_path / "log"
    with Rollout(begun) as rollout:
        for version in (first, second):
            put(rollout, version)
            rollout.told()
    if case == "damaged":
        DAMAGES["bytes"](begun / "1.2.0")
    (begun / "9.9.9").mkdir()
    (begun / "9.9.9" / "a").write_text("9")
    whole = [first.content, second.content, wanted.content, {"a": b"9"}]
    if case == "damaged":
        whole.append(content_of(begun / "1.2.0"))
    step, was_killed = 0, True
    while was_killed:
        step += 1
        copy(begun, place)
        log.write_text("")
        was_killed = crashes(place, wanted, log, step)
        if case in ("next", "back") or not was_killed:
            assert content_of(place / "current") in (second.content, wanted.content)
        assert all(content in whole for content in versions(place).values())
        logged = log.read_text()
        for goal, other in ((second, wanted), (wanted, second)):
            copy(place, again)
            log.write_text(logged)
            with Rollout(again) as rollout:
                was_told = rollout.is_told and rollout.current.digest == goal.target.digest
                put(rollout, goal)
                assert content_of(again / "current") == goal.content
                tell(rollout, log)
                rollout.prune(2)
                assert rollout.is_told
                assert rollout.current == rollout.placed[-1]
                assert versions(again).keys() - {"9.9.9"} == {placed.folder for placed in rollout.placed}
                assert 1 <= len(rollout.placed) <= 2
                assert not [path for path in again.iterdir() if path.name.startswith(".podium-")]
                assert content_of(again / "9.9.9") == {"a": b"9"}
                lines = log.read_text().splitlines()
                if was_told and case != "damaged":
                    assert lines == logged.splitlines(), "nobody is told for nothing"
                else:
                    assert lines[-1] == goal.target.digest, "somebody is told at least once"
                put(rollout, other)
                assert content_of(again / "current") == other.content, "nothing is in the way"
    assert step > (8 if case == "back" else 20)


def copy(source, target):
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, symlinks=True)


def tell(rollout, log):
    if not rollout.is_told:
        with log.open("a") as file:
            file.write(f"{rollout.current.digest}\n")
        rollout.told()
