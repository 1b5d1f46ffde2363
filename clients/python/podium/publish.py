"""A push: a path becomes a version, whole or not at all."""

from dataclasses import dataclass

from podium.errors import AlreadyExists, InvalidArgument, NotFound
from podium.folder import Folder
from podium.progress import Report
from podium.transfers import Crew
from podium.transport import Transport
from podium.upload import Upload
from podium.v1.models_pb2 import CreateModelRequest, GetModelRequest, Model, VersionStrategy
from podium.v1.versions_pb2 import RegisterVersionRequest, Version


@dataclass(frozen=True)
class Push:
    """What a push did: the version, whether it is new, where it was committed, and what went over the wire.

    `files` and `size_bytes` are those of the version, `uploaded_bytes` those that had to be sent; `left_out` are empty
    folders, which no version can hold.
    """

    version: Version
    created: bool
    position: str
    files: int
    size_bytes: int
    uploaded_bytes: int
    left_out: tuple[str, ...]


def publish(transport: Transport, folder: Folder, request: RegisterVersionRequest, report: Report) -> Push:
    """Uploads what the server does not have, and registers the version that `request` describes, but for its files.

    The model must exist.
    """
    upload = Upload(transport, request.model, folder.files, report)
    request.files.extend(upload.run())
    reply = transport.persist(lambda stub: stub.RegisterVersion, request, Crew())
    return Push(
        version=reply.version,
        created=reply.created,
        position=reply.position,
        files=len(folder.files),
        size_bytes=sum(file.size_bytes for file in folder.files),
        uploaded_bytes=upload.uploaded_bytes,
        left_out=tuple(folder.left_out),
    )


def ensure_model(transport: Transport, request: CreateModelRequest) -> None:
    """Creates the model unless it is there; InvalidArgument if that has another strategy or lifecycle than the request names."""
    try:
        model = _get_model(transport, request.name)
    except NotFound:
        try:
            model = transport.call(lambda stub: stub.CreateModel, request).model
        except AlreadyExists:  # somebody else was first
            model = _get_model(transport, request.name)
    _check_same(model, request)


def _get_model(transport: Transport, name: str) -> Model:
    return transport.call(lambda stub: stub.GetModel, GetModelRequest(name=name)).model


def _check_same(model: Model, request: CreateModelRequest) -> None:
    if request.strategy and request.strategy != model.strategy:
        has = VersionStrategy.Name(model.strategy).rpartition("_")[2].lower()
        raise InvalidArgument(f"the model {request.name!r} has the strategy {has!r} for good", fields={"strategy": f"is {has!r}"})
    if request.lifecycle and request.lifecycle != model.lifecycle:
        has = model.lifecycle
        raise InvalidArgument(f"the model {request.name!r} has the lifecycle {has!r} for good", fields={"lifecycle": f"is {has!r}"})
