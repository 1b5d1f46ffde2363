"""A folder that any serving system reads: one folder a version, and `current`, a link that moves in one step.

    DIR/1.4.0/          a version's files, a copy: whole from the moment that it is there
    DIR/1.3.0/          the one before
    DIR/current         a link to one of them
    DIR/.podium.json    which versions these are; DIR/.podium.lock keeps a second keeper out

A link and not a renamed folder, since only a link can be replaced in one step: whoever opens `current/model.bin` at any moment gets
the old file or the new one.
"""

import fcntl
import filecmp
import json
import os
import re
import stat
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from podium.checkout import copy_out
from podium.current import Current
from podium.errors import AlreadyExists, HostileServer, InvalidArgument
from podium.listing import Listing
from podium.progress import reporting
from podium.sealed import remove
from podium.v1.resolve_pb2 import Target
from podium.v1.versions_pb2 import File

CURRENT = "current"
_FOLDER = re.compile(r"(?!current$)[A-Za-z0-9][A-Za-z0-9._+-]*")
Naming = Literal["version", "number"]


@dataclass(frozen=True)
class Placed:
    """A folder of a version that is here, and which version that is."""

    folder: str
    model_uid: str
    number: int
    version: str
    digest: str

    def __post_init__(self) -> None:
        if not _FOLDER.fullmatch(self.folder):
            raise HostileServer(f"{self.folder!r} is no version that a Podium server gives")


class Rollout:
    """The folder `directory`, which is made where it is not there. AlreadyExists if another process keeps it.

    Only folders that it made are ever replaced or removed. `placed` are those, the one that `current` names last.
    """

    def __init__(self, directory: Path, *, naming: Naming = "version") -> None:
        self.directory = directory
        self._naming = naming
        self._checked: set[Placed] = set()
        directory.mkdir(parents=True, exist_ok=True)
        self._lock = (directory / ".podium.lock").open("a")
        try:
            self._begin()
        except BaseException:
            self._lock.close()
            raise

    def _begin(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyExists(f"another process keeps {self.directory}: end it, or name another folder") from None
        placed, self._told = _read(self.directory / ".podium.json")
        for leftover in self.directory.glob(".podium-*"):  # of a process that was killed
            remove(leftover)
        self.placed = [one for one in placed if (self.directory / one.folder).is_dir()]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        self._lock.close()

    @property
    def current(self) -> Placed | None:
        """What `current` names."""
        try:
            named = (self.directory / CURRENT).readlink()
        except OSError:
            return None
        return next((placed for placed in self.placed if placed.folder == str(named)), None)

    @property
    def path(self) -> Path:
        """The folder that the last `switch` was about."""
        return self.directory / self.placed[-1].folder

    @property
    def is_told(self) -> bool:
        """Whether `told` was called since the last switch, also by an earlier process."""
        return self.current is not None and self.current.folder == self._told

    def told(self) -> None:
        """Whoever serves knows of the last switch."""
        self._write(self.placed, self.current.folder if self.current else "")

    def switch(self, version: Current | Target, source: Path) -> bool:
        """Makes `current` mean this version, whose verified files are at `source`; whether that changed anything.

        DiskFull or OSError if there is no room; then, as after any other failure, `current` is what it was.
        """
        folder = version.version if self._naming == "version" else str(version.number)
        wanted = Placed(folder, version.model_uid, version.number, version.version, version.digest)
        self._check_ours(folder)
        changed = self.current != wanted
        if not self._has(wanted, source):
            self._make(wanted, source)
            changed = True
        elif wanted != self.placed[-1]:
            self._note(wanted)
        self._checked.add(wanted)
        if changed:
            self._link(folder)
        return changed

    def prune(self, keep: int) -> None:
        """Removes the folders of all but the last so many versions that were current."""
        for placed in self.placed[:-keep]:
            old = self.directory / ".podium-old"
            remove(old)
            with suppress(FileNotFoundError):
                (self.directory / placed.folder).rename(old)  # at once for whoever looks
            remove(old)
            self._checked.discard(placed)
        if self.placed[:-keep]:
            self._write(self.placed[-keep:], self._told)

    def _check_ours(self, folder: str) -> None:
        """InvalidArgument if something is in the way that somebody else made."""
        place, link = self.directory / folder, self.directory / CURRENT
        ours = {place: any(placed.folder == folder for placed in self.placed), link: link.is_symlink()}
        for path, is_ours in ours.items():
            if os.path.lexists(path) and not is_ours:
                raise InvalidArgument(f"{path} is there and was not made by podium: move it away, or name another folder")

    def _has(self, wanted: Placed, source: Path) -> bool:
        """Whether the folder is there and whole. Each is read once a process: nobody else should write there."""
        place, which = self.directory / wanted.folder, (wanted.folder, wanted.digest)
        is_placed = any((placed.folder, placed.digest) == which for placed in self.placed)
        return is_placed and place.is_dir() and (wanted in self._checked or _equal(place, source))

    def _make(self, wanted: Placed, source: Path) -> None:
        place = self.directory / wanted.folder
        files = [File(path=path, size_bytes=size) for path, (kind, size) in _content(source).items() if kind == stat.S_IFREG]
        with tempfile.TemporaryDirectory(prefix=".podium-", dir=self.directory) as temporary, reporting(progress=None) as report:
            new = copy_out(source, Path(temporary) / "new", Listing(Target(), tuple(files), ()), report)
            self._note(wanted)  # first: a folder that is not written down would be nobody's
            with suppress(FileNotFoundError):  # damaged, or of a registry that was restored: for a moment there is none
                place.rename(Path(temporary) / "old")
            new.rename(place)

    def _note(self, wanted: Placed) -> None:
        """Writes down that this one is next, of which nobody was told."""
        self._write([*(placed for placed in self.placed if placed.folder != wanted.folder), wanted], "")

    def _link(self, folder: str) -> None:
        new = self.directory / ".podium-current"
        remove(new)
        new.symlink_to(folder)
        new.replace(self.directory / CURRENT)

    def _write(self, placed: Sequence[Placed], told: str) -> None:
        new = self.directory / ".podium-state"
        with new.open("w") as file:
            json.dump({"placed": [asdict(one) for one in placed], "told": told}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.directory / ".podium.json")
        self.placed, self._told = list(placed), told


def _read(path: Path) -> tuple[list[Placed], str]:
    """What is written down; InvalidArgument if it makes no sense, since then nobody knows whose the folders are."""
    try:
        document: Mapping[str, Any] = json.loads(path.read_bytes())
        return [Placed(**one) for one in document["placed"]], str(document["told"])
    except FileNotFoundError:
        return [], ""
    except (ValueError, KeyError, TypeError, HostileServer):
        raise InvalidArgument(f"{path} is damaged: move {path.parent} away, or name another folder") from None


def _content(folder: Path) -> dict[str, tuple[int, int]]:
    """All that is in a folder: of each path the kind, as in `st_mode`, and a file's size."""
    found = {}
    for inner, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(inner) / name
            status = path.lstat()
            kind = stat.S_IFMT(status.st_mode)
            found[path.relative_to(folder).as_posix()] = (kind, status.st_size if kind == stat.S_IFREG else 0)
    return found


def _equal(place: Path, source: Path) -> bool:
    """Whether a copy has exactly the files of its source, byte for byte. What cannot be read is not equal."""
    wanted = _content(source)
    files = [path for path, (kind, _) in wanted.items() if kind == stat.S_IFREG]
    try:
        return _content(place) == wanted and all(filecmp.cmp(place / path, source / path, shallow=False) for path in files)
    except OSError:
        return False
