"""The blocking half of an upload: hashes and writes. Called in threads, one call at a time, but `sync` may run beside `write`."""

from collections.abc import Iterable, Iterator
from itertools import islice

from podium_server.blobs.base import BlobStore, Durable, Partial
from podium_server.checksums import BLOCK_BYTES, Checksums
from podium_server.errors import ContentMismatch
from podium_server.leases import check_offset
from podium_server.tracing import span

_REREAD_BLOCKS = 64


class BlobWriter:
    """Writes one blob from where an earlier writer left it. `checksums` are those of all of its bytes once it is finished."""

    def __init__(self, store: BlobStore, digest: str, size: int, left: Durable) -> None:
        self.checksums = Checksums()
        self._store = store
        self._digest = digest
        self._size = size
        self._left = left
        self._partial: Partial | None = None
        self._earlier: Iterator[bytes] = iter(())

    @property
    def durable(self) -> Durable:
        """What the next writer can go on from."""
        return self._partial.durable if self._partial else self._left

    @property
    def sync_bytes(self) -> int:
        """How many bytes are worth a `sync`."""
        assert self._partial is not None
        return self._partial.sync_bytes

    def open(self, offset: int) -> None:
        """Opens the partial where the upload starts; OffsetMismatch if it cannot start there."""
        self._partial = self._begin(self._left.resume)
        if not offset and self._partial.durable.offset:
            self._partial.discard()
            self._partial = self._begin("")
        check_offset(offset, self._partial.durable.offset)
        if offset:
            self._earlier = self._partial.earlier()

    def reread(self) -> bool:
        """Hashes some of the earlier bytes, not all at once, so that the lease can be kept. Whether there may be more."""
        before = self.checksums.size
        for block in islice(self._earlier, _REREAD_BLOCKS):
            self.checksums.update(block)
        return self.checksums.size - before >= _REREAD_BLOCKS * BLOCK_BYTES

    def write(self, chunks: Iterable[memoryview]) -> None:
        """Adds chunks."""
        assert self._partial is not None
        for chunk in chunks:
            data = bytes(chunk)  # the CRC takes nothing else
            self.checksums.update(data)
            self._partial.append(data)

    def sync(self) -> None:
        """Makes durable what was written before."""
        if self._partial is not None:
            self._partial.sync()

    def finish(self, received: int) -> int:
        """Makes the blob durable if it has its size and digest, and says what it takes in the store; ContentMismatch."""
        assert self._partial is not None
        if received != self._size:
            raise ContentMismatch(f"more than the declared {self._size} bytes", expected=self._size, actual=received)
        if self.checksums.digest != self._digest:
            raise ContentMismatch(
                f"the bytes have the digest {self.checksums.digest}",
                expected=self._digest,
                actual=self.checksums.digest,
            )
        with span("blob finish"):
            return self._partial.finish()

    def close(self) -> None:
        """Lets go, and keeps what can be made durable."""
        partial, self._partial = self._partial, None
        if partial is not None:
            try:
                partial.sync()
            finally:
                self._left = partial.durable
                partial.close()

    def discard(self) -> None:
        """Lets go, and throws the partial away."""
        partial, self._partial = self._partial, None
        if partial is not None:
            partial.discard()

    def _begin(self, resume: str) -> Partial:
        with span("blob begin"):
            return self._store.begin(self._digest, self._size, resume)
