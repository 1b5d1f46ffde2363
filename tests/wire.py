"""Calls by name, as any client could make them, with what must be true of every refusal."""

import copy
import re
from itertools import count, pairwise

import grpc
import pytest
from conftest import Refusal, RunningServer
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc import StatusCode
from podium.v1.registry_service_pb2 import DESCRIPTOR
from podium.v1.registry_service_pb2_grpc import RegistryServiceStub

SERVICE = DESCRIPTOR.services_by_name["RegistryService"]
METHODS = [method.name for method in SERVICE.methods]
MAX_DETAIL_BYTES = 4096
SECONDS = 60

# The contract's reasons that a bad request can have, and their statuses.
STATUSES = {
    "INVALID_ARGUMENT": StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED": StatusCode.INVALID_ARGUMENT,
    "MODEL_NOT_FOUND": StatusCode.NOT_FOUND, "VERSION_NOT_FOUND": StatusCode.NOT_FOUND,
    "ALIAS_NOT_FOUND": StatusCode.NOT_FOUND, "STAGE_EMPTY": StatusCode.NOT_FOUND, "FILE_NOT_FOUND": StatusCode.NOT_FOUND,
    "MODEL_EXISTS": StatusCode.ALREADY_EXISTS, "VERSION_EXISTS": StatusCode.ALREADY_EXISTS,
    "TRANSITION_NOT_ALLOWED": StatusCode.FAILED_PRECONDITION, "BLOBS_MISSING": StatusCode.FAILED_PRECONDITION,
    "FILE_IS_EXTERNAL": StatusCode.FAILED_PRECONDITION, "TOO_MANY": StatusCode.FAILED_PRECONDITION,
    "CANNOT_SIGN": StatusCode.FAILED_PRECONDITION,
    "CONFLICT": StatusCode.ABORTED, "OFFSET_MISMATCH": StatusCode.OUT_OF_RANGE, "POSITION_UNKNOWN": StatusCode.OUT_OF_RANGE,
}  # fmt: skip

# A request of each method that is good; a test puts one value of its own into it.
GOOD = {
    "CreateModel": {"name": "new"},
    "GetModel": {"name": "base"},
    "ListModels": {},
    "UpdateModel": {"model": {"name": "base"}, "update_mask": {"paths": ["description", "labels"]}},
    "RegisterVersion": {"model": "base"},
    "GetVersion": {"reference": "base:1"},
    "ListVersions": {"model": "base"},
    "ListFiles": {"reference": "base:1"},
    "UpdateVersion": {"reference": "base:1", "update_mask": {"paths": ["description", "labels"]}},
    "AddNote": {"reference": "base:1", "text": "looks good"},
    "ResolveVersion": {"reference": "base:1"},
    "FindMissingBlobs": {"model": "base"},
    "UploadBlob": {"header": {"model": "base", "digest": "sha256:" + "0" * 64, "size_bytes": 1}},
    "DownloadArtifact": {"reference": "base:1", "path": "model.bin"},
    "SignDownloads": {"reference": "base:1", "paths": ["model.bin"]},
    "TransitionStage": {"reference": "base:1", "stage": "development"},
    "SetAlias": {"reference": "base:1", "alias": "champion"},
    "DeleteAlias": {"model": "base", "alias": "champion"},
    "ListAliases": {"model": "base"},
    "ListEvents": {},
    "Watch": {},
    "GetServerInfo": {},
}
FRESH = count(1)


def request_of(method: str, **fields: object) -> Message:
    """The request of a method, from the fields as dicts and lists."""
    return GetMessageClass(SERVICE.methods_by_name[method].input_type)(**fields)


def response_of(method: str) -> type[Message]:
    """The response of a method."""
    return GetMessageClass(SERVICE.methods_by_name[method].output_type)


def put(fields: dict, path: str, value: object) -> dict:
    """A copy of a request's fields with the value at a path such as `record.params[0].name`."""
    fields = copy.deepcopy(fields)
    target: object = fields
    steps = [int(step) if step.isdigit() else step for step in re.findall(r"\w+", path)]
    for step, following in pairwise([*steps, None]):
        if following is None:
            target[step] = value
            break
        new = [] if isinstance(following, int) else {}
        target = target[step] if isinstance(step, int) else target.setdefault(step, new)
        if isinstance(following, int):
            target.extend({} for _ in range(following + 1 - len(target)))
    return fields


def good(place: str, value: object) -> tuple[str, dict]:
    """The method and the fields of its good request, with a value at a place such as `SetAlias.alias`."""
    method, _, path = place.partition(".")
    fields = put(GOOD[method], path, value)
    if method == "CreateModel" and path != "name":
        fields["name"] = f"new-{next(FRESH)}"
    return method, fields


class Wire:
    """A server seen from outside: what it answers, and whether its database changed."""

    def __init__(self, server: RunningServer) -> None:
        self.server = server
        self.witness = server.database.look()

    def close(self) -> None:
        self.witness.close()

    def call(self, method: str, request: Message | bytes | None = None, /, **fields: object) -> Message | list[Message]:
        """Makes a call: a whole request, its fields, or raw bytes; of a stream one message. `_metadata` as it says."""
        metadata = fields.pop("_metadata", None)
        request = request_of(method, **fields) if request is None else request
        kind = SERVICE.methods_by_name[method]
        if isinstance(request, Message):
            call = getattr(RegistryServiceStub(self.server.channel), method)
        else:
            shape = ("stream" if kind.client_streaming else "unary") + ("_stream" if kind.server_streaming else "_unary")
            path = f"/{SERVICE.full_name}/{method}"
            call = getattr(self.server.channel, shape)(path, response_deserializer=response_of(method).FromString)
        reply = call(iter([request]) if kind.client_streaming else request, timeout=SECONDS, metadata=metadata)
        if method == "Watch":  # it does not end
            first = next(reply)
            reply.cancel()
            return [first]
        return list(reply) if kind.server_streaming else reply

    def refuse(self, reason: str, method: str, request: Message | bytes | None = None, /, **fields: object) -> Refusal:
        """Makes a call that must be refused for that reason: with its status, small details, no trace, nothing half done."""
        before = self.database()
        with pytest.raises(grpc.RpcError) as caught:
            self.call(method, request, **fields)
        refusal = Refusal(caught.value)
        assert (refusal.reason, refusal.code) == (reason, STATUSES[reason]), refusal.message
        assert refusal.message and refusal.message.isprintable()
        assert "Traceback" not in refusal.message
        assert details_size(caught.value) <= MAX_DETAIL_BYTES
        assert self.database() == before
        return refusal

    def refuse_field(self, field: str, method: str, request: Message | bytes | None = None, /, **fields: object) -> Refusal:
        """Makes a call that must be INVALID_ARGUMENT, and name this field."""
        refusal = self.refuse("INVALID_ARGUMENT", method, request, **fields)
        assert refusal.fields == [field], refusal.message
        return refusal

    def refuse_at(self, place: str, value: object, *, reason: str = "", field: str = "") -> Refusal:
        """The value is refused at that place of a good request: for the reason, or with the field (the place) named."""
        method, fields = good(place, value)
        if reason:
            return self.refuse(reason, method, **fields)
        return self.refuse_field(field or place.partition(".")[2], method, **fields)

    def accept_at(self, place: str, value: object) -> Message | list[Message]:
        """The value is taken at that place of a good request."""
        method, fields = good(place, value)
        return self.call(method, **fields)

    def database(self) -> str:
        """A digest of every row of the database."""
        return self.witness.digest()


def details_size(error: grpc.RpcError) -> int:
    """The bytes of an error's details."""
    return sum(len(value) for key, value in error.trailing_metadata() or () if key == "grpc-status-details-bin")
