"""SignDownloads: URLs by which clients read files from the store itself. The server says who may, and the client what it got."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from podium.v1.artifacts_pb2 import SignDownloadsRequest, SignDownloadsResponse, SignedDownload
from podium.v1.resolve_pb2 import Target

from podium_server.blobs.base import BlobStore
from podium_server.downloads import StoredFile, find_file
from podium_server.errors import CannotSign
from podium_server.ledger import Caller
from podium_server.limits import MAX_SIGN_DOWNLOADS, check_count
from podium_server.rows import Reader, timestamp

SIGNED_SECONDS = 900
THREADS = 8  # of its own: who signs may have to ask another server, for which transfers do not wait


class FindTarget(Protocol):
    """Says what a reference means."""

    async def __call__(self, text: str, /) -> Target: ...


class Read(Protocol):
    """Answers a question within one read transaction, on the pool."""

    async def __call__(self, question: Callable[[Reader], list[StoredFile]], /) -> list[StoredFile]: ...


class Signing:
    """The RPC that gives URLs. What a download is refused for, it refuses too."""

    def __init__(self, store: BlobStore, find_target: FindTarget, read: Read) -> None:
        self._store = store
        self._find_target = find_target
        self._read = read
        self._threads = ThreadPoolExecutor(THREADS, "sign")

    async def SignDownloads(self, request: SignDownloadsRequest, _caller: Caller) -> bytes:
        """See the contract."""
        check_count(request.paths, "paths", MAX_SIGN_DOWNLOADS)
        if not self._store.signs:
            raise CannotSign("the blobs are where only the server can read them: download the files")
        target = await self._find_target(request.reference)
        files = await self._read(lambda reader: [find_file(reader, target, path) for path in request.paths])
        end = time.time_ns() // 1000 + SIGNED_SECONDS * 1_000_000
        urls = await self._sign(files)
        downloads = [
            SignedDownload(path=path, url=url, size_bytes=file.size, digest=file.digest)
            for path, url, file in zip(request.paths, urls, files, strict=True)
        ]
        return SignDownloadsResponse(number=target.number, downloads=downloads, expire_time=timestamp(end)).SerializeToString()

    async def _sign(self, files: Sequence[StoredFile]) -> list[str]:
        loop = asyncio.get_running_loop()
        return await asyncio.gather(
            *(loop.run_in_executor(self._threads, self._store.sign, file.digest, SIGNED_SECONDS) for file in files)
        )
