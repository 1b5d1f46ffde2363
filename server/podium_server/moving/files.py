"""Copies the blobs that the registry knows, several at once, each verified by its digest on the way."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from typing import NamedTuple, Protocol, TypeVar

from podium_server.blobs.base import BlobStore
from podium_server.blobs.errors import NoSuchBlob, StoreError, StoreUnavailable
from podium_server.moving.rows import Tell
from podium_server.rows import Reader as RowReader

T = TypeVar("T")

AT_ONCE = 8
BLOCK_BYTES = 1 << 20
PAGE_BLOBS = 1_000
_COMPLETE = "FROM blob WHERE state = 'complete'"  # what is quarantined counts as missing


class Blob(NamedTuple):
    """A blob, and how many bytes it has in its store."""

    digest: str
    size: int


class Ask(Protocol):
    """Answers a question to the source's database."""

    def __call__(self, question: Callable[[RowReader], T], /) -> T: ...


class Damaged(NamedTuple):
    """A blob that is lost or damaged in one of the stores, and how."""

    digest: str
    why: str


class Count(NamedTuple):
    """How many blobs there are, and their bytes."""

    blobs: int
    size_bytes: int


def count_blobs(reader: RowReader) -> Count:
    """Those that are to be there."""
    counts = reader.one(f"SELECT count(*), CAST(coalesce(sum(stored_size), 0) AS BIGINT) {_COMPLETE}")
    assert counts is not None
    return Count(*counts)


class Files:
    """The blobs of a registry, on their way from one store to another. StoreError of any of them ends it, and names that one."""

    def __init__(self, ask: Ask, source: BlobStore, target: BlobStore) -> None:
        self._ask = ask
        self._source = source
        self._target = target
        self._is_stopping = threading.Event()

    def copy(self, tell: Tell) -> list[Damaged]:
        """Copies what is not there yet with its size; those that are lost or damaged where they are now."""
        return self._each(self._copy, tell)

    def check(self, tell: Tell, *, read_back: bool) -> list[Damaged]:
        """Those that are not there with their size or, if they are read back, with their digest."""
        return self._each(self._read_back if read_back else self._look, tell)

    def _copy(self, blob: Blob, tell: Tell) -> str:
        if not self._wrong_size(blob):
            tell(blob.size)
            return ""
        partial = self._target.begin(blob.digest, blob.size)
        try:
            for block in self._blocks(self._source, blob, tell):
                partial.append(block)
            partial.finish()
        except (NoSuchBlob, _WrongDigest) as error:
            return f"where it is now: {error}"
        finally:
            partial.discard()
        return ""

    def _look(self, blob: Blob, tell: Tell) -> str:
        tell(blob.size)
        return self._wrong_size(blob)

    def _wrong_size(self, blob: Blob) -> str:
        try:
            size = self._target.size(blob.digest)
        except NoSuchBlob as error:
            return str(error)
        return "" if size == blob.size else f"it has {size} bytes, not {blob.size}"

    def _read_back(self, blob: Blob, tell: Tell) -> str:
        try:
            for _ in self._blocks(self._target, blob, tell):
                pass
        except (NoSuchBlob, _WrongDigest) as error:
            return str(error)
        return ""

    def _blocks(self, store: BlobStore, blob: Blob, tell: Tell) -> Iterator[bytes]:
        """The bytes; after the last of them _WrongDigest if they are not those of the digest."""
        sha256 = hashlib.sha256()
        with closing(store.open(blob.digest)) as reader:
            while block := reader.read(BLOCK_BYTES):
                if self._is_stopping.is_set():
                    raise StoreUnavailable("the copying was ended")
                sha256.update(block)
                yield block
                tell(len(block))
        if blob.digest != f"sha256:{sha256.hexdigest()}":
            raise _WrongDigest("its bytes are damaged")

    def _each(self, work: Callable[[Blob, Tell], str], tell: Tell) -> list[Damaged]:
        """Does something with all of them, several at once; it says what is wrong with one, if anything is."""
        found = []
        with ThreadPoolExecutor(AT_ONCE, "files") as threads:
            for page in self._pages():
                working = {threads.submit(_naming, work, blob, tell): blob for blob in page}
                try:
                    found += [Damaged(working[one].digest, one.result()) for one in as_completed(working) if one.result()]
                except BaseException:
                    self._is_stopping.set()
                    threads.shutdown(wait=False, cancel_futures=True)
                    raise
        return sorted(found)

    def _pages(self) -> Iterator[list[Blob]]:
        query = f"SELECT digest, stored_size {_COMPLETE} AND digest > ? ORDER BY digest LIMIT {PAGE_BLOBS}"
        last = ""
        while page := self._ask(lambda reader: [Blob(*row) for row in reader.all(query, last)]):  # noqa: B023  asked at once
            yield page
            last = page[-1].digest


class _WrongDigest(Exception):
    pass


def _naming(work: Callable[[Blob, Tell], str], blob: Blob, tell: Tell) -> str:
    try:
        return work(blob, tell)
    except StoreError as error:
        raise type(error)(f"{blob.digest}: {error}") from error
