"""podium follow and podium materialize as a serving system has them: processes, a real server, real folders."""

import fcntl
import json
import os
import re
import shutil
import signal
import sys
import time
from pathlib import Path

import podium as client
import pytest
from disks import SmallDisk
from following import HEARTBEAT, copy_data, push, replace_data, start_again
from http_load import Load
from processes import Process
from streams import digest_of, until
from test_cli import Terminal

SERVER_OPTIONS = HEARTBEAT
FOLLOW = """
import sys
from podium.cli import follow, run
follow.AGAIN_SECONDS, follow.PATIENCE_SECONDS = {}, {}
sys.exit(run(sys.argv[1:]))
"""
MIB = 1 << 20


@pytest.fixture
def podium(server, tmp_path):
    return Terminal(server.address, tmp_path)


@pytest.fixture
def registry(server):
    with client.connect(server.address) as connected:
        yield connected


@pytest.fixture
def place(tmp_path):
    return tmp_path / "serving"


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log"
    path.write_text("")
    return path


def following(terminal, reference, place, *arguments, again=5, patience=60, **options):
    """`podium follow` until the block ends, which tries again after so many seconds, and waits so long for a registry."""
    command = [sys.executable, "-c", FOLLOW.format(again, patience), "follow", reference, "--into", place, *arguments]
    return Process(command, env=terminal.environment, cwd=terminal.home, **options)


def ends(sidecar, *errors):
    """It ends at once and in order; what it said that was not read yet is this."""
    assert sidecar.end(signal.SIGTERM) == 0
    assert sidecar.rest() == ([], list(errors))


def move(address, number):
    with client.connect(address) as registry:
        registry.set_alias("m", "champion", number)


def says(folder):
    """What the file of a version says."""
    return int((folder / "n").read_text().split()[-1])


def folders(place):
    return {path.name for path in place.iterdir() if not path.name.startswith(".")}


def lines_of(log):
    return log.read_text().split()


# A switch.


def test_it_switches_and_runs_the_command_after_each_switch(podium, registry, model, place):
    """The command finds in its environment what is current, and the link is there already."""
    command = "env | grep ^PODIUM_; ls serving; cat $PODIUM_PATH/n; echo; readlink serving/current; echo end"
    made = {"current"}
    with following(podium, f"{model}@champion", "serving", "--exec", command) as sidecar:
        for number, before in ((1, ""), (2, ", was 1.0.0"), (3, ", was 1.0.1"), (1, ", was 1.0.2")):
            registry.set_alias(model, "champion", number)
            target = registry.resolve(f"{model}:{number}")
            assert sidecar.line() == f"{model}@champion → {target.version}{before}  serving/{target.version}"
            heard = list(iter(sidecar.error, "end"))
            made.add(target.version)
            assert set(heard) >= made | {
                f"PODIUM_REFERENCE={model}@champion",
                f"PODIUM_MODEL={model}",
                f"PODIUM_VERSION={target.version}",
                f"PODIUM_NUMBER={number}",
                f"PODIUM_DIGEST={target.digest}",
                f"PODIUM_PATH={place}/{target.version}",
            }
            assert heard[-2:] == [f"{model} {number}", target.version]
            assert says(place / "current") == number
        until(lambda: folders(place) == made - {"1.0.1"})
        ends(sidecar)


def test_lines_in_json_are_all_that_stdout_has(podium, registry, model, place):
    options = ("--json", "--folders", "number", "--exec", "echo noise")
    with following(podium, f"{model}@champion", place, *options) as sidecar:
        for number, before in ((1, ""), (2, "1.0.0")):
            registry.set_alias(model, "champion", number)
            said = json.loads(sidecar.line())
            assert (said["reference"], said["number"], said["previous_version"]) == (f"{model}@champion", number, before)
            assert (said["version"], said["path"]) == (f"1.0.{number - 1}", f"{place}/{number}")
            assert said["digest"] == registry.resolve(f"{model}:{number}").digest
            assert sidecar.error() == "noise"
        ends(sidecar)


@pytest.mark.parametrize("keep", [1, 3])
def test_the_last_are_kept(podium, registry, model, place, keep):
    with following(podium, f"{model}@latest", place, "--keep", keep, "--folders", "number") as sidecar:
        assert sidecar.line() == f"{model}@latest → 1.0.2  {place}/3"
        for number in (4, 5, 6):
            push(registry, model, podium.home)
            assert sidecar.line().endswith(f"  {place}/{number}")
        until(lambda: folders(place) == {"current", *map(str, range(7 - keep, 7))})
        ends(sidecar)


def test_the_old_one_is_there_until_the_command_has_run(podium, registry, model, place):
    with following(podium, f"{model}@champion", place, "--keep", "1", "--exec", "ls serving; echo end") as sidecar:
        assert list(iter(sidecar.error, "end")) == ["1.0.0", "current"]
        registry.set_alias(model, "champion", 2)
        assert list(iter(sidecar.error, "end")) == ["1.0.0", "1.0.1", "current"]
        until(lambda: folders(place) == {"1.0.1", "current"})
        assert sidecar.end() == 0


# Who is told, and how often.


def test_the_command_does_not_run_for_nothing_after_a_restart(podium, registry, model, place, log):
    command = ("--exec", "echo $PODIUM_NUMBER >> log")
    with following(podium, f"{model}@champion", place, *command) as sidecar:
        sidecar.line()
        is_told(place, 1)
        sidecar.end(signal.SIGKILL)
    with following(podium, f"{model}@champion", place, *command) as sidecar:
        until(lambda: is_kept(place))
        registry.set_alias(model, "champion", 2)
        assert sidecar.line() == f"{model}@champion → 1.0.1, was 1.0.0  {place}/1.0.1"
        is_told(place, 2)
        ends(sidecar)
    assert lines_of(log) == ["1", "2"]


def is_told(place, number):
    """Waits until it is written down that the command has run for this version."""
    until(lambda: f'"told": "1.0.{number - 1}"' in (place / ".podium.json").read_text())


def is_kept(place):
    """Whether a process keeps the folder."""
    with (place / ".podium.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_command_runs_again_if_it_was_not_seen_to_end(podium, model, place, log, number):
    """The sidecar ends while the command runs for the first time, which is after the switch."""
    os.mkfifo(podium.home / "waits")
    waits = os.open(podium.home / "waits", os.O_RDWR)
    command = ("--exec", "echo $PODIUM_NUMBER >> log; test $(grep -c 1 log) = 2 || read go < waits")
    with following(podium, f"{model}@champion", place, *command) as sidecar:
        sidecar.line()
        until(lambda: lines_of(log))
        sidecar.popen.send_signal(number)
        assert sidecar.popen.wait(60) == (0 if number == signal.SIGTERM else -number)
        assert says(place / "current") == 1
        os.write(waits, b"go\n")  # a shell that outlived it would hold its stderr
    with following(podium, f"{model}@champion", place, *command) as sidecar:
        until(lambda: lines_of(log) == ["1", "1"])
        is_told(place, 1)
        ends(sidecar)
    os.close(waits)


def test_a_command_that_fails_is_run_again_until_it_does_not(podium, registry, model, place, log):
    """Until then the version before it stays, whoever still uses it."""
    command = "echo $PODIUM_NUMBER >> log; test $(grep -c $PODIUM_NUMBER log) -ge 3"
    with following(podium, f"{model}@champion", place, "--keep", "1", "--exec", command, again=0.1) as sidecar:
        for number in (1, 2):
            registry.set_alias(model, "champion", number)
            assert sidecar.line().startswith(f"{model}@champion → 1.0.{number - 1}")
            assert sidecar.error() == f"podium: {command!r} ended with exit code 1; it is tried again"
            assert sidecar.error() == "podium: all is well again"
        ends(sidecar)
    assert lines_of(log) == ["1", "1", "1", "2", "2", "2"]


# What the registry says, or does not.


def test_a_registry_that_is_away_is_waited_for_and_what_is_there_stays(own, place, tmp_path, log):
    server, relay = own
    terminal = Terminal(relay.address, tmp_path)
    command = ("--exec", "echo $PODIUM_NUMBER >> log")
    server.kill()
    with following(terminal, "m@champion", place, *command, patience=0.1) as sidecar:
        assert re.fullmatch(r"podium: .*; waiting for it", sidecar.error())
        assert folders(place) == set()
        start_again(server, relay)
        assert sidecar.line() == f"m@champion → 1.0.0  {place}/1.0.0"
        is_told(place, 1)
        server.kill()
        assert "podium: the registry does not answer; what is there stays" in iter(sidecar.error, None)
        assert says(place / "current") == 1
        assert sidecar.end() == 0
    with following(terminal, "m@champion", place, *command, patience=0.1) as sidecar:  # from the cache
        assert sidecar.error() == "podium: the registry does not answer; what is there stays"
        assert says(place / "current") == 1
        ends(sidecar)
    for folder in [path for path in (tmp_path / "cache").rglob("*") if path.is_dir()]:
        folder.chmod(0o700)
    shutil.rmtree(tmp_path / "cache")
    with following(terminal, "m@champion", place, *command, patience=0.1) as sidecar:
        assert re.fullmatch(r"podium: .*; waiting for it", sidecar.error())
        assert says(place / "current") == 1
        start_again(server, relay)
        move(server.address, 2)
        assert sidecar.line() == f"m@champion → 1.0.1, was 1.0.0  {place}/1.0.1"
        is_told(place, 2)
        assert sidecar.end() == 0
    assert lines_of(log) == ["1", "2"]


def test_gone_and_unservable_change_nothing_and_are_said(podium, registry, model, place):
    with following(podium, f"{model}@champion", place) as sidecar:
        sidecar.line()
        registry.delete_alias(model, "champion")
        assert sidecar.error() == f"podium: {model}@champion means nothing any more; what is there stays"
        registry.set_alias(model, "champion", 2)
        assert sidecar.line() == f"{model}@champion → 1.0.1, was 1.0.0  {place}/1.0.1"
        assert sidecar.error() == "podium: all is well again"
        registry.transition(f"{model}:2", "deprecated")
        assert re.fullmatch(rf"podium: {model}@champion may not serve \(.*deprecated.*\); what is there stays", sidecar.error())
        assert says(place / "current") == 2
        registry.transition(f"{model}:2", "production")
        assert sidecar.error() == "podium: all is well again"
        ends(sidecar)
    assert folders(place) == {"1.0.0", "1.0.1", "current"}


def test_a_registry_that_was_restored_is_obeyed_and_said(own, place, tmp_path):
    """The backup knows another 1.0.3 than the one that is current."""
    server, relay = own
    terminal = Terminal(relay.address, tmp_path)
    server.stop()
    copy_data(server, tmp_path / "backup")
    start_again(server, relay)
    with client.connect(relay.address) as registry, following(terminal, "m@champion", place) as sidecar:
        sidecar.line()
        push(registry, "m", tmp_path, content=b"lost", aliases=["champion"])
        assert sidecar.line() == f"m@champion → 1.0.3, was 1.0.0  {place}/1.0.3"
        assert (place / "current" / "content").read_text() == "lost"
        server.kill()
        replace_data(server, tmp_path / "backup")
        start_again(server, relay)
        assert sidecar.error() == "podium: the registry does not answer; what is there stays"
        assert sidecar.line() == f"m@champion → 1.0.0, was 1.0.3  {place}/1.0.0"
        errors = iter(sidecar.error, None)
        assert any("the registry was restored to an older state, or is another one" in error for error in errors)
        push(registry, "m", tmp_path, content=b"other", aliases=["champion"])
        assert sidecar.line() == f"m@champion → 1.0.3, was 1.0.0  {place}/1.0.3"
        assert (place / "current" / "content").read_text() == "other"
        assert sidecar.error() == "podium: all is well again"
        ends(sidecar)


# What cannot be had.


def test_bytes_that_the_server_lost_leave_the_old_version(server, podium, registry, model, place):
    blob_of(server, f"{model} 2").unlink()
    with following(podium, f"{model}@champion", place) as sidecar:
        sidecar.line()
        registry.set_alias(model, "champion", 2)
        assert sidecar.error().startswith(f"podium: {model}:2 cannot be had: ")
        assert says(place / "current") == 1
        assert folders(place) == {"1.0.0", "current"}
        (podium.home / "pushed" / "n").write_text(f"{model} 2")
        assert not registry.push(model, podium.home / "pushed").created
        assert sidecar.line() == f"{model}@champion → 1.0.1, was 1.0.0  {place}/1.0.1"
        assert sidecar.error() == "podium: all is well again"
        ends(sidecar)


def blob_of(server, content):
    digest = digest_of(content.encode())
    return server.data / "blobs" / "sha256" / digest[7:9] / digest[7:]


@pytest.fixture
def disk(place):
    small = SmallDisk(place, MIB)
    yield small
    small.close()


def test_a_full_disk_leaves_the_old_version_until_there_is_room(disk, podium, registry, model, place):
    push(registry, model, podium.home, content=b"x" * 3 * MIB)
    with client.connect(podium.environment["PODIUM_URL"], cache=podium.home / "cache") as cached:
        cached.pull(f"{model}:4")
    with following(podium, f"{model}@champion", place, again=0.1) as sidecar:
        sidecar.line()
        disk.resize(MIB, sidecar.pid)
        registry.set_alias(model, "champion", 4)
        assert re.fullmatch(r"podium: .*(no room|too large).*; it is tried again", sidecar.error())
        assert says(place / "current") == 1
        assert folders(place) == {"1.0.0", "current"}
        disk.resize(8 * MIB, sidecar.pid)
        assert sidecar.line() == f"{model}@champion → 1.0.3, was 1.0.0  {place}/1.0.3"
        assert sidecar.error() == "podium: all is well again"
        ends(sidecar)


def test_what_is_in_the_way_is_said_and_not_touched(podium, registry, model, place):
    (place / "1.0.1").mkdir(parents=True)
    with following(podium, f"{model}@champion", place, again=0.1) as sidecar:
        sidecar.line()
        registry.set_alias(model, "champion", 2)
        assert re.fullmatch(r"podium: .*1\.0\.1 is there and was not made by podium.*; it is tried again", sidecar.error())
        assert says(place / "current") == 1
        (place / "1.0.1").rmdir()
        assert sidecar.line() == f"{model}@champion → 1.0.1, was 1.0.0  {place}/1.0.1"
        assert sidecar.error() == "podium: all is well again"
        ends(sidecar)


# Its beginning and its end.


def test_one_folder_has_one_keeper(podium, model, place):
    with following(podium, f"{model}@champion", place) as sidecar:
        sidecar.line()
        assert "another process keeps" in podium.error(5, "follow", f"{model}@champion", "--into", place)
        assert "another process keeps" in podium.error(5, "materialize", f"{model}@champion", place)
        ends(sidecar)


@pytest.mark.parametrize(
    ("code", "reference", "message"),
    [
        (4, ":1", "means the same version for good"),
        (4, "", "names no single reference"),
        (3, "@absent", "absent"),
        (4, "#deprecated", "may not serve"),
    ],
)
def test_what_cannot_be_followed_is_one_line(podium, registry, model, place, code, reference, message):
    registry.transition(f"{model}:3", "deprecated")
    assert message in podium.error(code, "follow", f"{model}{reference}", "--into", place)
    assert folders(place) <= set()


def test_it_ends_in_order_while_it_waits_for_the_registry(podium, place):
    podium.environment["PODIUM_URL"] = "127.0.0.1:1"
    with following(podium, "m@champion", place, patience=0.1) as sidecar:
        sidecar.error()
        ends(sidecar)


def test_ctrl_c_is_one_line(podium, model, place):
    with following(podium, f"{model}@champion", place) as sidecar:
        sidecar.line()
        assert sidecar.end(signal.SIGINT) == 130
        assert sidecar.rest() == ([], ["podium: interrupted"])


def test_a_reader_that_leaves_ends_it(podium, registry, model, place):
    ours, theirs = os.pipe()
    with following(podium, f"{model}@champion", place, stdout=theirs) as sidecar:
        os.close(theirs)
        assert os.read(ours, 1000).endswith(b"/1.0.0\n")
        os.close(ours)
        registry.set_alias(model, "champion", 2)
        assert sidecar.wait() == 141
        assert sidecar.rest() == ([], [])
    assert says(place / "current") == 2


# materialize


def test_materialize_does_it_once(podium, registry, model, place):
    assert podium.text("materialize", f"{model}@champion", place) == f"{place}/1.0.0\n"
    assert says(place / "current") == 1
    inode = (place / "1.0.0" / "n").stat().st_ino
    again = podium.json("materialize", f"{model}:1", place)
    assert (again["reference"], again["path"], again["switched"]) == (f"{model}:1", f"{place}/1.0.0", False)
    assert again["target"]["digest"] == registry.resolve(f"{model}:1").digest
    assert (place / "1.0.0" / "n").stat().st_ino == inode
    registry.set_alias(model, "champion", 2)
    assert podium.json("materialize", f"{model}@champion", place)["switched"] is True
    assert (says(place / "current"), folders(place)) == (2, {"1.0.0", "1.0.1", "current"})
    assert podium.text("materialize", f"{model}@champion", place, "--folders", "number") == f"{place}/2\n"
    assert (place / "current").readlink() == Path("2")


def test_what_materialize_made_a_sidecar_goes_on_with(podium, registry, model, place, log):
    """Nobody was told of it yet."""
    podium.text("materialize", f"{model}@champion", place)
    inode = (place / "1.0.0" / "n").stat().st_ino
    with following(podium, f"{model}@champion", place, "--exec", "echo $PODIUM_NUMBER >> log") as sidecar:
        until(lambda: lines_of(log) == ["1"])
        registry.set_alias(model, "champion", 2)
        assert sidecar.line() == f"{model}@champion → 1.0.1, was 1.0.0  {place}/1.0.1"
        assert (place / "1.0.0" / "n").stat().st_ino == inode
        assert sidecar.end() == 0


def test_materialize_says_by_its_exit_code_what_happened(podium, registry, model, place):
    podium.text("materialize", f"{model}@champion", place)
    registry.transition(f"{model}:2", "deprecated")
    (place / "1.0.2").mkdir()
    assert "`podium alias ls" in podium.error(3, "materialize", f"{model}@absent", place)
    assert "may not serve" in podium.error(4, "materialize", f"{model}:2", place)
    assert "NAME:VERSION" in podium.error(4, "materialize", model, place)
    assert "was not made by podium" in podium.error(4, "materialize", f"{model}@latest", place)
    assert "podium serve" in podium.error(6, "materialize", f"{model}:1", place, "--url", "127.0.0.1:1")
    assert "is a file" in podium.error(2, "materialize", f"{model}:1", place / "1.0.0" / "n")
    (place / ".podium.json").write_text("{")
    assert "is damaged" in podium.error(4, "materialize", f"{model}:1", place)
    assert says(place / "current") == 1
    assert folders(place) == {"1.0.0", "1.0.2", "current"}


def test_damaged_bytes_are_one_line_and_the_exit_code(server, podium, registry, model, place):
    podium.text("materialize", f"{model}@champion", place)
    blob = blob_of(server, f"{model} 2")
    blob.chmod(0o600)
    blob.write_text(f"{model} 3")
    registry.set_alias(model, "other", 2)
    for command in (("materialize", f"{model}:2", place), ("follow", f"{model}@other", "--into", place)):
        failed = podium.run(*command, code=7)
        assert (failed.stdout, failed.stderr.count("\n")) == ("", 1)
    assert (says(place / "current"), folders(place)) == (1, {"1.0.0", "current"})


# The whole, under load.


class Questions(Load):
    """Clients that ask what is loaded and what is there now; all their answers."""

    def __init__(self, port, count):
        super().__init__(f"127.0.0.1:{port}", count)
        self.answers = []
        self.loaded = (0, 0)  # what the last answer from a load said

    def wait_for_load(self, count, number):
        self.wait_for(lambda: self.loaded == (count, number))

    def turn(self, connection, place, number):
        for path in ("/loaded", "/now"):
            self._ask(connection, path)

    def _ask(self, connection, path):
        begun = time.monotonic()
        connection.request("GET", path)
        response = connection.getresponse()
        answer = json.loads(response.read())
        assert response.status == 200, answer
        assert not response.will_close
        assert answer["n"] == answer["content"], "files of two versions"
        self.answers.append((begun, time.monotonic(), path, answer.get("told"), int(answer["n"])))
        if path == "/loaded":
            self.loaded = (answer["told"], int(answer["n"]))


def test_who_serves_from_the_files_never_fails_and_never_goes_back(podium, registry, model, place, log):
    """An alias moves back and forth 50 times under load, and then 20 times as fast as it can.

    Each answer says which load of which version it is from, and so which of the switches in a row: the nth that the command was
    told of, or the one after it, if its link was there already. Two in a row are never of the same version.
    """
    for number in (4, 5, 6):
        push(registry, model, podium.home, content=b"x" * 50_000 + f" {number}".encode())
    registry.set_alias(model, "champion", 4)
    tell = "echo $PODIUM_NUMBER >> log; if test -e pid; then kill -HUP $(cat pid); fi"
    serve = [sys.executable, Path(__file__).with_name("serving.py"), place, log]
    moves, windows = [5, 4] * 25, []
    with following(podium, f"{model}@champion", place, "--exec", tell) as sidecar:
        sidecar.line()
        until(lambda: lines_of(log) == ["4"])
        with Process(serve) as serving:
            port = int(serving.line())
            (podium.home / "pid").write_text(str(serving.pid))
            with Questions(port, 4) as load:
                for count, number in enumerate(moves, 2):
                    registry.set_alias(model, "champion", number)
                    load.wait_for_load(count, number)
                    shown = time.monotonic()
                    load.round()
                    windows.append((shown, time.monotonic(), number))
                burst = [5, 4] * 10 + [6]
                for number in burst:
                    registry.set_alias(model, "champion", number)
                load.wait_for(lambda: load.loaded[1] == 6)
                is_told(place, 6)
                load.round()
            assert load.failures == []
            assert serving.end() == -signal.SIGTERM
            assert serving.rest() == ([], [])
        assert sidecar.end() == 0
        lines, errors = sidecar.rest()
    assert errors == []
    assert len(lines) + 1 == len(lines_of(log))
    told = [int(number) for number in lines_of(log)]
    assert told[:51] == [4, *moves]
    later = iter(burst)
    assert all(number in later for number in told[51:]), "some of the others may be left out, in this order"
    assert told[-1] == 6
    assert_no_step_back(load.answers, told)
    for begun, ended, number in windows:
        between = [answer for answer in load.answers if begun <= answer[0] and answer[1] <= ended]
        assert {answer[4] for answer in between} == {number}
        assert len(between) >= 8


def assert_no_step_back(answers, told):
    """No answer is from a switch before the one that any answer which had ended when it began was from."""
    loaded = [(begun, ended, switch_of(count, number, told)) for begun, ended, path, count, number in answers if path == "/loaded"]
    ends = sorted((ended, switch) for _, ended, switch in loaded)
    newest = place = 0
    for begun, _, switch in sorted(loaded):
        while ends[place][0] < begun:
            newest = max(newest, ends[place][1])
            place += 1
        assert switch >= newest, (begun, switch, newest)
    assert newest == len(told)


def switch_of(count, number, told):
    """Which switch a load is from that came after so many were told."""
    if told[count - 1] == number:
        return count
    assert told[count] == number, (count, number, told)
    return count + 1
