"""A process that serves HTTP from the files of a sidecar's folder, as any serving system does: `serving.py DIR LOG`.

`/loaded` answers from what was loaded at the last SIGHUP, and says how many lines LOG had then; `/now` from what is current at the
moment of the request. The first line of stdout is the port. Any failure is an answer 500, or a line on stderr.
"""

import json
import os
import signal
import sys
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CURRENT, LOG = Path(sys.argv[1]) / "current", Path(sys.argv[2])


def read():
    """What each file of the current version says: all of one folder, which is looked up once."""
    folder = os.open(CURRENT, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return {name: read_file(folder, name) for name in ("n", "content")}
    finally:
        os.close(folder)


def read_file(folder, name):
    with os.fdopen(os.open(name, os.O_RDONLY, dir_fd=folder), "rb") as file:
        return file.read().split()[-1].decode()


class Model:
    """What is in memory, replaced as a whole."""

    def load(self, *_):
        try:
            self.answer = {"told": LOG.read_bytes().count(b"\n"), **read()}
        except Exception:
            traceback.print_exc()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        try:
            status, answer = 200, model.answer if self.path == "/loaded" else read()
        except Exception as error:
            status, answer = 500, repr(error)
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True


model = Model()
model.load()
signal.signal(signal.SIGHUP, model.load)
with Server(("127.0.0.1", 0), Handler) as server:
    print(server.server_address[1], flush=True)
    server.serve_forever(0.05)
