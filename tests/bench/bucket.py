"""1 GiB into Cloud Storage and back, through a server and by the bare library: to the tests' strict fake, a process of its own.

Both send a file that is in memory, and keep nothing of what comes back. The server also takes SHA-256 of all and CRC32C of every
MiB, and what it has acknowledged is durable; the library takes CRC32C of all.
"""

import hashlib
import io
import os
import statistics
from collections.abc import Iterator
from pathlib import Path

import grpc
from google.cloud import storage
from machine import free_bytes
from podium.frames import chunk_frame, header_frame
from podium.v1 import artifacts_pb2, models_pb2, versions_pb2
from podium.v1.registry_service_pb2_grpc import RegistryServiceStub
from processes import Process, podium, strict_fake
from socket_copy import pieces
from table import Row, alone, paired
from transfers import GIB, MEMORY, MIB, NEEDED, Cost, cost, new_files, place

BUCKET = "models"
MODEL = "risk/big"
Both = tuple[Cost, Cost]  # of an upload and of a download

FRAMES = [("grpc.http2.max_frame_size", MIB)]  # as the client has it: a chunk is one frame and not 64


class Ours:
    """A server over the bucket."""

    def __init__(self, server: Process, source: Path) -> None:
        self._server = server
        self._source = source
        channel = grpc.insecure_channel(server.address, options=FRAMES)
        self._stub = RegistryServiceStub(channel)
        self._upload = channel.stream_unary(
            "/podium.v1.RegistryService/UploadBlob", None, artifacts_pb2.UploadBlobResponse.FromString
        )
        self._download = channel.unary_stream("/podium.v1.RegistryService/DownloadArtifact")
        self._stub.CreateModel(models_pb2.CreateModelRequest(name=MODEL))

    def round(self) -> Both:
        """What an upload and a download cost."""
        with self._source.open("rb") as file:
            digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        up = cost(self._server, lambda: self._send(digest))
        file = versions_pb2.ManifestFile(path="model.bin", digest=digest, size_bytes=GIB)
        self._stub.RegisterVersion(versions_pb2.RegisterVersionRequest(model=MODEL, files=[file]))
        return up, cost(self._server, self._fetch)

    def _send(self, digest: str) -> None:
        def messages() -> Iterator[bytes]:
            yield header_frame(artifacts_pb2.UploadBlobHeader(model=MODEL, digest=digest, size_bytes=GIB))
            with self._source.open("rb", buffering=0) as file:
                yield from (chunk_frame(memoryview(piece)) for piece in pieces(file, GIB))

        if not self._upload(messages()).complete:
            raise SystemExit("an upload was not complete")

    def _fetch(self) -> None:
        request = artifacts_pb2.DownloadArtifactRequest(reference=f"{MODEL}@latest", path="model.bin")
        if not GIB <= sum(map(len, self._download(request.SerializeToString()))) < GIB + MIB:  # with what is around the chunks
            raise SystemExit("a download was not complete")


class Nowhere(io.RawIOBase):
    """Keeps nothing."""

    def write(self, data: bytes) -> int:
        """Forgets it."""
        return len(data)


class Bare:
    """The library as it comes."""

    def __init__(self, server: Process, source: Path) -> None:
        self._server = server
        self._source = source
        self.bucket = storage.Client(project=None).create_bucket(BUCKET)

    def round(self) -> Both:
        """What an upload and a download take, and cost the fake."""
        blob = self.bucket.blob("bare")
        up = cost(self._server, lambda: blob.upload_from_filename(self._source))
        return up, cost(self._server, lambda: blob.download_to_file(Nowhere()))


def measure(folder: Path, rounds: int) -> Iterator[Row]:
    """By turns, with new bytes in each round; the first round warms up."""
    with (
        place(MEMORY if free_bytes(MEMORY) > NEEDED else folder) as (where, work),
        strict_fake(work / "bucket", folder / "fake.log") as fake,
    ):
        os.environ["STORAGE_EMULATOR_HOST"] = f"http://{fake.address}"
        [source] = new_files(work / "source", 1, GIB)
        bare = Bare(fake, source)
        with podium(folder / "registry", "--blobs", f"gs://{BUCKET}/podium") as server:
            idle = server.resident_bytes()
            ours = Ours(server, source)
            pairs = [_round(ours, bare, source, ours_first=bool(number % 2)) for number in range(rounds + 1)][1:]
    beside = f"google-cloud-storage to the same fake, {where}"
    for number, name in enumerate(("upload", "download")):
        costs = [(mine[number], theirs[number]) for mine, theirs in pairs]
        yield from _rows(f"{name} 1 GiB, Cloud Storage", costs, idle, beside)


def _rows(what: str, costs: list[tuple[Cost, Cost]], idle: int, beside: str) -> Iterator[Row]:
    rates = [(GIB / MIB / mine.seconds, GIB / MIB / theirs.seconds) for mine, theirs in costs]
    yield paired(what, "MiB/s", rates, beside, at_least=0.7)
    yield alone(f"{what}, CPU of the server", "s/GiB", statistics.median(mine.cpu for mine, _ in costs))
    above = (max(mine.peak for mine, _ in costs) - idle) / MIB
    yield alone(f"{what}, memory of the server above idle", "MiB", above, at_most=100, beside=f"idle {idle / MIB:.0f} MiB")


def _round(ours: Ours, bare: Bare, source: Path, *, ours_first: bool) -> tuple[Both, Both]:
    with source.open("r+b") as file:
        file.write(os.urandom(16))
    first, second = (ours, bare) if ours_first else (bare, ours)
    costs = [first.round(), second.round()]
    for blob in bare.bucket.list_blobs():
        blob.delete()
    return (costs[0], costs[1]) if ours_first else (costs[1], costs[0])
