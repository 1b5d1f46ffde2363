"""Files straight from where the server keeps them, by URLs that it signs. As far as that does not go, it sends them itself."""

import logging
import threading
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from itertools import islice
from types import TracebackType
from typing import Self

from tenacity import RetryCallState

from podium.bucket import Bucket, BucketError, Refused
from podium.errors import HostileServer, PodiumError
from podium.progress import Meter
from podium.sink import Sink
from podium.transfers import Crew
from podium.transport import Transport
from podium.v1.artifacts_pb2 import SignDownloadsRequest
from podium.v1.versions_pb2 import File

log = logging.getLogger("podium")

URLS_AT_ONCE = 100  # no server signs fewer
ATTEMPTS = 3  # in a row in which no byte comes


class Direct:
    """Reads files of the version that the pinned `reference` means from the bucket. Once that fails, it is left alone for good."""

    def __init__(self, transport: Transport, crew: Crew, reference: str, files: Iterable[File]) -> None:
        self._crew = crew
        self._reference = reference
        self._urls = SignedUrls(transport, crew, reference, files)
        self._bucket = Bucket(transport.timeout, crew)
        self._lock = threading.Lock()
        self._is_left = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        self._bucket.close()

    def receive(self, file: File, sink: Sink, meter: Meter) -> None:
        """Adds to the sink what can be had of the bytes that it lacks."""
        tries = Tries()
        try:
            for attempt in self._crew.attempts(tries):
                with attempt:
                    if self._is_left or sink.size == file.size_bytes:
                        return
                    for chunk in self._read(file, sink.size):
                        sink.write(chunk)
                        meter.add(len(chunk))
                        tries.moved()
        except (BucketError, NoUrls) as error:
            self._crew.check()
            self.leave(str(error))

    def leave(self, why: str) -> None:
        """From now on the server sends everything."""
        with self._lock:
            was_left, self._is_left = self._is_left, True
        if not was_left:
            log.warning("the files of %s come by way of the server: %s", self._reference, why)

    def _read(self, file: File, offset: int) -> Generator[memoryview]:
        try:
            with closing(self._bucket.read(self._urls.of(file), offset, file.size_bytes)) as chunks:
                yield from chunks
        except Refused:
            self._urls.forget()  # they may be too old: the clock of this machine need not be right, so it is not asked
            raise


class NoUrls(PodiumError):
    """The server gives no URLs."""


class Tries:
    """Gives a transfer up after so many attempts in a row in which no byte has moved."""

    def __init__(self) -> None:
        self._failed = 0

    def moved(self) -> None:
        """Bytes have moved: this attempt does not count, however it ends."""
        self._failed = -1

    def __call__(self, _: RetryCallState) -> bool:
        self._failed += 1
        return self._failed == ATTEMPTS


class SignedUrls:
    """The URLs of a version's files, asked for by the hundred when the first of them is to be read."""

    def __init__(self, transport: Transport, crew: Crew, reference: str, files: Iterable[File]) -> None:
        self._transport = transport
        self._crew = crew
        self._reference = reference
        self._waiting = {file.path: file for file in files}  # in the order in which they will be read
        self._urls: dict[str, str] = {}
        self._lock = threading.Lock()

    def of(self, file: File) -> str:
        """The URL of a file; NoUrls."""
        with self._lock:
            self._crew.check()
            self._waiting.pop(file.path, None)
            if file.path not in self._urls:
                unsigned = (other for other in self._waiting.values() if other.path not in self._urls)
                self._sign([file, *islice(unsigned, URLS_AT_ONCE - 1)])
            return self._urls[file.path]

    def forget(self) -> None:
        """Asks anew for all."""
        with self._lock:
            self._urls.clear()

    def _sign(self, files: Sequence[File]) -> None:
        request = SignDownloadsRequest(reference=self._reference, paths=[file.path for file in files])
        try:
            signed = self._transport.persist(lambda stub: stub.SignDownloads, request, self._crew).downloads
        except PodiumError as error:
            self._crew.check()
            raise NoUrls(str(error)) from None
        if [(one.path, one.digest, one.size_bytes) for one in signed] != [(one.path, one.digest, one.size_bytes) for one in files]:
            raise HostileServer(f"the server signs other downloads than those of {self._reference} that it is asked for")
        self._urls.update((one.path, one.url) for one in signed)
