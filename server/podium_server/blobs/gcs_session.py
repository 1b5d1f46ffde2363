"""A resumable upload session: what is sent is persisted in steps of 256 KiB, and each answer says how far that is."""

import re
import threading
from collections import deque
from typing import NamedTuple

import requests

from podium_server.blobs.errors import PartialLost, StoreError
from podium_server.blobs.gcs_bucket import Body, GcsBucket, Stored
from podium_server.blobs.gcs_calls import Unfinished, failure

STEP_BYTES = 256 << 10

_PERSISTED = re.compile(r"bytes=0-([0-9]+)")
_TAKEN_OVER = "another writer has gone on from this upload"


class SessionLost(StoreError):
    """What was sent to the session is of no use any more."""


class Pieces:
    """Bytes in order, which wait to be persisted. One thread may add while another takes."""

    def __init__(self) -> None:
        self.size = 0
        self._pieces: deque[memoryview] = deque()
        self._lock = threading.Lock()

    def add(self, piece: bytes) -> None:
        """Adds bytes at the end."""
        with self._lock:
            self._pieces.append(memoryview(piece))
            self.size += len(piece)

    def first(self, count: int) -> Body:
        """The first bytes, which stay."""
        found = []
        with self._lock:
            for piece in self._pieces:
                if not count:
                    break
                found.append(piece[:count])
                count -= len(found[-1])
        return Body(found)

    def drop(self, count: int) -> None:
        """Forgets the first bytes."""
        with self._lock:
            self.size -= count
            while count:
                piece = self._pieces.popleft()
                if count < len(piece):
                    self._pieces.appendleft(piece[count:])
                count -= min(count, len(piece))


class Answer(NamedTuple):
    """How many bytes are persisted, and what they are an object as, if nothing can be added any more."""

    offset: int
    made: Stored | None = None


class Session:
    """One session, of one writer, who alone sends to it. The others may only `seal` it."""

    def __init__(self, bucket: GcsBucket, uri: str) -> None:
        self.uri = uri
        self.offset = 0
        """How many bytes are persisted, as of the last answer."""
        self._bucket = bucket
        self._is_sure = True

    def send(self, pieces: Pieces, count: int) -> None:
        """Persists the first of the pieces, a multiple of the step; SessionLost, or PartialLost if somebody has sealed it."""
        end = self.offset + count
        self._bucket.call(lambda: self._send(pieces, end, "bytes {}/*"))

    def finish(self, pieces: Pieces, crc32c: str) -> Stored:
        """Makes an object of all that was sent and the pieces; SessionLost also if that is not its CRC32C, PartialLost."""
        end = self.offset + pieces.size
        made = self._bucket.call(lambda: self._send(pieces, end, f"bytes {{}}/{end}", crc32c))
        assert made is not None
        return made

    def seal(self) -> None:
        """Makes an object of what is persisted, after which no writer can add a byte; SessionLost if that is nothing."""
        self._bucket.call(self._seal)

    def cancel(self) -> None:
        """Throws away what is persisted, unless it is an object. Tries only once: a session that is left ends in a week."""
        self._bucket.call(self._cancel, patience=0)

    def _send(self, pieces: Pieces, end: int, content_range: str, crc32c: str = "") -> Stored | None:
        """One attempt, from where the last one left it. With a CRC32C it is the end, and makes an object."""
        answer = None if self._is_sure else self._take(self._put("bytes */*"), pieces, end)
        if answer is None or not _is_enough(answer, end, crc32c):
            body = pieces.first(end - self.offset)
            what = f"{self.offset}-{end - 1}" if body else "*"
            answer = self._take(self._put(content_range.format(what), body, crc32c), pieces, end)
        if answer.made and not crc32c:
            raise PartialLost(_TAKEN_OVER)
        if not _is_enough(answer, end, crc32c):
            raise Unfinished
        return answer.made

    def _take(self, answer: Answer, pieces: Pieces, end: int) -> Answer:
        """Forgets the pieces that are persisted."""
        if answer.made and answer.offset != end:
            raise PartialLost(_TAKEN_OVER)
        if not self.offset <= answer.offset <= end:
            raise SessionLost("Cloud Storage has lost a part of the upload")
        pieces.drop(answer.offset - self.offset)
        self.offset = answer.offset
        return answer

    def _seal(self) -> None:
        answer = self._put("bytes */*")
        if not answer.offset:
            self._cancel()
            raise SessionLost("nothing of the upload was persisted")
        if not answer.made and not self._put(f"bytes */{answer.offset}").made:
            raise Unfinished  # more bytes came in between

    def _cancel(self) -> None:
        self._bucket.request("DELETE", self.uri, {"Content-Length": "0"})

    def _put(self, content_range: str, body: Body | None = None, crc32c: str = "") -> Answer:
        headers = {"Content-Range": content_range, **({"X-Goog-Hash": f"crc32c={crc32c}"} if crc32c else {})}
        self._is_sure = False
        answer = _answer(self._bucket.request("PUT", self.uri, headers, body or None), may_be_damaged=bool(crc32c))
        self._is_sure = True
        return answer


def _is_enough(answer: Answer, end: int, crc32c: str) -> bool:
    return answer.offset == end and (answer.made is not None or not crc32c)


def _answer(response: requests.Response, *, may_be_damaged: bool) -> Answer:
    match response.status_code:
        case 308:
            persisted = _PERSISTED.fullmatch(response.headers.get("Range", ""))
            return Answer(int(persisted[1]) + 1 if persisted else 0)
        case 200 | 201:
            made = response.json()
            size = int(made["size"])
            return Answer(size, Stored(made["name"], int(made["generation"]), size, made["crc32c"]))
        case 404 | 410 | 499:
            raise SessionLost("Cloud Storage has lost the upload")
        case 400 if may_be_damaged:
            raise SessionLost("the bytes have not reached Cloud Storage as they were sent")
    raise failure(response)
