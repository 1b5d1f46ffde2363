"""A follower in a process that serves: how soon it has the next version, and what reading the current one costs."""

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path

import podium as client
from processes import podium
from table import Row, alone

MODEL, ALIAS = "risk/fraud", "champion"
REFERENCE = f"{MODEL}@{ALIAS}"
CACHED = 200  # promotions
FETCHED = 20
FETCHED_BYTES = 10 << 20
THREADS = 8
READS = 10_000_000  # a thread: long enough that all of them run at the same time
PATIENCE_SECONDS = 60


def measure(folder: Path) -> Iterator[Row]:
    """Promotions between two versions that the cache has, then to versions that it does not have, then reads."""
    with podium(folder / "data") as server, client.connect(server.address, cache=folder / "cache") as registry:
        push_versions(registry, folder / "files")
        with following(registry) as arrivals:
            yield from _rows(
                "promotion to follower, files in its cache", [arrivals.after(1 + turn % 2) for turn in range(1, CACHED)]
            )
            fetched = [arrivals.after(number) for number in range(3, 3 + FETCHED)]
            yield from _rows("promotion to follower, 10 MiB of new files", fetched)
            yield _reads(arrivals.follower)


def push_versions(registry: client.Registry, folder: Path) -> None:
    """Two small versions, of which the first is what is followed, and large ones that are fetched."""
    for number in range(1, 3 + FETCHED):
        _push(registry, folder, number, FETCHED_BYTES if number > 2 else 1_000)
    registry.set_alias(MODEL, ALIAS, 1)


class Arrivals:
    """A follower, and when it swaps."""

    def __init__(self, registry: client.Registry) -> None:
        self._registry = registry
        self._swapped = threading.Condition()
        self._at: tuple[int, float] = (0, 0.0)
        self.follower = registry.follow(REFERENCE, on_change=self._note)

    def after(self, number: int) -> float:
        """Milliseconds from before a promotion is asked for until the follower has swapped to that version."""
        start = time.perf_counter()
        self._registry.set_alias(MODEL, ALIAS, number)
        with self._swapped:
            if not self._swapped.wait_for(lambda: self._at[0] == number, PATIENCE_SECONDS):
                raise SystemExit(f"the follower did not swap to version {number}: {self.follower.problem}")
            return (self._at[1] - start) * 1000

    def _note(self, current: client.Current) -> None:
        with self._swapped:
            self._at = current.number, time.perf_counter()
            self._swapped.notify_all()


@contextmanager
def following(registry: client.Registry) -> Iterator[Arrivals]:
    """A follower for as long as the block."""
    arrivals = Arrivals(registry)
    with arrivals.follower:
        yield arrivals


def _push(registry: client.Registry, folder: Path, number: int, size: int) -> None:
    folder.mkdir(exist_ok=True)
    for place in range(4):
        content = f"{number} {place} ".encode() * (size // 4 // 5)
        (folder / f"part-{place}.bin").write_bytes(content[: size // 4])
    registry.push(MODEL, folder, progress=False)


def _rows(what: str, milliseconds: list[float]) -> Iterator[Row]:
    beside = f"{len(milliseconds)} promotions, from before the call until the swap"
    yield alone(f"{what}, p50", "ms", statistics.median(milliseconds), beside=beside)
    yield alone(f"{what}, p99", "ms", statistics.quantiles(milliseconds, n=100)[98])


def _reads(follower: client.Follower) -> Row:
    """Threads that read at the same time; each is timed over all its reads, waiting for the others included."""
    together = threading.Barrier(THREADS)
    means: list[float] = []

    def read() -> None:
        together.wait()
        start = time.perf_counter()
        for _ in repeat(None, READS):
            follower.current  # noqa: B018  the read
        means.append((time.perf_counter() - start) / READS * 1e6)

    threads = [threading.Thread(target=read) for _ in range(THREADS)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = THREADS * READS / (time.perf_counter() - start) / 1e6
    beside = f"the slowest of {THREADS} threads at once; {rate:.0f} million reads a second together"
    return alone("a read of follower.current", "µs", max(means), at_most=1, beside=beside)
