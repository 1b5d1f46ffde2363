"""Calls that are made again, at any replica, until they are answered; each is remembered with when and how it went."""

import random
import time
import uuid

import grpc
from conftest import Refusal
from google.protobuf.message import Message
from grpc import StatusCode
from podium.v1.registry_service_pb2_grpc import RegistryServiceStub
from wire import request_of

ATTEMPT_SECONDS = 4.0
PATIENCE_SECONDS = 120.0
PAUSE_SECONDS = 0.05
READS = {"ResolveVersion", "GetVersion", "FindMissingBlobs"}
MAY_PASS = {StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED, StatusCode.CANCELLED}


class Unanswered(Exception):
    """Nobody has answered for so long that something must be wrong."""


class Call:
    """What was asked, from when on, and what came of it until when. `lost` counts attempts of which nobody knows what they did."""

    def __init__(self, actor: str, method: str, request: Message) -> None:
        self.actor, self.method, self.request = actor, method, request
        self.reply: Message | None = None
        self.refusal: Refusal | None = None
        self.lost = 0
        self.since = self.sent = time.monotonic()
        self.returned = float("inf")

    def __str__(self) -> str:
        told = f"refused with {self.refusal.reason}" if self.refusal else "answered" if self.reply else "left"
        asked = " ".join(str(self.request).split())[:300]
        return f"{self.actor}: {self.method} {asked}, {told} after {self.lost} attempts in vain: {self.reply or ''}"

    @property
    def seconds(self) -> float:
        """How long its client waited."""
        return self.returned - self.sent

    def attempt(self, stub: RegistryServiceStub) -> bool:
        """Asks once; whether that was answered."""
        try:
            metadata = (("podium-actor", self.actor),)
            self.reply = getattr(stub, self.method)(self.request, timeout=ATTEMPT_SECONDS, metadata=metadata)
        except grpc.RpcError as error:
            if error.code() in MAY_PASS:
                self.lost += 1
                return False
            self.refusal = Refusal(error)
        self.returned = time.monotonic()
        return True


class Caller:
    """Makes the calls of one client, each at one replica or another."""

    def __init__(self, actor: str, stubs: list[RegistryServiceStub], choice: random.Random) -> None:
        self.actor = actor
        self.random = choice
        self.calls: list[Call] = []
        self._stubs = stubs

    @property
    def stub(self) -> RegistryServiceStub:
        """That of one of the replicas."""
        return self.random.choice(self._stubs)

    def call(self, method: str, *, persistence: float = 1.0, **fields: object) -> Call:
        """Makes a call until it is answered, or with this probability after each attempt; Unanswered if it never is."""
        if method not in READS:
            fields["request_id"] = uuid.uuid4().hex
        call = Call(self.actor, method, request_of(method, **fields))
        self.calls.append(call)
        while not call.attempt(self.stub):
            if self.random.random() >= persistence:
                break
            if time.monotonic() - call.sent > PATIENCE_SECONDS:
                raise Unanswered(f"{call}")
            time.sleep(PAUSE_SECONDS)
        return call
