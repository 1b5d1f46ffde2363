"""A blob that is being written to a file of its own.

A writer holds a lock (flock) on its file for as long as it has it open, so the kernel tells a dead writer from one that only
stands still. The file of a dead one is taken as it is; that of a living one is copied, and its name removed. A finished blob is
a second name of the file, and the first one stays until the blob is recorded: a crash in between costs the client no bytes.
"""

import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from podium_server.blobs.base import Durable
from podium_server.blobs.errors import PartialLost, StoreUnavailable
from podium_server.blobs.files import sync_folder, translated

_RESUME = re.compile(r"([0-9a-f]{16}):([0-9]+)")
_BLOCK_BYTES = 1 << 20


class LocalPartial:
    """See Partial. `_source` is the file of another writer, of which this one becomes a copy."""

    sync_bytes = 4 << 20  # so that the last sync is short, and a crash costs little

    def __init__(self, file: int, path: Path, final: Path, durable: Durable) -> None:
        self.durable = durable
        self._file = file
        self._path = path
        self._final = final
        self._end = durable.offset
        self._named_durably = durable.offset > 0
        self._source: tuple[int, Path] | None = None
        self._superseded: Path | None = None

    def copy_from(self, file: int, path: Path, durable: Durable) -> None:
        """Makes this one go on from another writer's file, which `earlier` copies, and whose name it then removes."""
        self._source = (file, path)
        self.durable = durable

    def earlier(self) -> Iterator[bytes]:
        """See Partial.earlier."""
        file = self._source[0] if self._source else self._file
        position, end = 0, self.durable.offset
        while position < end:
            with translated():
                block = os.pread(file, min(_BLOCK_BYTES, end - position), position)
            if not block:
                raise StoreUnavailable(f"{self._path} has become shorter than it was")
            if self._source:
                self.append(block)
            position += len(block)
            yield block
        if self._source:
            # Its name goes only after the next sync: until then nobody may have written down where to go on from now.
            superseded = self._source[1]
            self._leave_source()
            self._sync()
            self._superseded = superseded

    def append(self, data: bytes) -> None:
        """See Partial.append."""
        rest = memoryview(data)
        with translated():
            while rest:
                written = os.pwrite(self._file, rest, self._end)
                self._end += written
                rest = rest[written:]

    def sync(self) -> Durable:
        """See Partial.sync."""
        if self._source or self._end == self.durable.offset:  # of half a copy, what it is copied from still counts
            return self.durable
        return self._sync()

    def _sync(self) -> Durable:
        end = self._end
        with translated():
            self._forget_superseded()
            os.fdatasync(self._file)
            if not self._named_durably:
                sync_folder(self._path.parent)
                self._named_durably = True
        self.durable = Durable(end, f"{self._path.suffix[1:]}:{end}")
        return self.durable

    def finish(self) -> int:
        """See Partial.finish."""
        shard = self._final.parent
        second_name = self._path.with_suffix(f"{self._path.suffix}.done")
        with translated():
            os.fdatasync(self._file)
            if not shard.is_dir():
                shard.mkdir(exist_ok=True)
                sync_folder(shard.parent)
            try:
                second_name.hardlink_to(self._path)
            except FileNotFoundError as error:
                raise PartialLost(f"another writer has taken {self._path.name} over") from error
            second_name.rename(self._final)
            sync_folder(shard)
            self._forget_superseded()
        return self._end

    def close(self) -> None:
        """See Partial.close."""
        file, self._file = self._file, -1
        if file < 0:
            return
        with translated():
            try:
                if self._source or not self._named_durably:
                    self._path.unlink(missing_ok=True)
                self._forget_superseded()
            finally:
                self._leave_source()
                os.close(file)

    def discard(self) -> None:
        """See Partial.discard."""
        try:
            with translated():
                self._path.unlink(missing_ok=True)
                if self._source:
                    self._source[1].unlink(missing_ok=True)
        finally:
            self.close()

    def _forget_superseded(self) -> None:
        if self._superseded:
            self._superseded.unlink(missing_ok=True)
            self._superseded = None

    def _leave_source(self) -> None:
        if self._source:
            os.close(self._source[0])
            self._source = None


def create(folder: Path, final: Path) -> LocalPartial:
    """Begins a partial for the blob that is going to be at `final`."""
    path = folder / f"{final.name}.{secrets.token_hex(8)}"
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return LocalPartial(file, path, final, Durable(0, ""))


def resumed(folder: Path, final: Path, resume: str) -> LocalPartial | None:
    """Goes on from an earlier partial; None if there is nothing to go on from."""
    parts = _RESUME.fullmatch(resume)
    if parts is None:
        return None
    path, durable = folder / f"{final.name}.{parts[1]}", Durable(int(parts[2]), resume)
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with ExitStack() as on_failure:
        on_failure.callback(os.close, file)
        if os.fstat(file).st_size < durable.offset:
            return None
        if _lock(file) and _is_only_at(file, path):
            os.ftruncate(file, durable.offset)
            partial = LocalPartial(file, path, final, durable)
        else:  # its writer may still write, or it is a blob by now, of which not a byte may change
            partial = create(folder, final)
            partial.copy_from(file, path, durable)
        on_failure.pop_all()
    return partial


def _lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_only_at(file: int, path: Path) -> bool:
    status = os.fstat(file)
    try:
        return status.st_nlink == 1 and os.path.samestat(status, path.stat())
    except FileNotFoundError:
        return False
