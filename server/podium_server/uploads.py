"""One stream that becomes one blob: hashed and written in threads, a few chunks behind the stream, under a lease.

Whatever happens to the stream, no thread works on the partial any more when its lease is given back.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any, TypeVar

from podium.v1.artifacts_pb2 import UploadBlobHeader, UploadBlobResponse

from podium_server import metrics
from podium_server.blob_writer import BlobWriter
from podium_server.blobs.base import BlobStore
from podium_server.blobs.errors import StoreError
from podium_server.errors import ContentMismatch, InvalidArgument, PodiumError
from podium_server.frames import read_upload
from podium_server.leases import Taken
from podium_server.ledger import Ledger
from podium_server.limits import MAX_CHUNK_BYTES

log = logging.getLogger(__name__)

T = TypeVar("T")

TICK_SECONDS = 1.0
MAX_WAITING_BYTES = 1 << 20
MAX_WAITING_CHUNKS = 256


class Upload:
    """The receiving end of one upload: `begin` and `receive`, then `settle`, or `park` if they did not come to their end."""

    def __init__(self, taken: Taken, store: BlobStore, ledger: Ledger, threads: Executor) -> None:
        self._lease = taken.lease
        self._writer = BlobWriter(store, taken.lease.digest, taken.lease.size, taken.left)
        self._ledger = ledger
        self._threads = threads
        self._loop = asyncio.get_running_loop()
        self._jobs: set[asyncio.Future[Any]] = set()
        self._received = 0
        self._waiting: list[memoryview] = []
        self._waiting_bytes = 0
        self._writing: asyncio.Future[None] | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._kept_bytes = 0  # what the last sync that began was to cover,
        self._safe_bytes = 0  # and what the last that ended has
        self._kept_at = self._loop.time()
        self._there = False  # by another upload

    async def begin(self, offset: int) -> None:
        """Opens the partial and brings the checksums to where the stream starts."""
        await self._in_thread(self._writer.open, offset)
        self._received = self._kept_bytes = self._safe_bytes = offset
        more = offset > 0
        while more and not self._there:
            more = await self._in_thread(self._writer.reread)
            await self._write_down(renew=True)

    async def receive(self, messages: AsyncIterator[bytes]) -> None:
        """Takes chunks until there are enough, or no more, or the blob is there by another upload."""
        try:
            async with asyncio.timeout(None) as patience:
                ticking = self._loop.create_task(self._tick(patience))
                try:
                    await self._receive(messages)
                finally:
                    ticking.cancel()
        except TimeoutError:
            if not patience.expired():
                raise
        await self._catch_up(0)
        if self._keeping is not None:
            await asyncio.shield(self._keeping)

    async def settle(self) -> UploadBlobResponse:
        """Ends an upload that was received: the blob is there, or what was sent of it stays, or is thrown away."""
        try:
            return await self._settle()
        except BaseException:
            await self.park()
            raise

    async def park(self) -> None:
        """Ends an upload that failed: keeps what can be kept, and lets the next writer go on at once."""
        try:
            await self._let_go()
        except (StoreError, PodiumError) as error:
            log.warning("the upload of %s could not be left in order: %s", self._lease.digest, error)

    async def _receive(self, messages: AsyncIterator[bytes]) -> None:
        while self._received < self._lease.size and not self._there:
            message = await anext(messages, None)
            if message is None:
                return
            await self._take(_chunk(message))
            await self._keep()

    async def _take(self, chunk: memoryview) -> None:
        self._received += len(chunk)
        metrics.UPLOADED_BYTES.inc(len(chunk))
        if not chunk or self._received > self._lease.size:
            return
        self._waiting.append(chunk)
        self._waiting_bytes += len(chunk)
        await self._catch_up(MAX_WAITING_CHUNKS)

    async def _catch_up(self, most: int) -> None:
        """Returns when fewer chunks wait than that, and not too many bytes; at 0, when all of them are written."""
        self._feed()
        while self._writing is not None and not self._writing.done():
            if len(self._waiting) < most and self._waiting_bytes < MAX_WAITING_BYTES:
                return
            await asyncio.shield(self._writing)
            self._feed()

    def _feed(self) -> None:
        """Hands the chunks that wait to a thread, once it is through with those before; raises what went wrong with them."""
        if self._writing is not None:
            if not self._writing.done():
                return
            self._writing.result()
        if self._waiting:
            self._writing = self._in_thread(self._writer.write, self._waiting)
            self._writing.add_done_callback(self._feed_again)
            self._waiting, self._waiting_bytes = [], 0

    def _feed_again(self, writing: asyncio.Future[None]) -> None:
        if not writing.cancelled() and writing.exception() is None:
            self._feed()

    async def _tick(self, patience: asyncio.Timeout) -> None:
        """Looks after the lease also while no chunk comes, and ends the waiting for one that is of no use any more."""
        while not self._is_decided():
            await asyncio.sleep(TICK_SECONDS)
            self._keep_beside()
        patience.reschedule(self._loop.time())

    async def _keep(self) -> None:
        """Sees that progress is written down every few MiB and every second, and that the stream does not run far ahead."""
        unsafe = self._received - self._safe_bytes
        if self._keeping is not None and (self._keeping.done() or unsafe >= 2 * self._writer.sync_bytes):
            await asyncio.shield(self._keeping)
        if self._received - self._kept_bytes >= self._writer.sync_bytes or self._loop.time() - self._kept_at >= TICK_SECONDS:
            self._keep_beside()

    def _keep_beside(self) -> None:
        if self._keeping is None or (self._keeping.done() and not self._is_decided()):
            self._keeping = self._loop.create_task(self._sync(renew=self._received > self._kept_bytes))
            self._kept_bytes, self._kept_at = self._received, self._loop.time()

    def _is_decided(self) -> bool:
        """Whether the blob is there by another upload, or the lease is lost."""
        failed = self._keeping is not None and self._keeping.done() and self._keeping.exception() is not None
        return self._there or failed

    async def _sync(self, *, renew: bool) -> None:
        if self._received > self._writer.durable.offset:
            await self._in_thread(self._writer.sync)
        await self._write_down(renew=renew)

    async def _write_down(self, *, renew: bool) -> None:
        durable = self._writer.durable
        self._there = await self._ledger.write(partial(self._lease.keep, durable=durable, renew=renew))
        self._safe_bytes = durable.offset

    async def _settle(self) -> UploadBlobResponse:
        try:
            if self._received >= self._lease.size and not self._there:
                stored_size = await self._in_thread(self._writer.finish, self._received)
                complete = partial(self._lease.complete, checksums=self._writer.checksums, stored_size=stored_size)
                await self._ledger.write(complete)
                self._there = True
        except ContentMismatch:
            await self._in_thread(self._writer.discard)
            await self._ledger.write(self._lease.discard)
            raise
        if self._there:
            await self._in_thread(self._writer.discard)
            return UploadBlobResponse(committed_bytes=self._lease.size, complete=True)
        await self._let_go()
        return UploadBlobResponse(committed_bytes=self._writer.durable.offset)

    async def _let_go(self) -> None:
        self._waiting = []
        await asyncio.gather(*self._jobs, *filter(None, (self._writing, self._keeping)), return_exceptions=True)
        try:
            await self._in_thread(self._writer.close)
        finally:
            await self._ledger.write(partial(self._lease.release, durable=self._writer.durable))

    def _in_thread(self, work: Callable[..., T], *arguments: object) -> asyncio.Future[T]:
        """Cancelling what this returns does not make anyone forget that the thread is still at work."""
        job = self._loop.run_in_executor(self._threads, work, *arguments)
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
        return asyncio.shield(job)


def read_header(message: bytes | None) -> UploadBlobHeader:
    """The header, which an upload's first message holds."""
    header = None if message is None else read_upload(message)
    if not isinstance(header, UploadBlobHeader):
        raise InvalidArgument("the first message of an upload is its header", field="header")
    return header


def _chunk(message: bytes) -> memoryview:
    chunk = read_upload(message)
    if isinstance(chunk, UploadBlobHeader):
        raise InvalidArgument("only the first message of an upload is a header", field="header")
    if len(chunk) > MAX_CHUNK_BYTES:
        raise InvalidArgument(f"a chunk has at most {MAX_CHUNK_BYTES} bytes, this one {len(chunk)}", field="chunk")
    return chunk
