"""What stands for Cloud Storage in tests, as processes: the strict fake of our own, and fsouza's fake-gcs-server."""

import json
import shutil
import socket
import sys
import tempfile
import urllib.request
from pathlib import Path
from urllib.parse import quote

from conformance.languages import ROOT, build, skip
from free_ports import free_port
from gcs_signatures import make_account
from processes import Process
from streams import until

BUCKET = "models"
FAKE_GCS_SERVER = "github.com/fsouza/fake-gcs-server@v1.56.1"


class GcsServer:
    """A process that serves the bucket `models`, over HTTP on a loopback port."""

    def __init__(self, command, folder):
        self.folder = folder
        self.port = 0
        self._command = command
        self.start()

    def start(self):
        self.process = Process(self._command(self))
        self._wait()
        self.address = f"http://127.0.0.1:{self.port}"
        self.environment = {"STORAGE_EMULATOR_HOST": self.address}

    def kill(self):
        """Ends it at once; what it printed on stderr must be no trace."""
        with self.process:
            pass
        complaints = self.process.rest()[1]
        assert not any("Traceback" in line for line in complaints), "\n".join(complaints)

    def ask(self, method, path, body=None):
        request = urllib.request.Request(self.address + path, json.dumps(body).encode() if body else None, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"null")

    def _wait(self):
        raise NotImplementedError


class StrictFake(GcsServer):
    """See gcs_fake.py. Killed and started again it has the same port, objects and sessions."""

    def __init__(self, folder):
        super().__init__(lambda fake: [sys.executable, Path(__file__).with_name("gcs_fake.py"), fake.folder, fake.port], folder)
        self.ask("POST", "/storage/v1/b", {"name": BUCKET})

    def _wait(self):
        self.port = int(self.process.line())

    def account(self, folder):
        """The environment of a server whose account has its key in a folder, so that it can sign URLs."""
        key = make_account(self.folder, folder, f"{self.address}/token")
        nowhere = "http://127.0.0.1:9"  # leads what Google's library asks of Google by itself, in the background
        return {"API_ENDPOINT_OVERRIDE": self.address, "GOOGLE_APPLICATION_CREDENTIALS": str(key), "HTTPS_PROXY": nowhere}

    def order(self, **order):
        """Orders what becomes of the next request, or of `count`; see gcs_fake.py."""
        self.ask("POST", "/control/order", order)

    def forget_orders(self):
        self.ask("DELETE", "/control/order")

    def requests(self, method="", path=""):
        """What was asked since it was started, each with `method, path, status, bytes`."""
        return [request for request in self.ask("GET", "/control/requests") if request[0].startswith(method) and path in request[1]]

    def reads(self):
        """How often blobs were read: by whom signed URLs were given to, and by servers."""
        asked = [path for _, path, *_ in self.requests("GET", "sha256")]
        return {
            "by_url": sum("X-Goog-Signature" in path for path in asked),
            "by_server": sum("alt=media" in path for path in asked),
        }

    def names(self):
        """The names of all objects but those that say whose the blobs are."""
        names = [item["name"] for item in self.ask("GET", f"/storage/v1/b/{BUCKET}/o")["items"]]
        return [name for name in names if not name.endswith("/registry")]

    def data(self, name):
        """The file with an object's bytes."""
        return self.folder / BUCKET / "data" / self.ask("GET", f"/storage/v1/b/{BUCKET}/o/{quote(name, safe='')}")["generation"]

    def set_away(self, *, away):
        """Whether there is no such bucket."""
        here, there = self.folder / BUCKET, self.folder / "away"
        (here if away else there).rename(there if away else here)


class FakeGcsServer(GcsServer):
    """fsouza's, in memory."""

    def __init__(self, folder):
        binary = ROOT / ".build" / "fake-gcs-server" / FAKE_GCS_SERVER.rpartition("@")[2]
        if not binary.exists():
            make(binary)
        self.free = free_port()
        where = ["-scheme", "http", "-host", "127.0.0.1", "-port", self.free, "-external-url", f"http://127.0.0.1:{self.free}"]
        super().__init__(lambda _: [binary, "-backend", "memory", *where], folder)
        self.ask("POST", "/storage/v1/b?project=tests", {"name": BUCKET})

    def _wait(self):
        self.port = self.free
        until(self._is_there)

    def _is_there(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def make(binary):
    """Builds fake-gcs-server; where there is no Go, that is said aloud."""
    if shutil.which("go") is None:
        skip("blobs are not tested with fake-gcs-server: this machine has no go")
    binary.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=binary.parent) as folder:
        build(["env", f"GOBIN={folder}", "go", "install", FAKE_GCS_SERVER], ROOT)
        (Path(folder) / "fake-gcs-server").rename(binary)
