"""Followers in forked children: they go on there by themselves, with threads, a connection and holds of their own."""

import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path

import podium
import pytest
from following import HEARTBEAT, SECONDS, FaultyRelay, reaches, says
from podium import State
from podium.locks import lock_file
from podium.transport import Transport
from streams import until
from test_client import in_child

SERVER_OPTIONS = HEARTBEAT


@pytest.fixture
def registry(server, tmp_path):
    with podium.connect(server.address, cache=tmp_path / "cache") as connected:
        yield connected


def test_parent_and_child_both_go_on(registry, model, caplog):
    told = []
    with registry.follow(f"{model}@champion", on_change=told.append) as follower:

        def work():
            assert follower.current.number == 1
            reaches(follower, lambda one: one.state is State.CONNECTED)
            registry.set_alias(model, "champion", 2)
            reaches(follower, 2)
            until(lambda: [current.number for current in told] == [2])
            assert says(follower.current) == "2"
            follower.close()

        assert in_child(work)
        reaches(follower, 2)
        registry.set_alias(model, "champion", 3)
        reaches(follower, 3)
        reaches(follower, lambda one: one.state is State.CONNECTED)
    assert not caplog.records  # such as one that says that a fork did not wait


def test_children_of_children_and_many(registry, model):
    with registry.follow(f"{model}@champion") as follower:

        def grandchild():
            reaches(follower, 2)

        def child():
            registry.set_alias(model, "champion", 2)
            reaches(follower, 2)
            assert in_child(grandchild)

        for _ in range(5):
            assert in_child(child)
        reaches(follower, 2)


def test_a_child_holds_the_files_itself(registry, model, tmp_path):
    """The parent closes and is done with them; the child reads on."""
    follower = registry.follow(f"{model}@champion")
    closed, looked = os.pipe(), os.pipe()

    def work():
        os.write(looked[1], b"x")
        os.read(closed[0], 1)
        with follower.use() as current:
            assert says(current) == "1"
        os.write(looked[1], b"x")
        os.read(closed[0], 1)

    def end():
        os.read(looked[0], 1)
        follower.close()
        prune = "import podium, sys; print(len(podium.Cache(sys.argv[1]).prune(0).entries))"
        command = [sys.executable, "-c", prune, str(tmp_path / "cache")]
        counts.append(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        os.write(closed[1], b"x")
        os.read(looked[0], 1)
        os.write(closed[1], b"x")

    counts = []
    thread = threading.Thread(target=end, daemon=True)
    thread.start()
    assert in_child(work)
    thread.join(SECONDS)
    assert counts == ["0\n"]
    for end_of_pipe in (*closed, *looked):
        os.close(end_of_pipe)


def test_a_hold_of_the_parent_is_none_of_the_child(tmp_path):
    """If the child gave it up, it would lose its own: the kernel keeps one lock a process and byte."""
    locks, digest = lock_file(tmp_path / "locks"), "sha256:" + "1" * 64
    hold, inode = locks.hold(digest), (tmp_path / "locks").stat().st_ino

    def held():
        lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        return [line[3] for line in lines if line[4] == str(os.getpid()) and line[5].endswith(f":{inode}")]

    def work():
        own = lock_file(tmp_path / "locks").hold(digest)
        hold.release()
        assert held() == ["READ"]
        own.release()
        assert held() == []

    assert held() == ["READ"]
    assert in_child(work)
    assert held() == ["READ"]
    hold.release()
    hold.release()
    assert held() == []


def test_iterators_of_a_child(registry, model):
    with registry.follow(f"{model}@champion") as follower:
        changes = follower.changes()
        next(changes)

        def work():
            registry.set_alias(model, "champion", 2)
            assert next(changes).number == 2
            assert next(follower.changes()).number == 2
            follower.close()
            assert list(changes) == []

        assert in_child(work)
        assert next(changes).number == 2


def test_a_child_that_ends_as_programs_do(registry, model):
    with registry.follow(f"{model}@champion"):
        process = multiprocessing.get_context("fork").Process(target=registry.resolve, args=(f"{model}:1",))
        process.start()
        process.join(SECONDS)
        assert process.exitcode == 0


def test_forks_while_the_reference_moves(registry, model, caplog):
    """Whatever the threads of the parent were at: each child sees the last change, and so does the parent."""
    stop = threading.Event()

    def move():
        while not stop.is_set():
            for number in (2, 3, 1):
                registry.set_alias(model, "champion", number)

    with registry.follow(f"{model}@champion") as follower:
        mover = threading.Thread(target=move)
        mover.start()

        def work():
            seen = {follower.current.number}
            for current in follower.changes():
                assert says(current) == str(current.number)
                seen.add(current.number)
                if seen == {1, 2, 3}:
                    break
            follower.close()

        good = [in_child(work) for _ in range(10)]
        stop.set()
        mover.join(SECONDS)
        last = registry.set_alias(model, "champion", 2)
        assert last.position
        reaches(follower, 2)
        reaches(follower, lambda one: one.state is State.CONNECTED)
    assert good == [True] * 10
    assert not caplog.records


def test_a_child_that_was_forked_amid_a_callback_is_told_again(registry, model):
    """The parent's thread in it, and what that has done so far, are not the child's."""
    parent, entered, release, told = os.getpid(), threading.Event(), threading.Event(), []

    def load(current):
        if os.getpid() == parent:
            entered.set()
            assert release.wait(SECONDS)
        told.append(current.number)

    with registry.follow(f"{model}@champion", on_change=load) as follower:
        registry.set_alias(model, "champion", 2)
        assert entered.wait(SECONDS)
        assert in_child(lambda: until(lambda: told == [2]))
        release.set()
        until(lambda: told == [2])
        assert in_child(lambda: reaches(follower, lambda one: one.state is State.CONNECTED) or told == [2] or os._exit(1))


def test_a_fork_does_not_wait_for_a_pull_that_is_stuck(server, registry, model, tmp_path, monkeypatch, caplog):
    relay, asked, persist = FaultyRelay(server.address), threading.Event(), Transport.persist

    def stall_and_persist(transport, method, request, crew):
        if not asked.is_set():
            relay.stall()
            asked.set()
        return persist(transport, method, request, crew)

    watching = podium.connect(relay.address, cache=tmp_path / "other", timeout=2)
    with watching, watching.follow(f"{model}@champion") as follower:
        monkeypatch.setattr("podium.forks.PATIENCE_SECONDS", 1)  # less than the call may take
        monkeypatch.setattr(Transport, "persist", stall_and_persist)
        registry.set_alias(model, "champion", 2)
        assert asked.wait(SECONDS)
        assert in_child(lambda: reaches(follower, 2))
        reaches(follower, 2)
    assert "the child may hang" not in caplog.text
    relay.close()


def test_a_closed_follower_stays_closed_in_a_child(registry, model):
    follower = registry.follow(f"{model}@champion")
    follower.close()

    def work():
        assert threading.active_count() == 1
        assert follower.current.number == 1

    assert in_child(work)
