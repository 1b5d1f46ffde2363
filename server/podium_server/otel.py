"""What the server needs of OpenTelemetry: imported only where traces are asked for (tracing).

Its instrumentation of gRPC is not used. It makes a stream's span current around `yield`, and where a client goes that is undone in
another task, with a trace in the log; and it sees neither the error behind a status nor that a call was cancelled.
"""

import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from importlib.metadata import entry_points, version

from grpc import StatusCode
from opentelemetry import context, propagate, trace
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

CLOSING_SECONDS = 5.0

# Of a server, by the semantic conventions: the others are the caller's errors.
_FAULTS = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}


class OpenTelemetry:
    """A tracer of this server's own: a global one would also get the spans of the libraries, with URLs in them that are keys."""

    def __init__(self, exporters: list[str]) -> None:
        known = Resource.create()  # from the environment
        named = not str(known.attributes[SERVICE_NAME]).startswith("unknown_service")
        own = {SERVICE_VERSION: version("podium")} | ({} if named else {SERVICE_NAME: "podium"})
        self._provider = TracerProvider(resource=known.merge(Resource(own)), shutdown_on_exit=False)
        for name in exporters:
            self._provider.add_span_processor(BatchSpanProcessor(_exporter(name)))
        self._tracer = self._provider.get_tracer("podium_server", version("podium"))

    def begin(self, service: str, method: str, metadata: Mapping[str, str | bytes]) -> "ServerSpan":
        """See tracing.begin. A call has a task of its own, with which its context ends."""
        parent = propagate.extract({key: value for key, value in metadata.items() if isinstance(value, str)})
        names = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
        span = self._tracer.start_span(f"{service}/{method}", parent, trace.SpanKind.SERVER, names)
        context.attach(trace.set_span_in_context(span, parent))
        return ServerSpan(span)

    def span(self, name: str) -> AbstractContextManager[object]:
        """See tracing.span."""
        return self._tracer.start_as_current_span(name)

    def close(self) -> None:
        """See tracing.stop. A collector that is away would be tried for longer."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(CLOSING_SECONDS)


class ServerSpan:
    """The span of a call, which began in one function and ends in another."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def end(self, code: str, request_id: str, error: BaseException | None) -> None:
        """Says how the call ended: the name of its status, and what went wrong."""
        self._span.set_attributes({"rpc.grpc.status_code": StatusCode[code].value[0], "podium.request_id": request_id})
        if error is not None:
            self._span.record_exception(error)
        if code in _FAULTS:
            self._span.set_status(trace.Status(trace.StatusCode.ERROR, str(error or "")))
        self._span.end()


def _exporter(name: str) -> SpanExporter:
    """The exporter that a package installed under a name; it reads its settings from the environment."""
    found = next(iter(entry_points(group="opentelemetry_traces_exporter", name=name)), None)
    if found is None:
        raise LookupError(f"there is no exporter {name}")
    exporter: SpanExporter = found.load()()
    return exporter
