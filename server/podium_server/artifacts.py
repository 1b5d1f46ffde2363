"""The RPCs that move bytes: which blobs are missing, upload, download."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Executor
from contextlib import aclosing, contextmanager
from functools import partial
from typing import Any, Protocol, TypeVar

from podium.v1 import artifacts_pb2 as pb
from podium.v1.resolve_pb2 import Target

from podium_server import metrics
from podium_server.blobs.base import BlobStore
from podium_server.blobs.errors import StoreError
from podium_server.database import Database
from podium_server.downloads import Download, find_file
from podium_server.errors import (
    BlobDamaged,
    InvalidArgument,
    OffsetMismatch,
    Overloaded,
    PodiumError,
    one_line,
)
from podium_server.leases import take
from podium_server.ledger import Caller, Ledger
from podium_server.limits import MAX_BLOB_BYTES, MAX_FIND_BLOBS, MAX_TRANSFERS, check_count
from podium_server.names import check_digest, check_model_name
from podium_server.presence import present
from podium_server.references import live_model
from podium_server.rows import Reader
from podium_server.uploads import Upload, read_header

log = logging.getLogger(__name__)

T = TypeVar("T")


class Read(Protocol):
    """Answers a question within one read transaction, on the pool."""

    def __call__(self, question: Callable[[Reader], T]) -> Awaitable[T]: ...


class Artifacts:
    """The RPCs of artifacts. `find_target` says what a reference means; hashing and the store run on `threads`."""

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        store: BlobStore,
        threads: Executor,
        find_target: Callable[[str], Awaitable[Target]],
        read: Read,
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._store = store
        self._threads = threads
        self._find_target = find_target
        self._read = read
        self._transfers = 0
        self._endings: set[asyncio.Task[object]] = set()

    def FindMissingBlobs(self, request: pb.FindMissingBlobsRequest, _caller: Caller) -> pb.FindMissingBlobsResponse:
        """See the contract."""
        sizes = _wanted(request)
        model_id = live_model(self._database, request.model).id
        there = present(self._database, list(sizes))
        for digest, size in there.items():
            _check_same_size(digest, sizes[digest], size, "blobs")
        begun: dict[str, int] = dict(self._database.all("SELECT digest, committed_bytes FROM upload WHERE model_id = ?", model_id))
        missing = [pb.MissingBlob(digest=digest, committed_bytes=begun.get(digest, 0)) for digest in sizes if digest not in there]
        return pb.FindMissingBlobsResponse(missing=missing)

    async def UploadBlob(self, messages: AsyncIterator[bytes], _caller: Caller) -> pb.UploadBlobResponse:
        """See the contract."""
        messages = aiter(messages)
        header = read_header(await anext(messages, None))
        check_model_name(header.model, "header.model")
        check_digest(header.digest, "header.digest")
        _check_size(header.size_bytes, "header.size_bytes")
        _check_not_negative(header.offset, "header.offset")
        with self._transfer():
            taken = await self._ledger.write(partial(take, header=header))
            if taken is None:
                return pb.UploadBlobResponse(committed_bytes=header.size_bytes, complete=True)
            upload = Upload(taken, self._store, self._ledger, self._threads)
            try:
                await upload.begin(header.offset)
                await upload.receive(messages)
            except BaseException:  # also a cancelled call: what came of it stays
                await self._see_through(upload.park())
                raise
            return await self._see_through(upload.settle())

    async def DownloadArtifact(self, request: pb.DownloadArtifactRequest, _caller: Caller) -> AsyncGenerator[bytes]:
        """See the contract."""
        _check_not_negative(request.offset, "offset")
        _check_not_negative(request.limit, "limit")
        target = await self._find_target(request.reference)
        file = await self._read(partial(find_file, target=target, path=request.path))
        if request.offset > file.size:
            raise OffsetMismatch(f"{request.path} has {file.size} bytes", field="offset", expected_offset=file.size)
        stop = min(request.offset + request.limit, file.size) if request.HasField("limit") else file.size
        header = pb.DownloadArtifactHeader(number=target.number, size_bytes=file.size, digest=file.digest)
        with self._transfer():
            yield pb.DownloadArtifactResponse(header=header).SerializeToString()
            try:
                async with aclosing(Download(self._store, file, request.offset, stop).frames(self._threads)) as frames:
                    async for frame in frames:
                        yield frame
                        metrics.DOWNLOADED_BYTES.inc(len(frame))
            except BlobDamaged as damage:
                log.warning("%s of %s:%s: %s", request.path, target.model, target.version, damage.message)
                await self._ledger.write(file.quarantine)
                raise

    async def close(self) -> None:
        """Waits until the uploads that were cut off have been left in order."""
        await asyncio.gather(*self._endings, return_exceptions=True)

    @contextmanager
    def _transfer(self) -> Iterator[None]:
        """One of the transfers that may run at once."""
        if self._transfers >= MAX_TRANSFERS:
            raise Overloaded(f"{MAX_TRANSFERS} transfers are under way: try again later", retry_after_seconds=1)
        self._transfers += 1
        try:
            yield
        finally:
            self._transfers -= 1

    async def _see_through(self, ending: Coroutine[object, object, T]) -> T:
        """Awaits what is to be done to its end also if the call is cancelled meanwhile."""
        task = asyncio.create_task(ending)
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_log_failure)
            raise


def _log_failure(ending: asyncio.Task[Any]) -> None:
    """Says why an upload failed where there is nobody any more who could be told."""
    error = None if ending.cancelled() else ending.exception()
    if isinstance(error, PodiumError | StoreError):
        log.warning("an upload whose client has gone failed: %s", one_line(error))
    elif error is not None:
        log.error("an upload whose client has gone failed", exc_info=error)


def _wanted(request: pb.FindMissingBlobsRequest) -> dict[str, int]:
    """The sizes of the blobs that are asked about, in the order of the request, each once."""
    check_count(request.blobs, "blobs", MAX_FIND_BLOBS)
    sizes: dict[str, int] = {}
    for index, blob in enumerate(request.blobs):
        check_digest(blob.digest, f"blobs[{index}].digest")
        _check_size(blob.size_bytes, f"blobs[{index}].size_bytes")
        _check_same_size(blob.digest, blob.size_bytes, sizes.setdefault(blob.digest, blob.size_bytes), f"blobs[{index}].size_bytes")
    return sizes


def _check_size(size: int, field: str) -> None:
    if not 0 <= size <= MAX_BLOB_BYTES:
        raise InvalidArgument(f"{field} is {size}: 0 to {MAX_BLOB_BYTES} bytes", field=field)


def _check_same_size(digest: str, size: int, known: int, field: str) -> None:
    if size != known:
        raise InvalidArgument(f"{digest} has {known} bytes, not {size}", field=field)


def _check_not_negative(number: int, field: str) -> None:
    if number < 0:
        raise InvalidArgument(f"{field} is negative", field=field)
