"""One stored file on its way out: each MiB is checked before it is sent, and read while the one before is being sent."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from concurrent.futures import Executor
from typing import NamedTuple

from podium.v1.resolve_pb2 import Target

from podium_server.blobs.base import BlobStore, Reader
from podium_server.blobs.errors import NoSuchBlob
from podium_server.checksums import BLOCK_BYTES, block_matches
from podium_server.errors import BlobDamaged, FileIsExternal, FileNotInVersion, shown
from podium_server.frames import chunk_frame
from podium_server.ledger import Transaction
from podium_server.limits import is_line
from podium_server.rows import Reader as RowReader
from podium_server.tracing import span

BLOCKS_AT_ONCE = 2


class StoredFile(NamedTuple):
    """The blob of a file. Generation 0 means that there is none that is whole."""

    digest: str
    size: int
    generation: int
    crc32c: bytes

    def damaged(self) -> BlobDamaged:
        """What is said of it when its bytes are not what they were."""
        return BlobDamaged(f"the stored bytes of {self.digest} are damaged: upload the file again", digest=self.digest)

    def quarantine(self, tx: Transaction) -> None:
        """Sees that it counts as missing from now on, unless it was healed in the meantime."""
        tx.run("UPDATE blob SET state = 'quarantined' WHERE digest = ? AND generation = ?", self.digest, self.generation)


def find_file(reader: RowReader, target: Target, path: str) -> StoredFile:
    """The file of that path in a version; FileNotInVersion, FileIsExternal, or BlobDamaged if that is known already."""
    if not is_line(path):  # no file has such a path, and PostgreSQL no such text
        raise _no_such_file(target, path)
    row = reader.one(
        "SELECT f.digest, f.size_bytes, b.generation, b.crc32c FROM manifest_file f "
        "LEFT JOIN blob b ON b.digest = f.digest AND b.state = 'complete' WHERE f.manifest_digest = ? AND f.path = ?",
        target.digest, path,
    )  # fmt: skip
    if row is None:
        external = reader.one("SELECT uri FROM external_file WHERE record_digest = ? AND path = ?", target.record_digest, path)
        if external is not None:
            raise FileIsExternal(f"{path} is not stored here: the metadata uri says where it is", uri=external[0])
        raise _no_such_file(target, path)
    digest, size, generation, crc32c = row
    file = StoredFile(digest, size, generation or 0, crc32c or b"")
    if not file.generation:
        raise file.damaged()
    return file


def _no_such_file(target: Target, path: str) -> FileNotInVersion:
    return FileNotInVersion(f"{target.model}:{target.version} has no file {shown(path)}", path=path)


class Download:
    """Reads a range of a file."""

    def __init__(self, store: BlobStore, file: StoredFile, start: int, stop: int) -> None:
        self._store = store
        self._file = file
        self._start = start
        self._stop = stop
        self._index = start // BLOCK_BYTES
        self._reader: Reader | None = None
        self._damage: BlobDamaged | None = None

    async def frames(self, threads: Executor) -> AsyncGenerator[bytes]:
        """The chunks of the range, as frames. BlobDamaged before any byte of a damaged MiB."""
        loop = asyncio.get_running_loop()
        ahead = loop.run_in_executor(threads, self._next) if self._has_more else None
        try:
            while ahead is not None:
                frames = await asyncio.shield(ahead)
                ahead = loop.run_in_executor(threads, self._next) if self._has_more else None
                while frames:
                    yield frames.popleft()
        finally:
            if ahead is not None:
                await asyncio.wait({ahead})
                ahead.exception()  # looked at, so that asyncio does not log it where the call has gone
            if self._reader is not None:
                await loop.run_in_executor(threads, self._close)

    @property
    def _has_more(self) -> bool:
        return self._index * BLOCK_BYTES < self._stop

    def _next(self) -> deque[bytes]:
        """The next few frames. Several, because going to a thread and back costs as much as reading a MiB."""
        if self._damage is not None:
            raise self._damage
        frames: deque[bytes] = deque()
        try:
            while self._has_more and len(frames) < BLOCKS_AT_ONCE:
                frames.append(self._frame())
        except BlobDamaged as damage:
            self._damage = damage  # comes after the frames before it
        if not self._has_more:
            self._close()  # most files are one block, and one turn of a thread
        return frames

    def _frame(self) -> bytes:
        begin = self._index * BLOCK_BYTES
        end = min(begin + BLOCK_BYTES, self._file.size)
        block = self._read(begin, end - begin)
        if len(block) != end - begin or not block_matches(block, self._index, self._file.crc32c):
            raise self._file.damaged()
        self._index += 1
        return chunk_frame(block[max(self._start - begin, 0) : self._stop - begin])

    def _close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _read(self, begin: int, size: int) -> bytes:
        try:
            if self._reader is None:
                with span("blob open"):
                    self._reader = self._store.open(self._file.digest, begin)
            return self._reader.read(size)
        except NoSuchBlob as error:
            raise self._file.damaged() from error
