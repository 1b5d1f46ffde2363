"""A blob that is being written: what earlier writers left, as one object, and a resumable upload session for the rest.

Each writer has a session of its own. Who goes on from it seals it first: what it had persisted becomes an object, to which even a
writer that wakes up cannot add, and which can be read back and hashed. Cloud Storage itself puts the blob together from those
objects, so it comes under its digest whole and verified, or not at all. A blob that was finished before anything had to be durable
is one request.
"""

import base64
import logging
import re
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import google_crc32c
from google.api_core.exceptions import PreconditionFailed

from podium_server.blobs.base import Durable
from podium_server.blobs.errors import PartialLost, StoreError, StoreUnavailable
from podium_server.blobs.gcs_bucket import GcsBucket, Stored
from podium_server.blobs.gcs_reader import Ranges
from podium_server.blobs.gcs_session import STEP_BYTES, Pieces, Session, SessionLost

log = logging.getLogger(__name__)

PLACINGS = 8
BLOCK_BYTES = 1 << 20

# What earlier writers left, and behind it what that was made of; then the session, with the name of its object.
_RESUME = re.compile(r"((?:[0-9a-f]{16},?)*)(?: ([0-9a-f]{16}) (https?://\S+))?")
_GONE = "another writer has thrown away what this upload went on from"


class Place:
    """Where one blob is going to be, as `final`; the objects that it comes from have names that begin with `stem`."""

    def __init__(self, bucket: GcsBucket, ranges: Ranges, final: str, stem: str) -> None:
        self.bucket = bucket
        self.ranges = ranges
        self.final = final
        self.stem = stem

    def put(self, make: Callable[[int], Stored | None], crc32c: str) -> int:
        """Makes the blob in place of what is there: an object may be a damaged one, and nothing that can be asked of it tells.

        It is made where there is none, or of the generation that was seen: no writer replaces what it does not know of.
        """
        generation = 0
        for _ in range(PLACINGS):
            try:
                made = make(generation)
            except PreconditionFailed:
                there = self.bucket.stat(self.final)
                generation = there.generation if there else 0
                continue
            if made is None:
                raise PartialLost(_GONE)
            if made.crc32c != crc32c:
                self.bucket.delete(made.name, made.generation)
                raise StoreUnavailable("Cloud Storage has not kept the bytes as they were sent: send them again")
            return made.size
        raise StoreUnavailable("many writers replace this blob at once: try again later")

    def throw_away(self, *names: str) -> None:
        """Deletes parts that are of no use any more."""
        for name in names:
            with tolerating():
                self.bucket.delete(name, patience=0)


class GcsPartial:
    """See Partial. `left` is what earlier writers left, in place of the objects that it was made of."""

    sync_bytes = 8 << 20  # a request takes its time beside that of its bytes

    def __init__(self, place: Place, left: Stored | None = None, superseded: tuple[str, ...] = ()) -> None:
        self._place = place
        self._left = left
        self._superseded = superseded
        self._token = secrets.token_hex(8)
        self._session: Session | None = None
        self._made: Stored | None = None
        self._pieces = Pieces()
        # Of the whole blob, and of what goes to the session, which is the same where nothing was left.
        self._crcs = [_number(left.crc32c), 0] if left else [0]
        self._sending = threading.Lock()
        self._failure: StoreError | None = None
        self._is_open = True
        self.durable = self._progress()

    def earlier(self) -> Iterator[bytes]:
        """See Partial.earlier."""
        if self._left is None:
            return
        reader = self._place.ranges.open(self._left.name, 0)
        if reader is None:
            raise PartialLost(_GONE)
        crc = 0
        try:
            while block := reader.read(BLOCK_BYTES):
                crc = google_crc32c.extend(crc, block)
                yield block
        finally:
            reader.close()
        if crc != self._crcs[0]:
            raise StoreUnavailable("bytes of an earlier upload have not come back from Cloud Storage as they are there")

    def append(self, data: bytes) -> None:
        """See Partial.append."""
        self._crcs = [google_crc32c.extend(crc, data) for crc in self._crcs]
        self._pieces.add(data)
        if self._pieces.size >= 2 * self.sync_bytes:
            self.sync()

    def sync(self) -> Durable:
        """See Partial.sync."""
        with self._sending, self._noting():
            if count := self._pieces.size // STEP_BYTES * STEP_BYTES:
                self._started().send(self._pieces, count)
        return self.durable

    def finish(self) -> int:
        """See Partial.finish."""
        bucket, final = self._place.bucket, self._place.final
        with self._sending, self._noting():
            if self._left is None and self._session is None:
                data = b"".join(self._pieces.first(self._pieces.size))
                return self._place.put(lambda generation: bucket.put(final, data, generation), _text(self._crcs[0]))
            parts = self._parts()
            return self._place.put(lambda generation: bucket.compose(parts, final, generation), _text(self._crcs[0]))

    def close(self) -> None:
        """See Partial.close."""
        self._is_open = False
        self._pieces = Pieces()

    def discard(self) -> None:
        """See Partial.discard."""
        if not self._is_open:
            return
        self.close()
        if self._session is not None and self._made is None:
            with tolerating():
                self._session.cancel()
        self._place.throw_away(*self._superseded, *(part.name for part in (self._left, self._made) if part))

    def _started(self) -> Session:
        if self._session is None:
            bucket = self._place.bucket
            self._session = Session(bucket, bucket.start_upload(self._place.stem + self._token))
        return self._session

    def _parts(self) -> list[Stored]:
        """The objects that the blob is put together from, none of which changes any more."""
        parts = [self._left] if self._left else []
        if self._session is not None or self._pieces.size:
            crc32c = _text(self._crcs[-1])
            self._made = self._started().finish(self._pieces, crc32c)
            if self._made.crc32c != crc32c:
                self._place.throw_away(self._made.name)
                raise SessionLost("the bytes have not reached Cloud Storage as they were sent")
            parts.append(self._made)
        return parts

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Sees that `durable` tells how far it came, and that nobody goes on with what is lost."""
        if self._failure is not None:
            raise self._failure
        try:
            yield
        except SessionLost as lost:
            self._session, self._made, self._pieces = None, None, Pieces()
            self._failure = StoreUnavailable(f"{lost}: send it again")
            raise self._failure from None
        except PartialLost as lost:
            self._failure = lost
            raise
        finally:
            self.durable = self._progress()

    def _progress(self) -> Durable:
        offset, resume = 0, ""
        if self._left is not None:
            offset = self._left.size
            resume = ",".join(name.removeprefix(self._place.stem) for name in (self._left.name, *self._superseded))
        if self._session is not None:
            offset, resume = offset + self._session.offset, f"{resume} {self._token} {self._session.uri}"
        return Durable(offset, resume)


def resumed(place: Place, resume: str) -> GcsPartial:
    """Goes on from an earlier partial; a new one where there is nothing to go on from."""
    match = _RESUME.fullmatch(resume)
    tokens, token, uri = match.groups("") if match else ("", "", "")
    left, *superseded = [place.stem + name for name in tokens.split(",")] if tokens else [""]
    place.throw_away(*superseded)  # it was written down how to go on without
    if uri:
        with suppress(SessionLost):  # it may be an object already, and the session forgotten
            Session(place.bucket, uri).seal()
    names = [name for name in (left, uri and place.stem + token) if name]
    found = [part for part in map(place.bucket.stat, names) if part is not None]
    if left and (not found or found[0].name != left):  # the rest is of no use without its beginning
        place.throw_away(*(part.name for part in found))
        found = []
    if len(found) < 2:
        return GcsPartial(place, found[0] if found else None)
    return GcsPartial(place, place.bucket.compose(found, place.stem + secrets.token_hex(8), 0), tuple(names))


@contextmanager
def tolerating() -> Iterator[None]:
    """What cannot be thrown away now is left to the bucket's lifecycle rules: nobody waits for it."""
    try:
        yield
    except StoreError as error:
        log.warning("a part of an upload is left in the bucket: %s", error)


def _number(crc32c: str) -> int:
    return int.from_bytes(base64.b64decode(crc32c), "big")


def _text(crc32c: int) -> str:
    """As Cloud Storage writes it."""
    return base64.b64encode(crc32c.to_bytes(4, "big")).decode()
