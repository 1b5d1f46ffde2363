"""The server's memory under big and under many transfers. It takes 17 GiB of disk, and minutes."""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import podium
import processes
from podium.v1 import artifacts_pb2, models_pb2, versions_pb2
from podium.v1.registry_service_pb2_grpc import RegistryServiceStub
from processes import Process
from table import Row, alone
from transfers import remove

MIB = 1 << 20
BIG = 8 << 30
AT_ONCE = 32
EACH = 64  # MiB
HALF = EACH // 2


def measure(folder: Path) -> Iterator[Row]:
    """Peak memory above idle: a file of 8 GiB up and down, 32 uploads at once, 32 downloads at once of which none is read on."""
    work = folder / "large"
    try:
        work.mkdir()
        with (
            processes.podium(work / "registry") as server,
            podium.connect(server.address, cache=work / "cache") as registry,
        ):
            registry.create_model("risk/big")
            idle = server.resident_bytes()
            source = work / "source"
            with source.open("wb") as file:  # sparse: zeros need no disk, and are hashed, sent and stored like anything else
                file.write(os.urandom(16))
                file.truncate(BIG)
            yield _above(server, idle, "8 GiB pushed", 100, lambda: registry.push("risk/big", source))
            yield _above(server, idle, "8 GiB pulled", 100, lambda: registry.pull("risk/big@latest"))
            remove(work / "cache")
            crowd = Crowd(server.address)
            yield _above(server, idle, "32 uploads at once", 300, crowd.upload)
            yield _above(server, idle, "32 downloads at once", 300, crowd.download)
    finally:
        remove(work)


def _above(server: Process, idle: int, what: str, at_most: float, transfer: Callable[[], object]) -> Row:
    server.reset_peak()
    transfer()
    above = (server.peak_bytes() - idle) / MIB
    return alone(f"{what}: memory above idle", "MiB", above, at_most=at_most, beside=f"idle {idle / MIB:.0f} MiB")


class Crowd:
    """Clients that all wait for one another in the middle of their transfers, each on a connection of its own."""

    def __init__(self, address: str) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._stubs = [RegistryServiceStub(grpc.insecure_channel(address, options=options)) for _ in range(AT_ONCE)]
        self._stubs[0].CreateModel(models_pb2.CreateModelRequest(name="risk/crowd"))
        block = os.urandom(MIB)
        self._heads = [os.urandom(MIB) for _ in range(AT_ONCE)]
        self._rest = artifacts_pb2.UploadBlobRequest(chunk=block)
        self._digests = [_digest(head, block) for head in self._heads]

    def upload(self) -> None:
        """Uploads, then registers a version of all the files."""
        self._all(self._upload)
        files = [
            versions_pb2.ManifestFile(path=str(number), digest=digest, size_bytes=EACH * MIB)
            for number, digest in enumerate(self._digests)
        ]
        self._stubs[0].RegisterVersion(versions_pb2.RegisterVersionRequest(model="risk/crowd", files=files))

    def download(self) -> None:
        """Downloads; nobody reads on until all have begun."""
        self._all(self._download)

    def _all(self, transfer: Callable[[int, threading.Barrier], None]) -> None:
        middle = threading.Barrier(AT_ONCE, timeout=120)
        failures: list[Exception] = []

        def run(number: int) -> None:
            try:
                transfer(number, middle)
            except Exception as error:  # told below, by the thread that can
                middle.abort()
                failures.append(error)

        threads = [threading.Thread(target=run, args=(number,)) for number in range(AT_ONCE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

    def _upload(self, number: int, middle: threading.Barrier) -> None:
        def messages() -> Iterator[artifacts_pb2.UploadBlobRequest]:
            yield artifacts_pb2.UploadBlobRequest(
                header=artifacts_pb2.UploadBlobHeader(model="risk/crowd", digest=self._digests[number], size_bytes=EACH * MIB)
            )
            yield artifacts_pb2.UploadBlobRequest(chunk=self._heads[number])
            for sent in range(1, EACH):
                if sent == HALF:
                    middle.wait()
                yield self._rest

        if not self._stubs[number].UploadBlob(messages()).complete:
            raise SystemExit("an upload was not complete")

    def _download(self, number: int, middle: threading.Barrier) -> None:
        request = artifacts_pb2.DownloadArtifactRequest(reference="risk/crowd@latest", path=str(number))
        replies = self._stubs[number].DownloadArtifact(request)
        next(replies)
        middle.wait()
        if sum(len(reply.chunk) for reply in replies) != EACH * MIB:
            raise SystemExit("a download was not complete")


def _digest(head: bytes, block: bytes) -> str:
    digest = hashlib.sha256(head)
    for _ in range(1, EACH):
        digest.update(block)
    return f"sha256:{digest.hexdigest()}"
