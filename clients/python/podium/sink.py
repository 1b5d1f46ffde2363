"""A partial file that grows: what is there is hashed, what comes is hashed and written by a thread behind the stream."""

import errno
import hashlib
import os
import threading
from contextlib import suppress
from pathlib import Path
from queue import Queue
from types import TracebackType
from typing import Self

from podium.errors import DiskFull

_AHEAD = 4  # chunks that wait for the disk
_PIECE_BYTES = 1 << 20
_WORTH_A_THREAD = 4 << 20  # bytes
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


class Sink:
    """Appends to the file at `path`, which is to have `expected` bytes; `size` is how many have come so far."""

    def __init__(self, path: Path, expected: int) -> None:
        with suppress(FileNotFoundError):
            path.chmod(0o600)  # an earlier process may have ended just after it made the file read-only
        self._path = path
        self._file = path.open("a+b", buffering=0)
        self._hash = hashlib.sha256()
        self._failure: Exception | None = None
        self._queue: Queue[memoryview | None] = Queue(_AHEAD)
        self._thread: threading.Thread | None = None
        self.size = self._read_back()
        if self.size > expected:
            self.restart()
        if expected - self.size >= _WORTH_A_THREAD:
            self._thread = threading.Thread(target=self._drain, name="podium-sink", daemon=True)
            self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        if self._thread:
            self._queue.put(None)
            self._thread.join()
        self._file.close()

    def write(self, chunk: memoryview) -> None:
        """Takes the next bytes; a failure to write earlier ones may be raised here."""
        self.size += len(chunk)
        if self._thread:
            self._queue.put(chunk)
        else:
            self._append(chunk)
        self._raise_failure()

    def hexdigest(self) -> str:
        """The SHA-256 of the whole file, once all of it is written."""
        self._queue.join()
        self._raise_failure()
        return self._hash.hexdigest()

    def restart(self) -> None:
        """Throws away what is there."""
        self._queue.join()
        self._file.truncate(0)
        self._hash = hashlib.sha256()
        self.size = 0

    def _read_back(self) -> int:
        if not self._file.seek(0, os.SEEK_END):
            return 0
        self._file.seek(0)
        size, piece = 0, memoryview(bytearray(_PIECE_BYTES))
        while count := self._file.readinto(piece):
            self._hash.update(piece[:count])
            size += count
        return size

    def _drain(self) -> None:
        while (chunk := self._queue.get()) is not None:
            self._append(chunk)
            self._queue.task_done()

    def _append(self, chunk: memoryview) -> None:
        if self._failure:
            return
        try:
            self._hash.update(chunk)
            while chunk:
                chunk = chunk[self._file.write(chunk) :]
        except OSError as error:
            no_room = error.errno in _NO_ROOM
            self._failure = DiskFull(f"no room left for {self._path}") if no_room else error

    def _raise_failure(self) -> None:
        if self._failure:
            raise self._failure
