"""The lines that the server writes to stderr, as text or as JSON, each with the id of the call that it was written for."""

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime

request_id: ContextVar[str] = ContextVar("request_id", default="")

# They would log every statement, the URIs of upload sessions, with which anyone can write, and headers that are keys.
_QUIET = {"peewee": logging.WARNING, "google": logging.WARNING, "urllib3": logging.WARNING, "opentelemetry.util.re": logging.ERROR}


def log_to_stderr(level: str, form: str, worker: int) -> None:
    """From now on everything from that level on is written, in that form: `text` or `json`. A worker has a number, others 0."""
    handler = logging.StreamHandler(sys.stderr)
    who = f"worker {worker} " if worker else ""
    text = _Text(f"%(asctime)s %(levelname)s {who}%(name)s%(mark)s: %(message)s")
    handler.setFormatter(_Json(worker) if form == "json" else text)
    logging.basicConfig(level=level.upper(), handlers=[handler])
    for name, quiet in _QUIET.items():
        logging.getLogger(name).setLevel(quiet)
    logging.getLogger("grpc._cython.cygrpc").addFilter(_is_ours)


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        record.mark = f" [{known}]" if (known := request_id.get()) else ""
        return super().format(record)


class _Json(logging.Formatter):
    """An object a line. What is logged with `extra={"fields": {…}}` is in it as fields of its own."""

    def __init__(self, worker: int) -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if self._worker:
            line["worker"] = self._worker
        if known := request_id.get():
            line["request_id"] = known
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def _is_ours(record: logging.LogRecord) -> bool:
    """Drops grpcio's traces about clients that went away in mid-stream or sent metadata that is no UTF-8: there is no fault."""
    return not record.getMessage().startswith(("ExecuteBatchError raised in core", "Invalid encoding"))
