"""Calls by name, as any client could make them, with what must be true of every refusal."""

import copy
import hashlib
import re
from itertools import pairwise

import apsw
import grpc
import pytest
from conftest import Refusal, RunningServer
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from podium.v1.registry_service_pb2 import DESCRIPTOR
from podium.v1.registry_service_pb2_grpc import RegistryServiceStub

SERVICE = DESCRIPTOR.services_by_name["RegistryService"]
METHODS = [method.name for method in SERVICE.methods]
MAX_DETAIL_BYTES = 4096
SECONDS = 30


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
    for step, following in pairwise([*steps, ""]):
        new = [] if isinstance(following, int) else {}
        if following == "":
            target[step] = value
        elif isinstance(step, int):
            target = target[step]
        else:
            target = target.setdefault(step, new)
        if isinstance(following, int):
            target.extend({} for _ in range(following + 1 - len(target)))
    return fields


class Wire:
    """A server seen from outside: what it answers, and whether its database changed."""

    def __init__(self, server: RunningServer) -> None:
        self.server = server
        self.witness = apsw.Connection(str(server.data / "registry.db"), flags=apsw.SQLITE_OPEN_READONLY)
        self.seen = (-1, "")

    def close(self) -> None:
        self.witness.close()

    def call(self, method: str, request: Message | bytes | None = None, /, **fields: object) -> Message | list[Message]:
        """Makes a call with a whole request, with its fields, or with raw bytes; streams of one message. `_metadata` as it says."""
        metadata = fields.pop("_metadata", None)
        request = request_of(method, **fields) if request is None else request
        kind = SERVICE.methods_by_name[method]
        if isinstance(request, Message):
            call = getattr(RegistryServiceStub(self.server.channel), method)
        else:
            shape = ("stream" if kind.client_streaming else "unary") + (
                "_stream" if kind.server_streaming else "_unary"
            )
            path = f"/{SERVICE.full_name}/{method}"
            call = getattr(self.server.channel, shape)(path, response_deserializer=response_of(method).FromString)
        reply = call(iter([request]) if kind.client_streaming else request, timeout=SECONDS, metadata=metadata)
        return list(reply) if kind.server_streaming else reply

    def refuse(self, method: str, request: Message | bytes | None = None, /, **fields: object) -> Refusal:
        """Makes a call that must be refused: with a status, a reason, small details, no trace, and nothing half done."""
        before = self.database()
        with pytest.raises(grpc.RpcError) as caught:
            self.call(method, request, **fields)
        refusal = Refusal(caught.value)
        assert refusal.code not in {grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL}, refusal.message
        assert re.fullmatch("[A-Z]+(_[A-Z]+)*", refusal.reason), (refusal.code, refusal.message)
        assert refusal.message and refusal.message.isprintable()
        assert "Traceback" not in refusal.message
        assert details_size(caught.value) <= MAX_DETAIL_BYTES
        assert self.database() == before
        return refusal

    def refuse_field(
        self, field: str, method: str, request: Message | bytes | None = None, /, **fields: object
    ) -> Refusal:
        """Makes a call that must be INVALID_ARGUMENT, and name this field."""
        refusal = self.refuse(method, request, **fields)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"), refusal.message
        assert refusal.fields == [field], refusal.message
        return refusal

    def database(self) -> str:
        """A digest of every row of the database."""
        version = self.witness.pragma("data_version")
        if version != self.seen[0]:
            digest = hashlib.sha256()
            for (table,) in self.witness.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
                for row in self.witness.execute(f'SELECT * FROM "{table}"'):
                    digest.update(repr(row).encode())
            self.seen = (version, digest.hexdigest())
        return self.seen[1]


def details_size(error: grpc.RpcError) -> int:
    """The bytes of an error's details."""
    return sum(len(value) for key, value in error.trailing_metadata() or () if key == "grpc-status-details-bin")
