"""Push and pull through the Python client, beside a plain socket copy that does the same work."""

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import podium
import processes
import socket_copy
from machine import file_system, free_bytes
from processes import Process
from table import Row, alone, paired

MIB = 1 << 20
GIB = 1 << 30
SMALL_FILES = 2_000
SMALL_BYTES = 64 * 1024
MEMORY = Path("/dev/shm")  # a file system in memory: what is left when no disk is waited for
NEEDED = 6 * GIB


@dataclass(frozen=True)
class Cost:
    """One transfer: seconds, and CPU seconds and peak memory of the server's end."""

    seconds: float
    cpu: float
    peak: int


Pair = tuple[Cost, Cost]


class Ends:
    """A registry and a socket copy over folders of their own, and the files that both of them move."""

    def __init__(self, folder: Path, server: Process, copy: Process, files: Sequence[Path]) -> None:
        self._folder = folder
        self._server = server
        self._copy = copy
        self._files = files
        self.idle = server.resident_bytes()

    def round(self, *, ours_first: bool) -> tuple[Pair, Pair]:
        """Both ways through both: the pairs of pushes and of pulls."""
        if ours_first:
            ours, bare = (self.push(), self.pull()), (self.push_bare(), self.pull_bare())
        else:
            bare, ours = (self.push_bare(), self.pull_bare()), (self.push(), self.pull())
        return (ours[0], bare[0]), (ours[1], bare[1])

    def push(self) -> Cost:
        """A push of new contents through the client."""
        self._renew()
        with podium.connect(self._server.address, cache=self._folder / "cache") as registry:
            return cost(self._server, lambda: registry.push("risk/big", self._files[0].parent))

    def pull(self) -> Cost:
        """A pull into an empty cache of what was pushed last; after it, the contents are gone from both."""
        with podium.connect(self._server.address, cache=self._folder / "cache") as registry:
            took = cost(self._server, lambda: registry.pull("risk/big@latest"))
        self.forget()
        return took

    def forget(self) -> None:
        """Removes what was pushed and pulled."""
        remove(self._folder / "cache")
        for path in (self._folder / "registry" / "blobs").rglob("*"):
            if path.is_file() and path.stat().st_size >= SMALL_BYTES:
                path.unlink()

    def push_bare(self) -> Cost:
        """A socket copy of new contents."""
        self._renew()
        return cost(self._copy, lambda: socket_copy.push(self._copy.port, list(self._files)))

    def pull_bare(self) -> Cost:
        """A socket copy back; after it, the contents are gone from both."""
        target = self._folder / "pulled"
        target.mkdir()
        took = cost(self._copy, lambda: socket_copy.pull(self._copy.port, target, list(self._files)))
        remove(target)
        for path in (self._folder / "copy").iterdir():
            path.unlink()
        return took

    def _renew(self) -> None:
        for path in self._files:
            with path.open("r+b") as file:
                file.write(os.urandom(16))
        os.sync()


def measure(folder: Path, rounds: int) -> Iterator[Row]:
    """Moves files on the disk, and again where there is no disk."""
    for where, work in places(folder):
        for name, count, size, targets in (
            ("1 GiB", 1, GIB, True),
            ("2,000 × 64 KiB", SMALL_FILES, SMALL_BYTES, False),
        ):
            files = new_files(work / "source", count, size)
            yield from _measure(f"{name}, {where}", work, files, rounds, targets=targets)
            for part in work.iterdir():
                remove(part)


def places(folder: Path) -> Iterator[tuple[str, Path]]:
    """A new folder on the disk, and then one where there is no disk, each with the name of where it is. They are removed."""
    in_memory = free_bytes(MEMORY) > NEEDED and file_system(folder) != "tmpfs"
    for parent in [folder, MEMORY] if in_memory else [folder]:
        with place(parent) as (where, work):
            yield where, work


@contextmanager
def place(parent: Path) -> Iterator[tuple[str, Path]]:
    """A new folder and the name of where it is. It is removed."""
    work = parent / f"podium-bench-{os.getpid()}"
    work.mkdir()
    try:
        yield "in memory" if parent == MEMORY else file_system(parent), work
    finally:
        remove(work)


def _measure(what: str, work: Path, files: Sequence[Path], rounds: int, *, targets: bool) -> Iterator[Row]:
    (work / "copy").mkdir()
    with (
        processes.podium(work / "registry") as server,
        processes.socket_copy(work / "copy", work / "copy.log") as copy,
    ):
        with podium.connect(server.address, cache=work / "cache") as registry:
            registry.create_model("risk/big")
        ends = Ends(work, server, copy, files)
        measured = [ends.round(ours_first=bool(number % 2)) for number in range(rounds + 1)]
        up, down = zip(*measured[1:], strict=True)  # the first round warms up
        size = sum(path.stat().st_size for path in files)
        yield from _rows(f"upload {what}", up, size, ends.idle, targets=targets)
        yield from _rows(f"download {what}", down, size, ends.idle, targets=targets)


def _rows(what: str, pairs: Sequence[Pair], size: int, idle: int, *, targets: bool) -> Iterator[Row]:
    rates = [(size / MIB / ours.seconds, size / MIB / best.seconds) for ours, best in pairs]
    yield paired(what, "MiB/s", rates, "socket copy", at_least=0.7 if targets else None)
    cpu = [(ours.cpu / size * GIB, best.cpu / size * GIB) for ours, best in pairs]
    yield paired(f"{what}, CPU of the server's end", "s/GiB", cpu, "socket copy", at_most=2 if targets else None)
    peak = max(ours.peak for ours, _ in pairs)
    yield alone(f"{what}, peak memory of the server", "MiB", peak / MIB, beside=f"idle {idle / MIB:.0f} MiB")


def cost(server: Process, transfer: Callable[[], object]) -> Cost:
    """Transfers, and says what that took."""
    server.reset_peak()
    cpu, began = server.cpu_seconds(), time.perf_counter()
    transfer()
    return Cost(time.perf_counter() - began, server.cpu_seconds() - cpu, server.peak_bytes())


def new_files(folder: Path, count: int, size: int) -> list[Path]:
    folder.mkdir(parents=True)
    block = os.urandom(min(size, MIB))
    files = [folder / f"part-{number:04}" for number in range(count)]
    for path in files:
        with path.open("wb") as file:
            for _ in range(size // len(block)):
                file.write(block)
    return files


def remove(folder: Path) -> None:
    """Removes a file or a folder, read-only ones in it too."""
    if folder.is_file():
        folder.unlink()
    elif folder.exists():
        for path in folder.rglob("*"):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)
        shutil.rmtree(folder)
