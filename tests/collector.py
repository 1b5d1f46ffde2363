"""What collects traces: OTLP by HTTP on a loopback port, as the OpenTelemetry Collector does it."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from streams import until


class Collector:
    """Keeps the spans that were sent, and the resource that they are of."""

    def __init__(self):
        self.spans = []
        self.resource = {}
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        self.environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self._http.server_port}",
            "OTEL_BSP_SCHEDULE_DELAY": "50",  # milliseconds
        }

    def close(self):
        self._http.shutdown()
        self._http.server_close()

    def call(self, request_id):
        """The span of a call, once it has come; its children end and come before it, but for what is done for it later."""
        until(lambda: self._of(request_id))
        (span,) = self._of(request_id)
        return span

    def below(self, span):
        """The names of its children, each with its own, in the order in which they began."""
        children = [one for one in self.spans if one.parent_span_id == span.span_id]
        return [(one.name, self.below(one)) for one in sorted(children, key=lambda one: one.start_time_unix_nano)]

    def _of(self, request_id):
        return [span for span in self.spans if values(span.attributes).get("podium.request_id") == request_id]

    def _take(self, request):
        for traced in request.resource_spans:
            self.resource = values(traced.resource.attributes)
            self.spans += [span for scope in traced.scope_spans for span in scope.spans]

    def _handler(collector):  # noqa: N805  the handler has a self of its own
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                assert self.path == "/v1/traces"
                collector._take(ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.end_headers()
                self.wfile.write(ExportTraceServiceResponse().SerializeToString())

            def log_message(self, *_):
                pass

        return Handler


def values(attributes):
    """Attributes as a mapping."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
