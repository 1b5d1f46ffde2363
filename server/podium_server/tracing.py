"""Traces, where OpenTelemetry's own environment asks for them (OTEL_…, see TELEMETRY.md); else nothing of it is imported.

A span is what a call waited for. Those that do not end in the function that began them are of the call, in `otel`.
"""

import logging
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from podium_server.otel import OpenTelemetry, ServerSpan

log = logging.getLogger(__name__)

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_OFF = nullcontext()

_tracer: "OpenTelemetry | None" = None


def start() -> None:
    """Traces from now on, if that is asked for. Where it cannot be done a warning says so: a registry serves without, too."""
    global _tracer  # noqa: PLW0603  one for the process, as logging is
    if not (exporters := _exporters()):
        return
    try:
        from podium_server.otel import OpenTelemetry  # noqa: PLC0415  only here

        _tracer = OpenTelemetry(exporters)
    except (ImportError, LookupError, ValueError) as error:
        log.warning("nothing is traced, though OTEL_… asks for it: %s (pip install 'podium[otel]' brings OTLP by HTTP)", error)


def stop() -> None:
    """Sends what was not sent yet, as far as that takes a few seconds."""
    if _tracer is not None:
        _tracer.close()


def begin(service: str, method: str, metadata: Mapping[str, str | bytes]) -> "ServerSpan | None":
    """Begins the span of a call, of which the spans of all that it does from now on are children."""
    return None if _tracer is None else _tracer.begin(service, method, metadata)


def span(name: str) -> AbstractContextManager[object]:
    """What is done within is a part of the call."""
    return _OFF if _tracer is None else _tracer.span(name)


def _exporters() -> list[str]:
    """The names of the exporters that are asked for, as OpenTelemetry's packages say them."""
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    default = "otlp" if any(map(os.environ.get, _ENDPOINTS)) else "none"
    names = (os.environ.get("OTEL_TRACES_EXPORTER") or default).split(",")
    return [_protocol() if name.strip() == "otlp" else name.strip() for name in names if name.strip() != "none"]


def _protocol() -> str:
    """Which OTLP: by HTTP, as the specification has it, unless that is said."""
    told = (os.environ.get(f"OTEL_EXPORTER_OTLP{signal}_PROTOCOL") for signal in ("_TRACES", ""))
    return "otlp_proto_grpc" if next(filter(None, told), "") == "grpc" else "otlp_proto_http"
