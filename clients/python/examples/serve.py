"""Classifies tumours over HTTP with whatever a reference means: python serve.py breast-cancer@champion.

POST / takes a JSON list of 30 numbers. It swaps to the next version while it serves, and serves on while the registry is away.
"""

import json
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import joblib
import podium


class Classifier:
    """The model of one version, in memory."""

    def __init__(self, current: podium.Current) -> None:
        self.version = current.version
        self.model = joblib.load(current.path / "model.joblib")


class Server(ThreadingHTTPServer):
    """Answers with `classifier`, which is replaced as a whole: a request sees one version or the other."""

    classifier: Classifier

    def swap(self, current: podium.Current) -> None:
        """Loads a version beside the one that serves, then takes its place."""
        self.classifier = Classifier(current)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def do_POST(self) -> None:
        """Classifies one tumour."""
        classifier = self.server.classifier
        numbers = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = {"version": classifier.version, "benign": bool(classifier.model.predict([numbers])[0])}
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Logs nothing."""


def main(reference: str) -> None:
    """Serves until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    server = Server(("127.0.0.1", 0), Handler)
    with podium.follow(reference) as follower:
        versions = follower.changes()
        server.swap(next(versions))
        threading.Thread(target=lambda: [server.swap(version) for version in versions], daemon=True).start()
        print(f"serving {reference} at 127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
