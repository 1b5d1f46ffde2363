"""The bytes of one file on their way to the server, in as many streams as it takes."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from grpc import StatusCode

from podium.errors import HostileServer, InvalidArgument, OutOfRange, PodiumError, PushRefused
from podium.folder import SourceFile
from podium.frames import CHUNK_BYTES, chunk_frame, header_frame
from podium.progress import Meter
from podium.transfers import Crew, Patience
from podium.transport import Transport
from podium.v1.artifacts_pb2 import BlobSpec, FindMissingBlobsRequest, MissingBlob, UploadBlobHeader

# Another offset is expected, somebody else is sending: the server says so at once, and what was sent until then is sent in vain.
REFUSAL_SECONDS = 0.2

_NUMBER = re.compile("[0-9]{1,18}")


@dataclass(frozen=True)
class Lane:
    """What all files of one push share."""

    transport: Transport
    crew: Crew
    meter: Meter
    model: str

    def find_missing(self, blobs: list[BlobSpec]) -> list[MissingBlob]:
        """Those that the server does not have, and about how much of each it does have."""
        request = FindMissingBlobsRequest(model=self.model, blobs=blobs)
        return list(self.transport.persist(lambda stub: stub.FindMissingBlobs, request, self.crew).missing)


class Sending:
    """One file of which the server does not have all bytes."""

    def __init__(self, lane: Lane, file: SourceFile, blob: MissingBlob) -> None:
        self._lane, self._file, self._digest = lane, file, blob.digest
        self._patience = Patience(lane.transport.timeout)
        self._next: int | None = self._checked(blob.committed_bytes)  # where the next stream starts; None: ask
        self._position = 0  # where the bytes are that would be sent now
        self._furthest = 0  # where they ever were
        self._reached = 0  # how far the server has been seen to be
        self._streams = 0
        self._failure: BaseException | None = None
        lane.meter.expect(file.size_bytes)

    def run(self) -> None:
        """Returns when the server has all bytes, whoever sent them."""
        for attempt in self._lane.crew.attempts(self._patience):
            with attempt:
                if self._next is None:
                    self._next = self._ask()
                if self._next is not None:
                    offset, self._next = self._next, None
                    self._move_to(offset)
                    self._stream(offset)

    def _ask(self) -> int | None:
        """How far the server is, after a stream that failed; None if it has all."""
        blobs = self._lane.find_missing([BlobSpec(digest=self._digest, size_bytes=self._file.size_bytes)])
        if not blobs:
            self._move_to(self._file.size_bytes)
            return None
        if blobs[0].committed_bytes > self._reached:
            self._reached = blobs[0].committed_bytes
            self._patience.moved()  # by whoever is sending
        return self._checked(blobs[0].committed_bytes)

    def _stream(self, offset: int) -> None:
        """Sends all from an offset on; raises something that may_resume where another stream can do better."""
        self._streams += 1
        try:
            reply = self._lane.transport.upload(self._messages(offset), self._lane.crew)
        except OutOfRange as error:
            expected = error.metadata.get("expected_offset", "")
            self._next = self._checked(int(expected)) if _NUMBER.fullmatch(expected) else None
            raise
        except InvalidArgument as error:
            if error.reason == "CONTENT_MISMATCH":
                self._file.check_unchanged()
                if not offset:
                    raise PushRefused(f"{self._file.path} has other bytes than when it was hashed: push again") from None
                self._next = self._furthest = 0  # what an earlier upload left was not this file's
            raise
        if isinstance(self._failure, OSError):
            raise PushRefused(f"{self._file.path} cannot be read: {self._failure.strerror}")
        if self._failure:
            raise self._failure
        if not reply.complete:
            self._file.check_unchanged()
            raise PodiumError(f"the upload of {self._file.path} ended early", code=StatusCode.CANCELLED)
        self._move_to(self._file.size_bytes)

    def _checked(self, offset: int) -> int:
        if not 0 <= offset <= self._file.size_bytes:
            raise HostileServer(f"the server has {offset} of the {self._file.size_bytes} bytes of {self._file.path}")
        return offset

    def _messages(self, offset: int) -> Iterator[bytes]:
        """A header and chunks. gRPC runs this in a thread of its own, where nobody would see an exception."""
        size = self._file.size_bytes
        yield header_frame(UploadBlobHeader(model=self._lane.model, digest=self._digest, size_bytes=size, offset=offset))
        piece = memoryview(bytearray(min(CHUNK_BYTES, size)))
        try:
            if offset or self._streams > 1:  # somebody else, or who was cut off a moment ago, may still have the lease
                self._lane.crew.pause(REFUSAL_SECONDS)
            with self._file.source.open("rb", buffering=0) as file:
                file.seek(offset)
                while offset < size and (count := file.readinto(piece[: size - offset])):
                    offset += count
                    self._sent(count)  # before it is: with the last chunk the server may answer, and nobody comes back here
                    yield chunk_frame(piece[:count])
        except GeneratorExit:  # nobody wants the rest
            raise
        except BaseException as error:  # noqa: BLE001  the meter's too: it calls what the caller gave to tell the progress
            self._failure = error

    def _sent(self, count: int) -> None:
        self._position += count
        self._lane.meter.add(count)
        if self._position > self._furthest:  # what is only sent again is no progress
            self._furthest = self._position
            self._patience.moved()

    def _move_to(self, offset: int) -> None:
        """Says to the meter what is sent twice, or need not be sent."""
        self._lane.meter.expect(self._position - offset)
        self._position = offset
