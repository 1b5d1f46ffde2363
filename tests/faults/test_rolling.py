"""A rolling restart of two replicas over PostgreSQL and a bucket, while clients of both do everything: no operation fails."""

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import podium
import postgres
import pytest
from chaos.cluster import Cluster
from following import SECONDS, push, reaches, says
from podium import Registry
from replay import Replay, read_events, revision_of
from streams import MIB, until

RESTARTS = 3  # of each

try:
    postgres.program("postgres")
except FileNotFoundError as missing:  # scripts/install-postgresql says it aloud
    pytest.skip(str(missing), allow_module_level=True)


@pytest.fixture
def cluster(tmp_path):
    cluster = Cluster(tmp_path)
    with podium.connect(cluster.replicas[0].server.address) as registry:
        push(registry, "m", tmp_path, 3)
        registry.set_alias("m", "champion", 1)
    yield cluster
    assert not cluster.stop(), "a server logged a trace"
    cluster.close()


class Work:
    """What clients do, each kind of it again and again in a thread of its own, and how often each has done it."""

    def __init__(self, registry: Registry, folder: Path) -> None:
        self.registry, self.folder = registry, folder
        self.done: Counter[str] = Counter()
        self.pushed: list[tuple[int, bytes]] = []
        self.watched: list[str] = []
        self.watch = registry.watch("m@champion")
        self.kinds: list[Callable[[], None]] = [self.push, self.pull, self.move, self.resolve, self.promote]

    def push(self) -> None:
        folder = self.folder / f"push-{len(self.pushed)}"
        folder.mkdir()
        (folder / "n").write_bytes(content := os.urandom(5 * MIB))
        self.pushed.append((self.registry.push("pushed", folder, lifecycle="permissive").version.number, content))

    def pull(self) -> None:
        assert says_bytes(self.registry.pull("m:3")) == b"m 3"
        if self.pushed:
            number, content = self.pushed[-1]
            assert says_bytes(self.registry.pull(f"pushed:{number}")) == content

    def move(self) -> None:
        number = self.done["move"] % 3 + 1
        self.registry.set_alias("m", "champion", number)
        assert self.registry.resolve("m@champion").number == number, "it sees what it did"

    def resolve(self) -> None:
        assert self.registry.resolve("m@latest").number == 3
        assert self.registry.get("m:2").number == 2

    def promote(self) -> None:
        stage = ["staging", "production"][self.done["promote"] % 2]
        self.registry.transition("m:2", stage)
        assert self.registry.resolve(f"m#{stage}").number == 2

    def listen(self) -> None:
        for step in self.watch:
            self.watched += [step.position] if isinstance(step, podium.Snapshot) else [event.position for event in step.events]

    def go_on(self, running: list) -> None:
        """Returns when every kind was done a few times more; raises what went wrong."""
        before = Counter(self.done)

        def have_gone_on() -> bool:
            for one in running:
                if one.done():
                    one.result()
            return all(self.done[kind.__name__] >= before[kind.__name__] + 2 for kind in self.kinds)

        until(have_gone_on)


@contextmanager
def at_work(work: Work) -> Iterator[Callable[[], None]]:
    end = threading.Event()

    def again(kind: Callable[[], None]) -> None:
        while not end.is_set():
            kind()
            work.done[kind.__name__] += 1

    with ThreadPoolExecutor(len(work.kinds) + 1) as threads:
        running = [threads.submit(again, kind) for kind in work.kinds] + [threads.submit(work.listen)]
        try:
            work.go_on(running)
            yield lambda: work.go_on(running)
        finally:
            end.set()
            for one in running[:-1]:
                one.exception(SECONDS)
            work.watch.close()
    for one in running:
        one.result()


def test_no_operation_fails_in_a_rolling_restart(cluster, tmp_path):
    addresses = ",".join(replica.relay.address for replica in cluster.replicas)
    with podium.connect(addresses, cache=tmp_path / "cache") as registry, registry.follow("m@champion") as follower:
        work = Work(registry, tmp_path)
        with at_work(work) as go_on:
            for _ in range(RESTARTS):
                for replica in cluster.replicas:
                    replica.server.stop()
                    go_on()
                    replica.start()
                    passed = replica.relay.up
                    until(lambda replica=replica, passed=passed: replica.relay.up > passed + 10_000)  # its clients are back
                    go_on()
        registry.set_alias("m", "champion", 1)
        registry.set_alias("m", "champion", 3)
        reaches(follower, 3)
        assert says(follower.current) == "3"
        events = read_events(cluster.replicas[0].server.stub)
    Replay(events).agree(cluster.replicas[1].server.stub)
    first, last = revision_of(work.watched[0]), revision_of(work.watched[-1])
    moves = [event.position for event in events if event.name == "champion" and first < event.revision <= last]
    assert work.watched[1:] == moves, "of one snapshot, and then of each move once and in order"
    with podium.connect(addresses, cache=tmp_path / "another") as registry:
        for number, content in work.pushed:
            assert says_bytes(registry.pull(f"pushed:{number}")) == content


def says_bytes(path: Path) -> bytes:
    return (path / "n").read_bytes()
