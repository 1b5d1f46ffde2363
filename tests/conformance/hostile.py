"""A server that lies as a scenario says; about everything else it is honest."""

import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import ParseDict
from google.protobuf.message_factory import GetMessageClass
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from podium.errors import DETAILS_KEY
from podium.v1.artifacts_pb2 import DownloadArtifactResponse, FindMissingBlobsResponse, MissingBlob, UploadBlobResponse
from podium.v1.events_pb2 import EventKind
from podium.v1.versions_pb2 import File, ListFilesResponse, RegisterVersionResponse
from podium.v1.watch_pb2 import Reference, WatchResponse
from test_hostile import SERVICE, Liar, digest_of

from conformance.content import content_of

BIG = "model.bin"  # the file whose download `messages` are about
# By whether the client and whether the server sends a stream.
HANDLERS = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
}
TOO_LARGE = 5 << 20  # bytes of one message
HEARTBEAT_SECONDS = 0.3


class Scripted(Liar):
    """One version, `m:1`, of these files (see content), which `m@champion` means."""

    def __init__(
        self, files, listing=None, digest=None, messages=None, missing=None, fail=None, reply=None, endless=None, large=""
    ):
        super().__init__()
        self.asked = defaultdict(list)
        self._fails = {method: Failing(**values) for method, values in (fail or {}).items()}
        self.stopped = threading.Event()
        self.says["Watch"] = lambda _: self._watch()
        self.tell({path: content_of(path, value) for path, value in files.items()})
        self.digest = digest or ""
        if listing is not None:
            self.listed = [listed(**one) for one in listing]
        if messages is not None:
            self.says["DownloadArtifact"] = lambda request: self._tell(request, messages)
        self.says["FindMissingBlobs"] = lambda request: all_missing(request, **missing or {})
        self.says["UploadBlob"] = lambda requests: self._take(requests)  # noqa: PLW0108  what has two arguments gets a context
        self.says["RegisterVersion"] = lambda request: self._register(request)  # noqa: PLW0108
        for method, values in (reply or {}).items():
            self.says[method] = lambda _, method=method, values=values: message(method, values)
        self.says |= {large: lambda _: bytes(TOO_LARGE)} if large else {}
        if endless is not None:
            page = [listed(str(number)) for number in range(endless)]
            self.says["ListFiles"] = lambda _: ListFilesResponse(next_page_token=str(next(tokens)), files=page)
            tokens = count()

    def service(self, details):
        name = details.method.rpartition("/")[2]
        method = SERVICE.methods_by_name[name]
        self.asked[name].append({"actor": dict(details.invocation_metadata).get("podium-actor")})
        if name in self._fails and self._fails[name].next():
            return HANDLERS[method.client_streaming, method.server_streaming](self._fails[name], self._read(method))
        return super().service(details)

    def _read(self, method):
        """Parses a request, and notes its id."""

        def read(data):
            request = GetMessageClass(method.input_type).FromString(data)
            self.asked[method.name][-1]["request_id"] = getattr(request, "request_id", "")
            return request

        return read

    def _take(self, requests):
        """Takes all bytes of an upload."""
        header = next(requests).header
        came = sum(len(request.chunk) for request in requests)
        self.asked["UploadBlob"][-1]["begun"] = {"offset": header.offset, "size_bytes": header.size_bytes, "came": came}
        return UploadBlobResponse(committed_bytes=header.size_bytes, complete=True)

    def _register(self, request):
        self.asked["RegisterVersion"][-1]["request_id"] = request.request_id
        return RegisterVersionResponse(created=True)

    def _watch(self):
        reference = Reference(kind=EventKind.EVENT_KIND_ALIAS, model="m", name="champion", target=self.target)
        interval = Duration(nanos=int(HEARTBEAT_SECONDS * 1e9))
        yield WatchResponse(heartbeat_interval=interval, snapshot=True, references=[reference], position="1")
        while not self.stopped.wait(HEARTBEAT_SECONDS):
            yield WatchResponse(position="1")

    def _tell(self, request, messages):
        """Messages: `header` (or a table: a header that lies), so many bytes of the file, so many zeros, raw bytes."""
        if request.path != BIG:
            yield from self.download(request)
            return
        offset = request.offset
        for one in messages:
            if one == "header":
                yield self.header(request)
            elif isinstance(one, dict):
                yield self.header(request, **one)
            elif isinstance(one, int):
                yield DownloadArtifactResponse(chunk=self.files[BIG][offset : offset + one])
                offset += one
            elif one.startswith("zeros:"):
                yield DownloadArtifactResponse(chunk=bytes(int(one.removeprefix("zeros:"))))
            else:
                yield bytes.fromhex(one.removeprefix("raw:"))


@contextmanager
def serving(handler):
    """The address at which a scripted server answers."""
    with ThreadPoolExecutor(8) as pool:
        server = grpc.server(pool, options=[("grpc.so_reuseport", 0)])
        server.add_generic_rpc_handlers((handler,))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            handler.stopped.set()
            server.stop(0).wait()


def listed(path, content="1", uri="", lie=()):
    """An entry of a listing: what `content` makes it, unless it lies."""
    if uri:
        return File(path=path, uri=uri)
    data = content_of(path, content)
    return File(**{"path": path, "digest": digest_of(data), "size_bytes": len(data), **dict(lie)})


def all_missing(request, **lies):
    return FindMissingBlobsResponse(missing=[MissingBlob(**{"digest": blob.digest, **lies}) for blob in request.blobs])


def message(method, values):
    """The reply of a method with these values; a text is the bytes of no message."""
    if isinstance(values, str):
        return bytes.fromhex(values)
    return ParseDict(values, GetMessageClass(SERVICE.methods_by_name[method].output_type)())


class Failing:
    """Fails with a status, and an ErrorInfo if there is anything to say in one; only so many `times`."""

    def __init__(self, code, message="told", times=1_000_000, **info):
        self._code, self._message, self._info = grpc.StatusCode[code], message, info
        self._left = times

    def next(self):
        """Whether the next call fails."""
        self._left -= 1
        return self._left >= 0

    def __call__(self, _request, context):
        if self._info:
            status = Status(code=self._code.value[0], message=self._message)
            status.details.add().Pack(ErrorInfo(**{"domain": "podium", **self._info}))
            context.set_trailing_metadata([(DETAILS_KEY, status.SerializeToString())])
        context.abort(self._code, self._message)
