"""Uploads whose stream a test holds in its hand."""

import hashlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator

from podium.v1.artifacts_pb2 import BlobSpec, FindMissingBlobsRequest, UploadBlobHeader, UploadBlobRequest

MIB = 1 << 20
SECONDS = 60  # after which a test that hangs fails


def make(seed: int, size: int) -> bytes:
    """Bytes that need not be kept, and of which no piece can be mistaken for the one before or after it."""
    block = hashlib.sha256(str(seed).encode()).digest() + b"\n"
    return (block * (size // len(block) + 1))[:size]


def digest_of(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def header_of(model, data, **values):
    """The header message of an upload of these bytes; values replace its fields."""
    fields = {"model": model, "digest": digest_of(data), "size_bytes": len(data), **values}
    return UploadBlobRequest(header=UploadBlobHeader(**fields))


def chunks_of(data, size=MIB):
    return [UploadBlobRequest(chunk=data[start : start + size]) for start in range(0, len(data), size)]


def upload(stub, model, data, offset=0, **values):
    """Sends the bytes from an offset to their end, and returns the response."""
    return stub.UploadBlob(iter([header_of(model, data, offset=offset, **values), *chunks_of(data[offset:])]), timeout=SECONDS)


def committed(stub, model, data):
    """How many bytes of a missing blob are durable; None if it is there."""
    spec = BlobSpec(digest=digest_of(data), size_bytes=len(data))
    missing = stub.FindMissingBlobs(FindMissingBlobsRequest(model=model, blobs=[spec])).missing
    return missing[0].committed_bytes if missing else None


class OpenUpload:
    """An upload whose client may stand still: messages go out as they are given, and the stream ends when it is told to."""

    def __init__(self, stub, messages: Iterable[UploadBlobRequest] = ()) -> None:
        self._messages: queue.SimpleQueue[UploadBlobRequest | None] = queue.SimpleQueue()
        self.send(*messages)
        self.call = stub.UploadBlob.future(iter(self._messages.get, None))
        self.call.add_done_callback(lambda _: self._messages.put(None))

    def send(self, *messages: UploadBlobRequest) -> None:
        for message in messages:
            self._messages.put(message)

    def close(self) -> None:
        self._messages.put(None)

    def unsent(self) -> int:
        """How many messages gRPC has not asked for."""
        return self._messages.qsize()

    def result(self):
        return self.call.result(SECONDS)

    def __enter__(self) -> "OpenUpload":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
        self.call.cancel()


def until(true: Callable[[], object]) -> None:
    """Asks again until it is true."""
    asked = threading.Event()
    for _ in range(SECONDS * 20):
        if true():
            return
        asked.wait(0.05)
    raise AssertionError("it never came true")


def endless(header: UploadBlobRequest, chunk: bytes) -> Iterator[UploadBlobRequest]:
    """A stream that never ends by itself."""
    yield header
    while True:
        yield UploadBlobRequest(chunk=chunk)
