"""What a push takes of a path: regular files, also behind links, under the names that they get in the version."""

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from pathspec import GitIgnoreSpec

from podium.errors import PushRefused
from podium.paths import MAX_FILES, MAX_PATHS_BYTES, clash, fault

IGNORE_FILE = ".podiumignore"

_OTHERWISE = f"rename it, or name it in {IGNORE_FILE}"
_KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}

Inode = tuple[int, int]


@dataclass(frozen=True)
class SourceFile:
    """A regular file, its path in the version, and what tells whether it changed since it was found."""

    path: str
    source: Path
    size_bytes: int
    state: tuple[int, ...]

    def check_unchanged(self) -> None:
        """PushRefused if the file is no longer what it was."""
        try:
            unchanged = _state(self.source.stat()) == self.state
        except OSError:
            unchanged = False
        if not unchanged:
            raise PushRefused(f"{self.path} changed while it was being pushed: push again when it is finished")


class Folder:
    """The regular file at `path`, or all of the folder there that .podiumignore does not name.

    `files` are sorted by path; `left_out` are empty folders, which no version can hold. PushRefused names what cannot be
    pushed, and says what to do.
    """

    def __init__(self, path: Path) -> None:
        self.files: list[SourceFile] = []
        self.left_out: list[str] = []
        status = _status(path, str(path))
        if stat.S_ISDIR(status.st_mode):
            self._ignored = _read_patterns(path / IGNORE_FILE)
            self._walk(path, "", (_inode(status),))
        else:
            self._add(path.absolute().name, path, status)
        self.files.sort(key=lambda file: file.path)
        self._check(path)

    def _walk(self, folder: Path, prefix: str, above: tuple[Inode, ...]) -> None:
        """Takes the content of a folder; `above` are the folders on the way to it, and itself."""
        names = sorted(_list(folder, prefix))
        if not names:
            self.left_out.append(prefix)
        for name in names:
            path = prefix + name
            if path == IGNORE_FILE or self._ignored.match_file(path):
                continue
            status = _status(folder / name, path)
            if not stat.S_ISDIR(status.st_mode):
                self._add(path, folder / name, status)
            elif not self._ignored.match_file(path + "/"):
                _check_name(path)
                if _inode(status) in above:
                    raise PushRefused(f"{path!r} is a link to a folder that it is in: remove it, or name it in {IGNORE_FILE}")
                self._walk(folder / name, path + "/", (*above, _inode(status)))

    def _add(self, path: str, source: Path, status: os.stat_result) -> None:
        if kind := _KINDS.get(stat.S_IFMT(status.st_mode)):
            raise PushRefused(f"{path!r} is {kind}, not a file: remove it, or name it in {IGNORE_FILE}")
        _check_name(path)
        self.files.append(SourceFile(path, source, status.st_size, _state(status)))
        if len(self.files) > MAX_FILES:
            raise PushRefused(f"there are more than {MAX_FILES} files: pack some together")

    def _check(self, path: Path) -> None:
        """What the files must be together."""
        names = [file.path for file in self.files]
        if not names:
            raise PushRefused(f"{str(path)!r} has no files to push")
        if both := clash(names):
            raise PushRefused(f"{both[0]!r} and {both[1]!r} are the same where case is ignored: rename one")
        if sum(len(name.encode()) for name in names) > MAX_PATHS_BYTES:
            raise PushRefused(f"all paths together have more than {MAX_PATHS_BYTES} bytes: shorten them")


def _check_name(path: str) -> None:
    if wrong := fault(path):
        raise PushRefused(f"the path {path!r} {wrong}: {_OTHERWISE}")


def _read_patterns(path: Path) -> GitIgnoreSpec:
    try:
        lines = path.read_text("utf-8").splitlines() if path.is_file() else []
        return GitIgnoreSpec.from_lines(lines)
    except ValueError as error:
        raise PushRefused(f"{str(path)!r}: {error}") from None


def _list(folder: Path, prefix: str) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208  names are wanted, not paths
    except OSError as error:
        raise PushRefused(f"{prefix or str(folder)!r} cannot be read: {error.strerror}") from None


def _status(path: Path, shown: str) -> os.stat_result:
    """What is behind all links."""
    try:
        return path.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise PushRefused(f"{shown!r} is a link that leads back to itself: remove it") from None
        if path.is_symlink():
            raise PushRefused(f"{shown!r} is a link to nothing: remove it, or name it in {IGNORE_FILE}") from None
        raise PushRefused(f"{shown!r}: {error.strerror}") from None


def _inode(status: os.stat_result) -> Inode:
    return status.st_dev, status.st_ino


def _state(status: os.stat_result) -> tuple[int, ...]:
    return *_inode(status), status.st_size, status.st_mtime_ns
