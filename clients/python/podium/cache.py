"""The content cache that all processes of a user share: files by digest, versions as folders. CACHE.md is its contract."""

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from podium.errors import PodiumError
from podium.locks import Hold, LockFile, Pause, lock_file
from podium.sealed import build, dismantle, folder_size, has_exactly, is_sealed, remove, seal

LAYOUT = "v1"
UNUSED_DAYS = 30.0

_SECONDS_A_DAY = 86_400
_NAME = re.compile("[0-9a-f]{64}")

Kind = Literal["version", "file", "partial"]


@dataclass(frozen=True)
class Entry:
    """Something in the cache: the folder of a version, a file that is in no such folder, or the start of a file.

    `size_bytes` is that of all its files (versions share files, so sizes do not add up), `last_used` seconds since the
    epoch. What is `in_use` is not pruned: a process that pulled it still runs, or one is making it.
    """

    kind: Kind
    digest: str
    path: Path
    size_bytes: int
    last_used: float
    in_use: bool


@dataclass(frozen=True)
class Pruned:
    """What was removed, and how many bytes the disk has back."""

    entries: tuple[Entry, ...]
    freed_bytes: int


class Cache:
    """The cache at `root`, else at $PODIUM_CACHE, else at ~/.cache/podium. Threads and forks may share it."""

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        chosen = root or os.environ.get("PODIUM_CACHE") or "~/.cache/podium"
        self.root = Path(chosen).expanduser().resolve()
        self._layout = self.root / LAYOUT

    @contextmanager
    def file(self, digest: str, size: int, fetch: Callable[[Path], None], pause: Pause = time.sleep) -> Iterator[Path]:
        """The whole file with this digest, safe from pruning meanwhile.

        Where it is not there, or not as it was left, `fetch` completes the partial file and verifies it: in one process
        of all, while the others wait.
        """
        path, locks = self.file_path(digest), self._locks("blobs")
        while True:
            with locks.shared(digest, pause):
                if is_sealed(path, size):
                    yield path
                    return
            with locks.exclusive(digest, pause):
                if not is_sealed(path, size):
                    self._complete(digest, fetch)
                    self._check_kept(path, size)

    def keep(self, digest: str, pause: Pause = time.sleep) -> None:
        """Keeps the version with this digest, which need not be there yet, from pruning until the process ends."""
        self._locks("holds").keep(digest, pause)

    def hold(self, digest: str, pause: Pause = time.sleep) -> Hold:
        """Keeps the version with this digest, which need not be there yet, from pruning until the hold is released."""
        return self._locks("holds").hold(digest, pause)

    def version(self, digest: str, files: Mapping[str, int], fill: Callable[[Path], None], pause: Pause = time.sleep) -> Path:
        """The folder of a version with these files (path → size in bytes), of which the caller has a hold.

        Where it is not there, or not as it was left, `fill` puts all files into a new folder, which takes its place.
        """
        folder = self.version_path(digest)
        if not has_exactly(folder, files):
            with self._locks("trees").exclusive(digest, pause):
                if not has_exactly(folder, files):
                    build(folder, fill)
        self.touch(digest)
        return folder

    def touch(self, digest: str) -> None:
        """The version with this digest, if it is there, was used until now."""
        with suppress(PermissionError, FileNotFoundError):  # the cache of another user
            os.utime(self.version_path(digest))

    def version_path(self, digest: str) -> Path:
        """Where the folder of the version with this digest is, if it is there."""
        return self._layout / "trees" / _name(digest)

    def file_path(self, digest: str) -> Path:
        """Where the whole file with this digest is, if it is there."""
        return self._layout / "blobs" / _name(digest)[:2] / _name(digest)

    def partial_path(self, digest: str) -> Path:
        """Where the file with this digest grows."""
        return self._layout / "partial" / _name(digest)

    @property
    def followed_path(self) -> Path:
        """Where followers write what they had last."""
        return self._layout / "followed"

    def entries(self) -> list[Entry]:
        """What is there."""
        found = [
            *(self._entry("version", path) for path in self._layout.glob("trees/*")),
            *(self._entry("file", path) for path in self._layout.glob("blobs/*/*")),
            *(self._entry("partial", path) for path in self._layout.glob("partial/*")),
        ]
        return [entry for entry in found if entry is not None]

    def prune(self, unused_days: float = UNUSED_DAYS) -> Pruned:
        """Removes what is not in use and was not used for so many days; 0 means all that is not in use."""
        before = time.time() - unused_days * _SECONDS_A_DAY
        gone, freed, unlinked = [], 0, set[int]()
        for entry in self.entries():
            if entry.last_used <= before:
                removed = self._remove_version(entry, unlinked) if entry.kind == "version" else self._remove_file(entry)
                gone += [] if removed is None else [entry]
                freed += removed or 0
        # Files that only those versions had count as used until now.
        for path in self._layout.glob("blobs/*/*"):
            orphan = self._entry("file", path)
            with suppress(FileNotFoundError):  # another process prunes too
                if orphan is not None and path.stat().st_ino in unlinked:
                    freed += self._remove_file(orphan) or 0
        self._remove_leftovers()
        self._remove_records(before)
        return Pruned(tuple(gone), freed)

    def _complete(self, digest: str, fetch: Callable[[Path], None]) -> None:
        """Brings a file to its place, under its lock."""
        partial, path = self.partial_path(digest), self.file_path(digest)
        partial.parent.mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        fetch(partial)
        seal(partial)
        if path.is_dir():
            remove(path)
        partial.replace(path)

    def _check_kept(self, path: Path, size: int) -> None:
        """PodiumError if a file that was just sealed is not: it would be fetched again for ever."""
        if not is_sealed(path, size):
            raise PodiumError(
                f"the cache {str(self.root)!r} is on a file system that does not keep the modes and times of files: "
                "set PODIUM_CACHE to a folder on another one"
            )

    def _entry(self, kind: Kind, path: Path) -> Entry | None:
        """None for what is not the cache's, or just went, or (a file) is in the folder of a version."""
        if not _NAME.fullmatch(path.name):
            return None
        digest = f"sha256:{path.name}"
        in_use = self._locks("holds" if kind == "version" else "blobs").is_taken(digest)
        try:
            status = path.lstat()
            size = folder_size(path) if kind == "version" else status.st_size
        except FileNotFoundError:
            return None
        if kind == "file" and status.st_nlink > 1:
            return None
        # A whole file's time says that it is whole; its inode changed when the last version that had it went.
        used = status.st_ctime if kind == "file" else status.st_mtime
        return Entry(kind, digest, path, size, used, in_use)

    def _remove_version(self, entry: Entry, unlinked: set[int]) -> int | None:
        """The bytes that went with the folder, and the inodes of all its files; None if it is in use."""
        holds, trees = self._locks("holds"), self._locks("trees")
        if not holds.try_exclusive(entry.digest):
            return None
        try:
            with trees.exclusive(entry.digest):
                return dismantle(entry.path, unlinked)
        finally:
            holds.release(entry.digest)

    def _remove_file(self, entry: Entry) -> int | None:
        """The bytes that went; None if it is in use."""
        locks = self._locks("blobs")
        if not locks.try_exclusive(entry.digest):
            return None
        try:
            if entry.path.stat().st_nlink > 1:  # a version has it since
                return None
            entry.path.unlink()
        except FileNotFoundError:
            return None
        finally:
            locks.release(entry.digest)
        return entry.size_bytes

    def _remove_leftovers(self) -> None:
        """Removes the folders that somebody was making or replacing when the process ended."""
        locks = self._locks("trees")
        for path in self._layout.glob("trees/*.*"):
            if _NAME.fullmatch(path.stem) and locks.try_exclusive(path.stem):
                try:
                    remove(path)
                finally:
                    locks.release(path.stem)

    def _remove_records(self, before: float) -> None:
        """Removes what followers wrote about versions that are not there any more, and what they had no time to rename."""
        for path in self.followed_path.glob("*"):
            with suppress(OSError):
                if path.stat().st_mtime <= before and not self._is_there(path):
                    path.unlink()

    def _is_there(self, record: Path) -> bool:
        try:
            return self.version_path(json.loads(record.read_bytes())["target"]["digest"]).is_dir()
        except (ValueError, KeyError, TypeError, AttributeError):
            return False

    def _locks(self, what: Literal["blobs", "trees", "holds"]) -> LockFile:
        return lock_file(self._layout / "locks" / what)


def _name(digest: str) -> str:
    """The file name of a digest; nothing else that a server says becomes one here."""
    name = digest.removeprefix("sha256:")
    if not _NAME.fullmatch(name):
        raise ValueError(f"{digest!r} is no digest")
    return name
