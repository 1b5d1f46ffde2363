"""What tests of several nouns begin with: models, versions with and without files, their bytes."""

import hashlib
import itertools

from podium.v1.artifacts_pb2 import DownloadArtifactRequest, UploadBlobHeader, UploadBlobRequest
from podium.v1.models_pb2 import CreateModelRequest
from podium.v1.records_pb2 import VersionRecord
from podium.v1.resolve_pb2 import ResolveVersionRequest
from podium.v1.versions_pb2 import ManifestFile, RegisterVersionRequest

_serial = itertools.count()


def create_model(stub, name, **values):
    """Makes a model and returns it."""
    return stub.CreateModel(CreateModelRequest(name=name, **values)).model


def register(stub, model, **values):
    """Registers a version without files whose record is like no other, and returns the reply."""
    record = values.pop("record", None) or VersionRecord(author=f"author {next(_serial)}")
    return stub.RegisterVersion(RegisterVersionRequest(model=model, record=record, **values))


def resolve(stub, reference, **values):
    """What a reference means."""
    return stub.ResolveVersion(ResolveVersionRequest(reference=reference, **values)).target


def upload(stub, model, content):
    """Uploads one blob and returns its digest."""
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    header = UploadBlobHeader(model=model, digest=digest, size_bytes=len(content))
    chunks = [UploadBlobRequest(chunk=content[start : start + 2**20]) for start in range(0, len(content), 2**20)]
    reply = stub.UploadBlob(iter([UploadBlobRequest(header=header), *chunks]))
    assert reply.complete
    return digest


def upload_files(stub, model, files):
    """Uploads files, a mapping of paths to contents, and returns them as a request names them."""
    return [
        ManifestFile(path=path, digest=upload(stub, model, content), size_bytes=len(content)) for path, content in files.items()
    ]


def download(stub, reference, path, **values):
    """The bytes of a file, or of a range of it."""
    messages = stub.DownloadArtifact(DownloadArtifactRequest(reference=reference, path=path, **values))
    return b"".join(message.chunk for message in messages)
