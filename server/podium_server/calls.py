"""One RPC under way: its id, who calls, and what is told of it when it ends: a line of the log, its metrics, its span."""

import logging
import random
import time
from collections.abc import Mapping
from typing import Any, TypeAlias

import grpc
from google.protobuf.descriptor import MethodDescriptor

from podium_server import logs, metrics, tracing
from podium_server.errors import InvalidArgument, PodiumError, Stopping
from podium_server.ledger import Caller
from podium_server.limits import MAX_ACTOR_BYTES, MAX_REQUEST_ID_BYTES, byte_length

log = logging.getLogger(__name__)

# Generic only for type checkers.
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

ACTOR_KEY = "podium-actor"
REQUEST_ID_KEY = "x-request-id"


class Method:
    """An RPC, and its metrics, which are looked up once."""

    def __init__(self, descriptor: MethodDescriptor) -> None:
        self.name = descriptor.name
        self.service = descriptor.containing_service.full_name
        streams = (descriptor.client_streaming, descriptor.server_streaming)
        kind = {(False, False): "unary", (True, False): "client_stream", (False, True): "server_stream"}[streams]
        self.mutates = "request_id" in descriptor.input_type.fields_by_name
        self._labels = (kind, self.service, self.name)
        self.in_flight = 0
        metrics.IN_FLIGHT.labels(self.name).set_function(lambda: self.in_flight)
        self._seconds = metrics.HANDLING_SECONDS.labels(*self._labels)
        self._ok = metrics.HANDLED.labels(*self._labels, "OK")

    def count(self, code: str, seconds: float) -> None:
        """A call has ended."""
        self.in_flight -= 1
        self._seconds.observe(seconds)
        (self._ok if code == "OK" else metrics.HANDLED.labels(*self._labels, code)).inc()


class Call:
    """A call of a method, from its begin to `end`. If its `code` was not set by then, the caller has gone, or waits no more."""

    def __init__(self, method: Method, context: Context) -> None:
        self._began = time.monotonic()
        self._method = method
        self._context = context
        self._metadata: dict[str, str | bytes] = dict(context.invocation_metadata() or ())
        self._actor = ""
        self.code = "CANCELLED"
        self._told: PodiumError | None = None
        self._error: Exception | None = None
        method.in_flight += 1
        self.id = request_id(self._metadata)
        logs.request_id.set(self.id)
        context.set_trailing_metadata(((REQUEST_ID_KEY, self.id),))
        self._span = tracing.begin(method.service, method.name, self._metadata)

    def caller(self) -> Caller:
        """Who calls; InvalidArgument if the name is none."""
        given = self._metadata.get(ACTOR_KEY, "")
        actor = given if isinstance(given, str) else given.decode("utf-8", "replace")
        if byte_length(actor) > MAX_ACTOR_BYTES or not (actor.isprintable() or not actor):
            raise InvalidArgument(f"the metadata {ACTOR_KEY} is not printable or has more than {MAX_ACTOR_BYTES} bytes")
        self._actor = actor
        return Caller(actor, self._context.peer(), self._method.name)

    def refuse(self, told: PodiumError, error: Exception) -> None:
        """It ends with what the caller is told of an error."""
        self.code, self._told, self._error = told.status.name, told, error

    def end(self) -> None:
        """Tells what became of it."""
        seconds = time.monotonic() - self._began
        self._method.count(self.code, seconds)
        level = logging.INFO if self._method.mutates or self._is_refused() else logging.DEBUG
        if log.isEnabledFor(level):
            self._say(level, seconds)
        if self._span is not None:
            self._span.end(self.code, self.id, self._error)

    def _is_refused(self) -> bool:
        """Whether somebody may want to know why. A server that stops ends thousands of watches, which go on elsewhere."""
        return self.code not in {"OK", "CANCELLED"} and not isinstance(self._told, Stopping)

    def _say(self, level: int, seconds: float) -> None:
        fields = {"method": self._method.name, "code": self.code, "seconds": round(seconds, 6)}
        fields |= {"actor": self._actor, "peer": self._context.peer()}
        why = ""
        if self._told is not None:
            why = f": {self._told.reason} {self._told.message}"
            fields["reason"] = self._told.reason
        told = (self._method.name, self.code, seconds * 1000, self._actor or "-", fields["peer"], why)
        log.log(level, "%s %s in %.1f ms for %s at %s%s", *told, extra={"fields": fields})


def request_id(metadata: Mapping[str, str | bytes]) -> str:
    """What the caller calls it, if that can stand in a line of a log; else one made up, at a sixth of what a UUID costs."""
    given = metadata.get(REQUEST_ID_KEY)
    if isinstance(given, str) and 0 < len(given) <= MAX_REQUEST_ID_BYTES and given.isascii() and given.isprintable():
        return given
    return f"{random.getrandbits(128):032x}"
