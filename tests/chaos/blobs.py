"""What was uploaded, read back."""

import hashlib
from collections.abc import Iterable
from itertools import cycle

from podium.v1.registry_service_pb2_grpc import RegistryServiceStub
from wire import request_of

from chaos.load import Blob

SECONDS = 120


def check_blobs(blobs: Iterable[Blob], since: float, stubs: list[RegistryServiceStub]) -> None:
    """All that was acknowledged as whole, by streams that began after that time, can be registered, and comes back right."""
    sizes: dict[str, dict[str, int]] = {}
    for blob in blobs:
        if blob.since > since:
            sizes.setdefault(blob.model, {})[blob.digest] = blob.size
    for model, of_model in sizes.items():
        files = [{"path": digest[7:], "digest": digest, "size_bytes": size} for digest, size in of_model.items()]
        reply = stubs[0].RegisterVersion(request_of("RegisterVersion", model=model, files=files, stage=""), timeout=SECONDS)
        for digest, stub in zip(of_model, cycle(stubs), strict=False):
            reference = f"{model}:{reply.version.number}"
            request = request_of("DownloadArtifact", reference=reference, path=digest[7:], at_least=reply.position)
            sha256 = hashlib.sha256()
            for message in stub.DownloadArtifact(request, timeout=SECONDS):
                sha256.update(message.chunk)
            assert sha256.hexdigest() == digest[7:]
