"""A strict fake of Cloud Storage's JSON API, as much of it as a blob store needs: `gcs_fake.py DIR [PORT]`, or 0 for a free port.

It holds to the documented protocol where other fakes let things pass: a resumable session persists in steps of 256 KiB and says so
(308 with Range), ignores bytes that it has, refuses a gap, and once it is an object answers with that and takes nothing more; 410
for a session that is lost, 412 for a generation that is not there, 400 for a wrong CRC32C. A signed URL is verified, see
gcs_signatures.py, and refused with a header that nobody needs to read. Everything is in DIR, a folder a bucket (one that is not
there is a bucket that is not there), so it can be killed and started again. The first line of stdout is the port.

POST /control/order takes a JSON order, for the next `count` requests whose `method` and `path` (a regular expression, searched for
in path and query) match: answer with `status` and `headers` and do nothing; wait for `delay` seconds; cut the connection after so
many bytes of the body, `cut_request`, or after so many of the answer's, `cut_answer`; `damage` what is sent; `misreport` what its
CRC32C is; take a signed URL for `late` by so many seconds, or read another object `instead`. DELETE forgets all orders. GET
/control/requests tells all requests since the start: method, path, status, bytes of the body that were read.
"""

import base64
import json
import os
import re
import sys
import threading
import time
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit
from uuid import uuid4

import google_crc32c
from gcs_signatures import fault_of

STEP = 256 << 10
BLOCK = 1 << 20
READ_HEADERS = {"host", "range", "accept-encoding", "user-agent", "connection", "content-length"}
RANGE = re.compile(r"bytes (?:([0-9]+)-([0-9]+)|\*)/([0-9]+|\*)")


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status, message, **headers):
        super().__init__(message)
        self.status, self.headers = status, {name.replace("_", "-"): value for name, value in headers.items()}


class Cut(Exception):
    """The connection is to end here."""


class Superseded(Cut):
    """Another request to the same session has come."""


def encoded(crc):
    return base64.b64encode(crc.to_bytes(4, "big")).decode()


def crc_of(path):
    crc = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            crc = google_crc32c.extend(crc, block)
    return crc


def write(path, value):
    """Replaces a file at once."""
    new = path.with_name(f"{path.name}.{uuid4().hex}")
    new.write_text(json.dumps(value))
    new.rename(path)


class Store:
    """What is kept: in a bucket's folder `meta/NAME` (the object's resource) and `data/GENERATION`; sessions beside the buckets."""

    def __init__(self, folder):
        self.folder = folder
        self.sessions = folder / ".sessions"
        self.sessions.mkdir(parents=True, exist_ok=True)
        self.lock = threading.RLock()
        self.turns = {}  # of each session: how many requests it has seen
        self.crcs = {}  # of each session: the CRC32C of how many bytes
        self.last_generation = 0

    def bucket(self, name):
        if not (self.folder / name).is_dir():
            raise Refused(404, "The specified bucket does not exist.")
        return self.folder / name

    def create(self, name):
        if (self.folder / name).exists():
            raise Refused(409, "The bucket is there.")
        for kind in ("meta", "data"):
            (self.folder / name / kind).mkdir(parents=True)

    def meta(self, bucket, name):
        return self.bucket(bucket) / "meta" / quote(name, safe="")

    def check(self, bucket, name, wanted):
        """The resource of an object, if there is one; 412 if its generation is not the one that is wanted."""
        try:
            found = json.loads(self.meta(bucket, name).read_text())
        except FileNotFoundError:
            found = None
        if wanted is not None and wanted != (found["generation"] if found else "0"):
            raise Refused(412, "At least one of the pre-conditions you specified did not hold.")
        return found

    def find(self, bucket, name, query):
        """The resource of an object, under the conditions of a query; 404."""
        found = self.check(bucket, name, query.get("ifGenerationMatch"))
        if found is None or query.get("generation", found["generation"]) != found["generation"]:
            raise Refused(404, f"No such object: {bucket}/{name}")
        return found

    def insert(self, bucket, name, data, crc, wanted, misreport):
        """Makes the file at `data` an object, if the generation there is as wanted."""
        with self.lock:
            found = self.check(bucket, name, wanted)
            self.last_generation = max(self.last_generation + 1, time.time_ns() // 1000)
            resource = {
                "kind": "storage#object",
                "bucket": bucket,
                "name": name,
                "generation": str(self.last_generation),
                "metageneration": "1",
                "size": str(data.stat().st_size),
                "crc32c": encoded(crc ^ misreport),
            }
            os.link(data, self.data(resource))
            write(self.meta(bucket, name), resource)
            if found:
                self.data(found).unlink()
            return resource

    def data(self, resource):
        return self.folder / resource["bucket"] / "data" / resource["generation"]

    def delete(self, bucket, name, query):
        with self.lock:
            found = self.find(bucket, name, query)
            self.meta(bucket, name).unlink()
            self.data(found).unlink()

    def names(self, bucket, prefix):
        return sorted(name for path in (self.bucket(bucket) / "meta").iterdir() if (name := unquote(path.name)).startswith(prefix))

    @contextmanager
    def scratch(self):
        path = self.sessions / f"{uuid4().hex}.scratch"
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def compose(self, bucket, name, request, wanted, misreport):
        if not 1 <= len(request["sourceObjects"]) <= 32:
            raise Refused(400, "The number of source components is 1 to 32.")
        with self.lock, self.scratch() as new:
            crc = 0
            sources = []
            for source in request["sourceObjects"]:
                generation = source.get("generation")
                sources.append(self.find(bucket, source["name"], {"generation": str(generation)} if generation else {}))
            if len(sources) == 1:
                os.link(self.data(sources[0]), new)
                crc = int.from_bytes(base64.b64decode(sources[0]["crc32c"]), "big")
            else:
                with new.open("wb") as file:
                    for source in sources:
                        with self.data(source).open("rb") as data:
                            while block := data.read(BLOCK):
                                crc = google_crc32c.extend(crc, block)
                                file.write(block)
            return self.insert(bucket, name, new, crc, wanted, misreport)


class Session:
    """A resumable upload: its JSON and its data are files, which outlive the process. A new request ends one that is under way."""

    def __init__(self, store, key):
        self.store, self.key = store, key
        with store.lock:
            self.turn = store.turns[key] = store.turns.get(key, 0) + 1
        self.path, self.data = store.sessions / f"{key}.json", store.sessions / f"{key}.data"
        try:
            self.state = json.loads(self.path.read_text())
        except FileNotFoundError:
            raise Refused(410, "The upload session is gone.") from None

    @property
    def persisted(self):
        return self.data.stat().st_size // STEP * STEP

    def crc(self):
        """That of what is persisted: what is known of it, or what is read."""
        crc, size = self.store.crcs.get(self.key, (0, 0))
        return crc if size == self.data.stat().st_size else crc_of(self.data)

    def add(self, blocks, skip):
        """Adds what comes of the blocks, of which the first bytes are here already."""
        crc = self.crc()
        with self.data.open("ab", buffering=0) as file:
            for block in blocks:
                new = block[skip:] if skip else block
                skip = max(0, skip - len(block))
                crc = google_crc32c.extend(crc, new)
                with self.store.lock:
                    if self.store.turns[self.key] != self.turn:
                        raise Superseded
                    file.write(new)
                    self.store.crcs[self.key] = (crc, file.tell())

    def truncate(self, size):
        if self.data.stat().st_size != size:
            os.truncate(self.data, size)
            self.store.crcs.pop(self.key, None)

    def finish(self, wanted_crc, misreport):
        crc = self.crc()
        if wanted_crc and wanted_crc != encoded(crc):
            self.truncate(self.persisted)
            raise Refused(400, f"Provided CRC32C {wanted_crc} doesn't match calculated CRC32C {encoded(crc)}.")
        bucket, name, wanted = (self.state[field] for field in ("bucket", "name", "wanted"))
        with self.store.lock:
            self.state["object"] = self.made(bucket, name) or self.store.insert(bucket, name, self.data, crc, wanted, misreport)
        write(self.path, self.state)
        self.data.unlink()
        return self.state["object"]

    def made(self, bucket, name):
        """The object of this session, if the process was killed after it had made it and before it had noted that."""
        found = self.store.check(bucket, name, None)
        return found if found and self.store.data(found).samefile(self.data) else None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body of a short answer go out at once

    def __init__(self, store, orders, requests, *arguments):
        self.store, self.orders, self.requests = store, orders, requests
        super().__init__(*arguments)

    def serve(self):
        parts = urlsplit(self.path)
        self.query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.left = int(self.headers.get("Content-Length", 0))
        self.taken = 0
        self.is_noted = parts.path.startswith("/control/")
        self.order = {} if self.is_noted else self.next_order()
        try:
            try:
                time.sleep(self.order.get("delay", 0))
                if "status" in self.order:
                    raise Refused(self.order["status"], "as ordered", **self.order.get("headers", {}))
                self.route(parts.path)
            except Refused as refusal:
                self.drain()
                error = {"error": {"code": refusal.status, "message": str(refusal)}}
                self.answer(refusal.status, error, refusal.headers)
        except (Cut, ConnectionError):
            self.close_connection = True
            self.note(None)

    do_GET = do_POST = do_PUT = do_DELETE = serve  # noqa: N815 - as http.server wants them

    def note(self, status):
        """Counts the request, once, and before its answer goes out."""
        if not self.is_noted:
            self.requests.append([self.command, self.path, status, self.taken])
        self.is_noted = True

    def next_order(self):
        with self.store.lock:
            for order in self.orders:
                matches = order.get("method", self.command) == self.command and re.search(order.get("path", ""), self.path)
                if matches and order["count"]:
                    order["count"] -= 1
                    return order
        return {}

    def route(self, path):
        for method, pattern, serve in ROUTES:
            if method == self.command and (match := re.fullmatch(pattern, path)):
                serve(self, *map(unquote, match.groups()))
                return
        raise Refused(501, f"this fake knows no {self.command} {path}")

    @property
    def misreport(self):
        """What a CRC32C is changed by before it is told."""
        return int(self.order.get("misreport", False))

    # Bytes

    def blocks(self):
        """The body, in blocks; Cut where that is ordered or the other end goes."""
        while self.left:
            wanted = min(BLOCK, self.left, self.order.get("cut_request", sys.maxsize) - self.taken)
            block = self.rfile.read(wanted) if wanted else b""
            self.taken += len(block)
            self.left -= len(block)
            if self.order.get("damage") and self.taken == len(block):
                middle = len(block) // 2
                block = block[:middle] + bytes([block[middle] ^ 1]) + block[middle + 1 :]
            if block:
                yield block
            if len(block) < wanted or not wanted:
                raise Cut

    def body(self):
        return b"".join(self.blocks())

    def drain(self):
        for _ in self.blocks():
            pass

    def answer(self, status, body=None, headers=None, file=None, start=0, length=0):
        """Answers with JSON, or with a part of a file."""
        content = b"" if body is None else json.dumps(body).encode()
        cut = self.order.get("cut_answer", sys.maxsize)
        if not cut:
            raise Cut
        self.note(status)
        self.send_response(status)
        self.send_header("Content-Length", str(length if file else len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(content[:cut])
        self.wfile.flush()
        if file and length:
            self.connection.sendfile(file, start, min(length, cut))
        if cut < max(length, len(content)):
            raise Cut

    def log_message(self, *_):
        pass

    # Buckets and objects

    def create_bucket(self):
        name = json.loads(self.body())["name"]
        self.store.create(name)
        self.answer(200, {"kind": "storage#bucket", "name": name})

    def get_bucket(self, bucket):
        self.store.bucket(bucket)
        self.answer(200, {"kind": "storage#bucket", "name": bucket})

    def list(self, bucket):
        names = [name for name in self.store.names(bucket, self.query.get("prefix", "")) if name > self.query.get("pageToken", "")]
        most = int(self.query.get("maxResults", 1000))
        answer = {"kind": "storage#objects", "items": [{"name": name, "bucket": bucket} for name in names[:most]]}
        if len(names) > most:
            answer["nextPageToken"] = names[most - 1]
        self.answer(200, answer)

    def get(self, bucket, name):
        if self.query.get("alt") == "media":
            self.download(bucket, name)
        else:
            self.answer(200, self.store.find(bucket, name, self.query))

    def download(self, bucket, name):
        with self.store.lock:
            found = self.store.find(bucket, name, self.query)
            file = self.store.data(found).open("rb")
        with file:
            size = os.fstat(file.fileno()).st_size
            start, stop, status = 0, size, 200
            headers = {"X-Goog-Hash": f"crc32c={found['crc32c']}", "X-Goog-Generation": found["generation"]}
            if asked := re.fullmatch(r"bytes=([0-9]+)-([0-9]*)", self.headers.get("Range", "")):
                start, stop, status = int(asked[1]), min(int(asked[2] or size) + 1, size), 206
                if start >= size:
                    raise Refused(416, "The requested range cannot be satisfied.", Content_Range=f"bytes */{size}")
                headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
            self.answer(status, headers=headers, file=file, start=start, length=stop - start)

    def read_signed(self, bucket, name):
        if needless := {header.lower() for header in self.headers} - READ_HEADERS:
            raise Refused(400, f"Why are these told to a bucket: {needless}")
        fault = fault_of(self.path, self.headers["Host"], self.store.folder, time.time() + self.order.get("late", 0))
        if fault:
            raise Refused(*fault)
        self.download(bucket, self.order.get("instead", name))

    def delete(self, bucket, name):
        self.store.delete(bucket, name, self.query)
        self.answer(204)

    def compose(self, bucket, name):
        request, wanted = json.loads(self.body()), self.query.get("ifGenerationMatch")
        self.answer(200, self.store.compose(bucket, name, request, wanted, self.misreport))

    # Uploads

    def begin_upload(self, bucket):
        self.store.bucket(bucket)
        if self.query["uploadType"] == "multipart":
            self.insert(bucket)
        else:
            self.begin_session(bucket)

    def begin_session(self, bucket):
        request = json.loads(self.body() or b"{}")
        name, wanted = request.get("name", self.query.get("name")), self.query.get("ifGenerationMatch")
        self.store.check(bucket, name, wanted)
        key = uuid4().hex
        (self.store.sessions / f"{key}.data").touch()
        state = {"bucket": bucket, "name": name, "wanted": wanted, "crc32c": request.get("crc32c")}
        write(self.store.sessions / f"{key}.json", state)
        uri = f"http://{self.headers['Host']}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id={key}"
        self.answer(200, headers={"Location": uri})

    def insert(self, bucket):
        """Metadata and bytes in one request."""
        boundary = re.search(r'boundary="?([^";]+)', self.headers["Content-Type"])[1].encode()
        _, head, content, _ = self.body().split(b"--" + boundary)
        request = json.loads(head.partition(b"\r\n\r\n")[2])
        data = content.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
        crc = google_crc32c.value(data)
        if request.get("crc32c", encoded(crc)) != encoded(crc):
            raise Refused(400, "Provided CRC32C doesn't match calculated CRC32C.")
        with self.store.scratch() as new:
            new.write_bytes(data)
            resource = self.store.insert(bucket, request["name"], new, crc, self.query.get("ifGenerationMatch"), self.misreport)
        self.answer(200, resource)

    def put(self, bucket):
        key = re.sub("[^0-9a-f]", "", self.query["upload_id"])
        session = Session(self.store, key)
        if "object" in session.state:
            self.drain()
            self.answer(200, session.state["object"])
            return
        self.store.bucket(bucket)
        asked = RANGE.fullmatch(self.headers["Content-Range"])
        if asked is None:
            raise Refused(400, "Invalid Content-Range.")
        session.truncate(session.persisted)
        self.take(session, *asked.groups())

    def take(self, session, first, last, total):
        persisted = session.persisted
        end = int(last) + 1 if last else persisted
        if first is None:
            is_last = total == str(persisted)
            if self.left or (total != "*" and int(total) < persisted):
                raise Refused(400, "Invalid Content-Range.")
        else:
            first, is_last = int(first), total == str(end)
            if first > persisted or self.left != end - first or (not is_last and self.left % STEP):
                raise Refused(400, "Invalid request: a gap, or a chunk that is no multiple of 256 KiB.")
            try:
                session.add(self.blocks(), persisted - first)
            except Superseded:
                raise
            except Cut:
                session.truncate(session.persisted)
                raise
        if is_last:
            wanted = re.search("crc32c=([^,]+)", self.headers.get("X-Goog-Hash", "")) or [None, session.state["crc32c"]]
            self.answer(200, session.finish(wanted[1], self.misreport))
        else:
            persisted = session.persisted
            self.answer(308, headers={"Range": f"bytes=0-{persisted - 1}"} if persisted else {})

    def cancel(self, _bucket):
        session = Session(self.store, re.sub("[^0-9a-f]", "", self.query["upload_id"]))
        if "object" not in session.state:
            session.path.unlink()
            session.data.unlink()
        self.answer(499)

    # Accounts

    def give_token(self):
        self.drain()
        self.answer(200, {"access_token": "of the fake", "token_type": "Bearer", "expires_in": 3600})

    # Control

    def add_order(self):
        self.orders.append({"count": 1, **json.loads(self.body())})
        self.answer(200)

    def forget_orders(self):
        self.orders.clear()
        self.answer(200)

    def tell_requests(self):
        self.answer(200, list(self.requests))


OBJECT = "/storage/v1/b/([^/]+)/o/([^/]+)"
ROUTES = (
    ("POST", "/storage/v1/b", Handler.create_bucket),
    ("GET", "/storage/v1/b/([^/]+)", Handler.get_bucket),
    ("GET", "/storage/v1/b/([^/]+)/o", Handler.list),
    ("GET", OBJECT, Handler.get),
    ("GET", f"/download{OBJECT}", Handler.get),
    ("DELETE", OBJECT, Handler.delete),
    ("POST", f"{OBJECT}/compose", Handler.compose),
    ("POST", "/upload/storage/v1/b/([^/]+)/o", Handler.begin_upload),
    ("PUT", "/upload/storage/v1/b/([^/]+)/o", Handler.put),
    ("DELETE", "/upload/storage/v1/b/([^/]+)/o", Handler.cancel),
    ("POST", "/control/order", Handler.add_order),
    ("DELETE", "/control/order", Handler.forget_orders),
    ("GET", "/control/requests", Handler.tell_requests),
    ("POST", "/token", Handler.give_token),
    ("GET", "/([^/]+)/(.+)", Handler.read_signed),
)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *arguments):
        if not isinstance(sys.exception(), ConnectionError):  # a client that was killed is no fault
            super().handle_error(*arguments)


if __name__ == "__main__":
    handler = partial(Handler, Store(Path(sys.argv[1])), [], [])
    with Server(("127.0.0.1", int(sys.argv[2]) if len(sys.argv) > 2 else 0), handler) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever(0.05)
