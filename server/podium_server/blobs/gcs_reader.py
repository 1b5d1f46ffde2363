"""Reads objects in ranges, several of them at once: a range takes its time to begin, and one connection is slower than a disk."""

import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context

from podium_server.blobs.errors import NoSuchBlob
from podium_server.blobs.gcs_bucket import GcsBucket

RANGE_BYTES = 4 << 20
AHEAD = 4  # ranges that a reader is ahead of its caller, once that has read some
AHEAD_IN_ALL = 32  # of all readers, beside one each: what downloads that stand still can hold
THREADS = 16


class Ranges:
    """Fetches ranges of a bucket's objects, for all readers."""

    def __init__(self, bucket: GcsBucket) -> None:
        self._bucket = bucket
        self._threads = ThreadPoolExecutor(THREADS, "gcs-read")
        self._spare = threading.BoundedSemaphore(AHEAD_IN_ALL)

    def open(self, name: str, offset: int) -> "GcsReader | None":
        """Opens an object; None if there is none. Its first range is fetched now, so a small object takes one request."""
        first = self._bucket.read(name, offset, offset + RANGE_BYTES)
        return None if first is None else GcsReader(self, name, offset, *first)

    def begin(self, name: str, start: int, *, is_spare: bool) -> "Ahead | None":
        """Begins to fetch a range; None if it could be spared and enough are ahead."""
        if is_spare and not self._spare.acquire(blocking=False):
            return None
        return Ahead(self._threads.submit(copy_context().run, self._fetch, name, start), self._spare if is_spare else None)

    def _fetch(self, name: str, start: int) -> bytes:
        found = self._bucket.read(name, start, start + RANGE_BYTES)
        if found is None:
            raise NoSuchBlob(f"{name} was deleted while it was read")
        return found[0]


class Ahead:
    """A range that is being fetched."""

    def __init__(self, bytes_: Future[bytes], spare: threading.BoundedSemaphore | None) -> None:
        self._bytes = bytes_
        self._spare = spare

    def take(self) -> bytes:
        """Its bytes."""
        try:
            return self._bytes.result()
        finally:
            self.leave()

    def leave(self) -> None:
        """Makes room for another as soon as it is not being fetched any more."""
        self._bytes.cancel()
        spare, self._spare = self._spare, None
        if spare is not None:
            self._bytes.add_done_callback(lambda _: spare.release())


class GcsReader:
    """See Reader. Without a generation: a blob that is replaced under it goes on as the other, which has the same bytes."""

    def __init__(self, ranges: Ranges, name: str, offset: int, first: bytes, size: int) -> None:
        self._ranges = ranges
        self._name = name
        self._size = size
        self._range = first
        self._position = 0  # in the range
        self._next = offset + RANGE_BYTES
        self._ahead: deque[Ahead] = deque()
        self._most_ahead = 1

    def read(self, size: int) -> bytes:
        """See Reader.read."""
        data = self._take(size)
        while len(data) < size and self._turn():
            data += self._take(size - len(data))
        return data

    def close(self) -> None:
        """See Reader.close."""
        while self._ahead:
            self._ahead.popleft().leave()
        self._range, self._next = b"", self._size

    def _take(self, size: int) -> bytes:
        data = self._range[self._position : self._position + size]
        self._position += len(data)
        return data

    def _turn(self) -> bool:
        """Goes on to the next range, if there is one, and further ahead than before."""
        self._most_ahead = min(self._most_ahead + 1, AHEAD)
        while self._next < self._size and len(self._ahead) < self._most_ahead:
            ahead = self._ranges.begin(self._name, self._next, is_spare=bool(self._ahead))
            if ahead is None:
                break
            self._ahead.append(ahead)
            self._next += RANGE_BYTES
        self._range, self._position = b"", 0
        if not self._ahead:
            return False
        self._range = self._ahead.popleft().take()
        return True
