"""Locks on digests, between processes and threads: record locks on single bytes of a file, as CACHE.md says.

The kernel knows one owner a process, and drops all its locks on a file when the process closes that file once. So a file is
opened once a process and stays open, and a table here stands between the threads. Waiting is polling: the kernel would see a
deadlock where two processes wait for each other with different threads.
"""

import fcntl
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from podium.forks import turns

FIRST_PAUSE, LONGEST_PAUSE = 0.002, 0.1  # seconds

Pause = Callable[[float], object]
"""Sleeps so many seconds, or raises to end the wait."""

_EXCLUSIVE = -1
_guard = threading.Lock()
_open_files: dict[tuple[int, int], "LockFile"] = {}  # by inode: two paths may lead to one file, and one path to another later


class LockFile:
    """The locks of one file. Use `lock_file` to get it: a second one over the same file would break both."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self.inode = _inode(os.fstat(self._descriptor))
        self._held: dict[int, int] = {}  # byte → how many share it in this process, or _EXCLUSIVE
        self._kept: set[int] = set()

    def try_shared(self, digest: str) -> bool:
        """Takes the lock together with others; False if somebody has it alone."""
        place = _place(digest)
        with _guard:
            count = self._held.get(place, 0)
            if count == _EXCLUSIVE or (not count and not self._lock(place, fcntl.LOCK_SH)):
                return False
            self._held[place] = count + 1
            return True

    def try_exclusive(self, digest: str) -> bool:
        """Takes the lock alone; False if anybody has it."""
        place = _place(digest)
        with _guard:
            if place in self._held or not self._lock(place, fcntl.LOCK_EX):
                return False
            self._held[place] = _EXCLUSIVE
            return True

    def keep(self, digest: str, pause: Pause = time.sleep) -> None:
        """Shares the lock until the process ends."""
        if _place(digest) not in self._kept:
            _wait(lambda: self.try_shared(digest), pause)
            self._kept.add(_place(digest))

    def hold(self, digest: str, pause: Pause = time.sleep) -> "Hold":
        """Shares the lock until the hold is released."""
        _wait(lambda: self.try_shared(digest), pause)
        return Hold(self, digest)

    def is_taken(self, digest: str) -> bool:
        """Whether anybody has the lock now, alone or with others."""
        free = self.try_exclusive(digest)
        if free:
            self.release(digest)
        return not free

    def release(self, digest: str) -> None:
        """Gives up one lock that was taken."""
        place = _place(digest)
        with _guard:
            if self._held[place] > 1:
                self._held[place] -= 1
                return
            del self._held[place]
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, place)

    @contextmanager
    def shared(self, digest: str, pause: Pause = time.sleep) -> Iterator[None]:
        """Waits until nobody has the lock alone."""
        _wait(lambda: self.try_shared(digest), pause)
        try:
            yield
        finally:
            self.release(digest)

    @contextmanager
    def exclusive(self, digest: str, pause: Pause = time.sleep) -> Iterator[None]:
        """Waits until nobody has the lock."""
        _wait(lambda: self.try_exclusive(digest), pause)
        try:
            yield
        finally:
            self.release(digest)

    def _lock(self, place: int, kind: int) -> bool:
        try:
            fcntl.lockf(self._descriptor, kind | fcntl.LOCK_NB, 1, place)
        except (BlockingIOError, PermissionError):  # POSIX allows EAGAIN and EACCES
            return False
        return True


class Hold:
    """A share of a lock, until it is released. In a forked child it is none: the child has no locks."""

    def __init__(self, locks: LockFile, digest: str) -> None:
        self._locks, self._digest = locks, digest
        self._generation = turns.generation
        self._released = False

    def again(self) -> "Hold":
        """Another share of the same lock."""
        return self._locks.hold(self._digest)

    def release(self) -> None:
        """Gives it up; again does nothing."""
        released, self._released = self._released, True
        if not released and self._generation == turns.generation:
            self._locks.release(self._digest)


def lock_file(path: Path) -> LockFile:
    """The process's one LockFile over what is at this path now."""
    with _guard:
        with suppress(FileNotFoundError):
            if file := _open_files.get(_inode(path.stat())):
                return file
        file = LockFile(path)
        return _open_files.setdefault(file.inode, file)


def _place(digest: str) -> int:
    return int(digest.removeprefix("sha256:")[:15], 16)


def _inode(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _wait(attempt: Callable[[], bool], pause: Pause) -> None:
    seconds = FIRST_PAUSE
    while not attempt():
        pause(seconds * random.uniform(0.5, 1))  # noqa: S311  spreads those who wait
        seconds = min(2 * seconds, LONGEST_PAUSE)


def _forget() -> None:
    """A forked child has no locks, and must not touch its parent's table."""
    global _guard  # noqa: PLW0603
    _guard = threading.Lock()
    _open_files.clear()


os.register_at_fork(after_in_child=_forget)
