"""What the server counts, for Prometheus (TELEMETRY.md). Whoever knows a number counts it here, or says how to see it.

RPCs have the names of go-grpc-prometheus, which dashboards and alerts know; OpenTelemetry's names for the same still change.
"""

import logging
import math
from importlib.metadata import version

from prometheus_client import Counter, Gauge, Histogram, Info, start_http_server

log = logging.getLogger(__name__)

_METHOD = ("grpc_type", "grpc_service", "grpc_method")
_SECONDS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

BUILD = Info("podium_build", "This server.")
BUILD.info({"version": version("podium")})

HANDLED = Counter("grpc_server_handled", "RPCs that ended.", (*_METHOD, "grpc_code"))
HANDLING_SECONDS = Histogram("grpc_server_handling_seconds", "How long RPCs took, streams too.", _METHOD, buckets=_SECONDS)
IN_FLIGHT = Gauge("podium_calls_in_flight", "RPCs under way.", ["grpc_method"])

WATCH_SNAPSHOTS = Counter("podium_watch_snapshots", "Watches that began with a snapshot.")
WATCH_EVENTS = Counter("podium_watch_events", "Events that were sent to watches.")
UPLOADED_BYTES = Counter("podium_uploaded_bytes", "Bytes of blobs that came in.")
DOWNLOADED_BYTES = Counter("podium_downloaded_bytes", "Bytes of blobs that went out.")

LEDGER_WAITING = Gauge("podium_ledger_waiting", "Changes that wait to be committed.")
LEDGER_GROUP = Histogram("podium_ledger_group_changes", "Changes that were committed together.", buckets=[2**n for n in range(9)])
LEDGER_SECONDS = Histogram("podium_ledger_commit_seconds", "How long a group of changes took, with its fsync.", buckets=_SECONDS)

VIEW_REVISION = Gauge("podium_view_revision", "The revision that is shown.")
VIEW_REFERENCES = Gauge("podium_view_references", "Aliases, stages and latests that are held in memory.")
VIEW_LAG = Gauge("podium_view_lag_seconds", "How far, at most, what is shown is behind the database.")
VIEW_LAG.set(math.inf)  # while the server waits for its database at start

READ_SECONDS = Histogram("podium_database_read_seconds", "How long reads took, with the wait for a thread.", buckets=_SECONDS)
STORAGE_ERRORS = Counter("podium_storage_errors", "Failures of the database or the store of blobs.", ["seen_by"])
for seen_by in ("ledger", "tailer", "read", "blobs"):
    STORAGE_ERRORS.labels(seen_by)


def serve(address: str, worker: int) -> None:
    """Answers HTTP at HOST:PORT from now on, in threads of its own. Of several workers, the second has the next port, and so on."""
    host, _, told = address.rpartition(":")
    port = int(told) + max(worker - 1, 0) if int(told) else 0
    try:
        server, _ = start_http_server(port, host.strip("[]"))
    except OSError as error:
        raise SystemExit(f"podium serve: cannot show metrics at {host}:{port}: {error.strerror}") from None
    log.info("metrics at http://%s:%d/metrics", host, server.server_port)
