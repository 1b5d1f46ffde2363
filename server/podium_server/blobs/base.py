"""The contract of a blob store: eight methods, and what an unfinished and a finished blob can do.

Everything here blocks, so it is called in threads. A store never checks a digest, it only names blobs by them: a digest is
`sha256:` and 64 lowercase hex digits. Sizes and offsets are bytes. Any method may raise StoreFull or StoreUnavailable.
"""

from collections.abc import Iterator
from typing import NamedTuple, Protocol


class Durable(NamedTuple):
    """How much of a partial would survive a power cut, and the store's own string by which `begin` goes on from there."""

    offset: int
    resume: str


class Usage(NamedTuple):
    """How many bytes the place of the store has in all, and how many are free for it; None if it does not know."""

    total_bytes: int | None
    free_bytes: int | None


class Partial(Protocol):
    """A blob that is being written, by one writer, in order. PartialLost from any method once another has gone on from it.

    No two partials share what they write to: not even one whose writer was thought dead and wakes up can change another's bytes.
    """

    durable: Durable
    """As `begin` found it, then as the last `sync` left it."""

    def earlier(self) -> Iterator[bytes]:
        """The bytes before `durable.offset` as `begin` found it, to be read to the end before the first `append`."""

    sync_bytes: int
    """So many bytes are worth a `sync`, which has a price of its own. Their caller may be twice as far ahead."""

    def append(self, data: bytes) -> None:
        """Adds bytes at the end, any number of them. Stores that write in steps (256 KiB for some) keep the rest for the next."""

    def sync(self) -> Durable:
        """Makes durable what was appended before, as far as the store's steps go. May run beside an `append`."""

    def finish(self) -> int:
        """Makes the blob durable under its digest, in place of any that is there; how many bytes it takes in the store.

        PartialLost if another writer has gone on from this partial: no later than here. Until `discard`, a `begin` may still go on
        from what was durable before, so that nothing is lost if the caller cannot record the blob.
        """

    def close(self) -> None:
        """Lets go, and keeps what is durable for a later `begin`. Does nothing after `discard`."""

    def discard(self) -> None:
        """Lets go, and throws away the partial and what it was resumed from. A blob that it was finished as stays."""


class Reader(Protocol):
    """A finished blob, open for reading in order."""

    def read(self, size: int) -> bytes:
        """The next bytes: exactly `size`, fewer only at the end of the blob."""

    def close(self) -> None:
        """Lets go."""


class BlobStore(Protocol):
    """Keeps blobs under their digests."""

    @property
    def signs(self) -> bool:
        """Whether it can sign URLs."""

    def owner(self, registry: str) -> str:
        """The uid of the registry whose blobs these are: this one, from now on, if they were nobody's. Tries once."""

    def begin(self, digest: str, size: int, resume: str = "") -> Partial:
        """Begins a blob of a given size, or goes on from a partial's `durable.resume`.

        If nothing is left of that partial, the new one is at offset 0: its `durable` tells. A store that persists what is sent
        may also have more than was written down, if its writer crashed in between, or less, if it lost the rest.
        """

    def open(self, digest: str, offset: int = 0) -> Reader:
        """Opens a finished blob at an offset; NoSuchBlob."""

    def size(self, digest: str) -> int:
        """The size of a finished blob in the store; NoSuchBlob."""

    def delete(self, digest: str) -> None:
        """Removes a finished blob; NoSuchBlob. Readers that have it open may go on."""

    def list(self) -> Iterator[str]:
        """The digests of all finished blobs, in no order."""

    def usage(self) -> Usage:
        """How much room there is."""

    def sign(self, digest: str, seconds: int, /) -> str:
        """A URL by which anyone can read a blob over HTTP for so long, if it is there: a key, not to be shown. SigningFailed."""
