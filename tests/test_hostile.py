"""A server that lies: whatever it says, nothing is written outside the folder, nothing appears half, and one clear error comes."""

import os
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from itertools import count, repeat

import grpc
import podium
import pytest
from google.protobuf.message_factory import GetMessageClass
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from podium.errors import DETAILS_KEY
from podium.frames import read_download
from podium.v1.aliases_pb2 import ListAliasesResponse
from podium.v1.artifacts_pb2 import (
    DownloadArtifactHeader,
    DownloadArtifactResponse,
    FindMissingBlobsResponse,
    MissingBlob,
    UploadBlobResponse,
)
from podium.v1.models_pb2 import GetModelResponse
from podium.v1.registry_service_pb2 import DESCRIPTOR
from podium.v1.resolve_pb2 import ResolveVersionResponse, Target
from podium.v1.versions_pb2 import File, ListFilesResponse, RegisterVersionResponse

MIB = 1 << 20
SERVICE = DESCRIPTOR.services_by_name["RegistryService"]


def digest_of(data):
    return f"sha256:{sha256(data).hexdigest()}"


def serialize(answer):
    return answer if isinstance(answer, bytes) else answer.SerializeToString()


class Liar(grpc.GenericRpcHandler):
    """A server whose answers a test makes. `says` has a function for each method; the rest is honest about `files`."""

    def __init__(self) -> None:
        self.says = {
            "ResolveVersion": lambda _: ResolveVersionResponse(target=self.target),
            "ListFiles": lambda _: ListFilesResponse(files=self.listed),
            "DownloadArtifact": self.download,
            "GetModel": lambda _: GetModelResponse(),
        }
        self.digest = ""
        self.tell({"model.bin": os.urandom(3 * MIB), "conf/a": b"{}"})

    def tell(self, files):
        """Has these files, with a manifest that is as it must be."""
        self.files = files
        self.listed = [File(path=path, digest=digest_of(data), size_bytes=len(data)) for path, data in files.items()]

    @property
    def target(self):
        lines = sorted((file.path, file.digest.removeprefix("sha256:")) for file in self.listed if not file.uri)
        manifest = "".join(f"{digest}  {path}\n" for path, digest in lines)
        return Target(model="m", number=1, version="1.0.0", digest=self.digest or digest_of(manifest.encode()))

    def header(self, request, **lies):
        data = self.files[request.path]
        told = {"number": 1, "digest": digest_of(data), "size_bytes": len(data), **lies}
        return DownloadArtifactResponse(header=DownloadArtifactHeader(**told))

    def download(self, request):
        data = self.files[request.path]
        yield self.header(request)
        for start in range(request.offset, len(data), MIB):
            yield DownloadArtifactResponse(chunk=data[start : start + MIB])

    def service(self, details):
        method = SERVICE.methods_by_name[details.method.rpartition("/")[2]]
        parse = GetMessageClass(method.input_type).FromString

        def answer(request, context):
            says = self.says[method.name]
            return says(request, context) if says.__code__.co_argcount == 2 else says(request)

        if method.client_streaming:
            return grpc.stream_unary_rpc_method_handler(answer, parse, serialize)
        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(lambda r, _: iter(self.says[method.name](r)), parse, serialize)
        return grpc.unary_unary_rpc_method_handler(answer, parse, serialize)


@pytest.fixture
def liar():
    handler = Liar()
    with ThreadPoolExecutor(8) as pool:
        server = grpc.server(pool, options=[("grpc.so_reuseport", 0)])
        server.add_generic_rpc_handlers((handler,))
        handler.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        yield handler
        server.stop(0).wait()


@pytest.fixture
def registry(liar, tmp_path):
    (tmp_path / "home").mkdir()
    with podium.connect(liar.address, cache=tmp_path / "home/cache", timeout=2) as connected:
        yield connected


def everything(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.fixture
def refuse(registry, tmp_path):
    """`refuse(error)`: a pull must end in it, and leave nothing behind but whole files, and starts of files, in the cache."""

    def pull(error, match=None):
        for destination in (None, tmp_path / "home/out"):
            with pytest.raises(error, match=match) as caught:
                registry.pull("m:1", destination)
            assert "\n" not in str(caught.value)
        assert [path for path in everything(tmp_path) if not path.startswith("home/cache")] == ["home"]
        assert not [path for path in everything(tmp_path) if "/trees/" in path]
        assert all(entry.kind != "version" for entry in registry.cache.entries())
        return caught.value

    return pull


def test_an_honest_server_first(liar, registry):
    """What these tests build on works: else they would show nothing."""
    folder = registry.pull("m:1")
    assert {path: (folder / path).read_bytes() for path in liar.files} == liar.files


# Paths.

ESCAPES = [
    "../escape",
    "..",
    ".",
    "",
    "/absolute",
    "//double",
    "a/../../escape",
    "a/..",
    "./a",
    "a//b",
    "a/",
    "a\\..\\escape",
    "C:\\escape",
    "nul\0escape",
    "line\nbreak",
    "\x1b[2J",
    "cafe\u0301",
    "sep\u2028arator",
    "x" * 1025,
]


@pytest.mark.parametrize("path", ESCAPES)
@pytest.mark.parametrize("external", [False, True])
def test_paths_that_no_version_can_have(liar, refuse, path, external):
    liar.tell({"good": b"1", path: b"2"})
    if external:
        liar.listed[1] = File(path=path, uri="s3://b/k")
    refuse(podium.HostileServer, "the path")


@pytest.mark.parametrize(
    "paths",
    [
        ["Model", "model"],
        ["a/B", "A/b"],
        ["a", "a/b"],
        ["A", "a/b"],
        ["a/b/c", "a-", "a"],
        ["straße", "STRASSE"],
        ["same", "same"],
    ],
)
def test_paths_that_no_folder_can_hold_together(liar, refuse, paths):
    liar.listed = [File(path=path, digest=digest_of(b"1"), size_bytes=1) for path in paths]
    refuse(podium.HostileServer, "no folder can hold both")


def test_paths_are_checked_wherever_files_are_listed(liar, registry, tmp_path):
    liar.tell({"../escape": b"1"})
    for look in (registry.manifest, lambda reference: registry.verify(reference, tmp_path)):
        with pytest.raises(podium.HostileServer):
            look("m:1")


# Listings.


@pytest.mark.parametrize("digest", ["", "sha256:", "sha256:" + "A" * 64, "sha256:../../../../escape", "md5:" + "0" * 64, "0" * 64])
def test_digests_that_are_none(liar, refuse, digest):
    liar.listed[0].digest = digest
    refuse(podium.HostileServer, "without a digest")


@pytest.mark.parametrize("digest", ["", "sha256:" + "0" * 64, "sha256:../../escape", "../../escape"])
def test_a_version_digest_that_its_files_do_not_have(liar, refuse, digest):
    liar.digest = digest or "sha256:"
    refuse(podium.HostileServer, "not those of")


def test_another_version_than_the_pinned_one(registry, liar):
    with pytest.raises(podium.HostileServer, match="resolves"):
        registry.pull("m@sha256:" + "0" * 64)


@pytest.mark.parametrize("size", [-1, -(1 << 62)])
def test_sizes_that_are_none(liar, refuse, size):
    liar.listed[0].size_bytes = size
    refuse(podium.HostileServer, "size")


def test_two_sizes_of_one_digest(liar, refuse):
    liar.tell({"a": b"same", "b": b"same"})
    liar.listed[1].size_bytes = 5
    refuse(podium.HostileServer, "a size that its digest cannot have")


def test_a_size_that_no_disk_has(liar, refuse, registry):
    liar.listed[0].size_bytes = 1 << 62
    refuse(podium.DiskFull, "are to be fetched")
    assert not registry.cache.entries()


def test_listings_without_an_end(liar, refuse, registry):
    tokens = count()
    liar.says["ListFiles"] = lambda _: ListFilesResponse(next_page_token=str(next(tokens)))
    refuse(podium.HostileServer, "without an end")
    page = [File(path=f"{n}", digest=digest_of(b"1"), size_bytes=1) for n in range(9_000)]
    liar.says["ListFiles"] = lambda _: ListFilesResponse(files=page, next_page_token=str(next(tokens)))
    refuse(podium.HostileServer, "more than 10000")
    liar.says["ListAliases"] = lambda _: ListAliasesResponse(next_page_token="again")
    with pytest.raises(podium.HostileServer, match="again and again"):
        list(registry.aliases("m"))


# Downloads.


def lies(liar, answer):
    """Downloads of the big file get these messages; the other file stays honest."""
    liar.says["DownloadArtifact"] = lambda request: answer(request) if request.path == "model.bin" else liar.download(request)


def chunks(*data):
    return [DownloadArtifactResponse(chunk=piece) for piece in data]


def test_wrong_bytes(liar, refuse, registry):
    lies(liar, lambda request: [liar.header(request), *chunks(*repeat(bytes(MIB), 3))])
    error = refuse(podium.DamagedFile, "model.bin of m:1 arrived as sha256:")
    assert liar.listed[0].digest in str(error)
    assert not [entry for entry in registry.cache.entries() if entry.kind == "partial"]


def test_one_wrong_bit(liar, refuse):
    data = bytearray(liar.files["model.bin"])
    data[2 * MIB] ^= 1
    lies(liar, lambda request: [liar.header(request), *chunks(bytes(data[:MIB]), bytes(data[MIB:]))])
    refuse(podium.DamagedFile)


def test_fewer_bytes_than_declared(liar, refuse):
    lies(liar, lambda request: [liar.header(request), *chunks(liar.files["model.bin"][:MIB])])
    refuse(podium.HostileServer, "ended after 1048576 of 3145728 bytes")


def test_no_bytes_at_all(liar, refuse):
    lies(liar, lambda _: [])
    refuse(podium.HostileServer, "does not begin with a header")


def test_more_bytes_than_declared(liar, refuse):
    lies(liar, lambda request: [*liar.download(request), *chunks(b"more")])
    refuse(podium.HostileServer, "has more bytes")


def test_a_stream_without_an_end(liar, refuse):
    sent = count()

    def endless(request):
        yield liar.header(request)
        while next(sent) < 10_000:
            yield from chunks(bytes(MIB))

    lies(liar, endless)
    refuse(podium.HostileServer, "has more bytes")
    assert next(sent) < 200


def test_a_stream_of_nothing_without_an_end(liar, refuse):
    lies(liar, lambda request: (liar.header(request) if not n else DownloadArtifactResponse(chunk=b"") for n in count()))
    refuse(podium.HostileServer, "a message without bytes")


@pytest.mark.parametrize("lie", [{"size_bytes": 4 * MIB}, {"size_bytes": 0}, {"digest": digest_of(b"other")}, {"digest": ""}])
def test_headers_of_another_file(liar, refuse, lie):
    lies(liar, lambda request: [liar.header(request, **lie), *chunks(liar.files["model.bin"])])
    refuse(podium.HostileServer, "the server's download of model.bin of m:1 is")


def test_messages_out_of_order(liar, refuse):
    lies(liar, lambda request: [*chunks(b"1"), liar.header(request)])
    refuse(podium.HostileServer, "does not begin with a header")
    lies(liar, lambda request: [liar.header(request), *chunks(b"1"), liar.header(request)])
    refuse(podium.HostileServer, "a message without bytes")


@pytest.mark.parametrize(
    "message", [b"\x12\x05abc", b"\x12", b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x0a\xff", b"\xff"]
)
def test_messages_that_are_none(liar, refuse, message):
    lies(liar, lambda request: [liar.header(request), message])
    refuse(podium.HostileServer, "malformed")


def test_a_start_of_lies_does_not_spoil_what_an_honest_server_sends_later(liar, registry):
    def stop(request):
        yield liar.header(request)
        yield from chunks(bytes(MIB))
        raise podium.PodiumError("the server dies")

    liar.tell({"model.bin": os.urandom(3 * MIB)})  # one file: of several, any may be under way when one fails
    lies(liar, stop)
    with pytest.raises(podium.InternalError):
        registry.pull("m:1")
    assert [entry.size_bytes for entry in registry.cache.entries() if entry.kind == "partial"] == [MIB]
    del liar.says["DownloadArtifact"]
    liar.says["DownloadArtifact"] = liar.download
    assert (registry.pull("m:1") / "model.bin").read_bytes() == liar.files["model.bin"]


@pytest.mark.parametrize(
    "message",
    [
        b"\x12\x03abc",
        b"\x12\x83\x00abc",  # a varint that is longer than it must be
        b"\x12\x01x\x12\x03abc",  # the last one counts
        b"\x12\x03abc\x78\x01",  # a field that only newer clients know
        b"\x0a\x02\x08\x01\x12\x03abc",  # a oneof: the last one counts
    ],
)
def test_every_legal_encoding_of_a_chunk_is_read(message):
    assert DownloadArtifactResponse.FromString(message).chunk == b"abc"
    assert bytes(read_download(message)) == b"abc"


# Everything else.


@pytest.mark.parametrize("method", ["ResolveVersion", "ListFiles"])
def test_replies_that_are_no_message(liar, refuse, method):
    liar.says[method] = lambda _: b"\xff\xff\xff"
    refuse(podium.InternalError)


def test_replies_that_are_empty(liar, refuse):
    liar.says["ResolveVersion"] = lambda _: b""
    refuse(podium.HostileServer)


def test_replies_that_are_too_large(liar, refuse):
    liar.says["ListFiles"] = lambda _: bytes(5 * MIB)
    refuse(podium.ResourceExhausted)


def fails(code, message, details=None):
    def say(_request, context):
        context.set_trailing_metadata([(DETAILS_KEY, details)] if details is not None else [])
        context.abort(code, message)

    return say


def detail(**info):
    status = Status()
    status.details.add().Pack(ErrorInfo(**info))
    return status.SerializeToString()


def spoiled_detail():
    status = Status()
    status.details.add(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff\xff")
    return status.SerializeToString()


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
@pytest.mark.parametrize(
    "details",
    [None, b"\xff\xff", b"", detail(reason="R", domain="elsewhere"), detail(reason="R", domain="podium"), spoiled_detail()],
)
def test_errors_of_every_kind_become_ours(liar, registry, code, details):
    liar.says["ResolveVersion"] = fails(code, "bad\r\nlines\n\ttold", details)
    with pytest.raises(podium.PodiumError) as caught:
        registry.resolve("m:1")
    assert caught.value.code is code
    assert caught.value.reason == ("R" if details and b"podium" in details else code.name)
    assert "\n" not in str(caught.value)
    assert "\r" not in str(caught.value)


@pytest.fixture
def source(tmp_path):
    (tmp_path / "source").write_bytes(os.urandom(2 * MIB))
    return tmp_path / "source"


def missing(**lies):
    def say(request):
        blobs = [{"digest": blob.digest, **lies} for blob in request.blobs]
        return FindMissingBlobsResponse(missing=[MissingBlob(**blob) for blob in blobs])

    return say


@pytest.mark.parametrize("committed", [-1, 3 * MIB, 1 << 62])
def test_uploads_that_would_start_outside_of_the_file(liar, registry, source, committed):
    liar.says["FindMissingBlobs"] = missing(committed_bytes=committed)
    with pytest.raises(podium.HostileServer, match="of the 2097152 bytes"):
        registry.push("m", source)


@pytest.mark.parametrize("expected", ["-1", "99999999999", "9" * 5000])
def test_offsets_that_never_fit(liar, registry, source, expected):
    liar.says["FindMissingBlobs"] = missing()
    info = detail(reason="OFFSET_MISMATCH", domain="podium", metadata={"expected_offset": expected})
    liar.says["UploadBlob"] = fails(grpc.StatusCode.OUT_OF_RANGE, "no", info)
    with pytest.raises((podium.OutOfRange, podium.HostileServer)):
        registry.push("m", source)


def test_an_upload_that_is_busy_for_ever_is_given_up(liar, registry, source):
    liar.says["FindMissingBlobs"] = missing()
    liar.says["UploadBlob"] = fails(grpc.StatusCode.ABORTED, "no", detail(reason="UPLOAD_BUSY", domain="podium"))
    with pytest.raises(podium.Conflict) as busy:
        registry.push("m", source)
    assert busy.value.reason == "UPLOAD_BUSY"


def test_an_upload_that_never_becomes_whole_is_given_up(liar, registry, source):
    liar.says["FindMissingBlobs"] = missing()
    liar.says["UploadBlob"] = lambda _: UploadBlobResponse()
    with pytest.raises(podium.PodiumError, match="ended early"):
        registry.push("m", source)


def test_blobs_that_nobody_asked_about(liar, registry, source):
    """A server cannot make a push read other files: only those of the push have a digest."""
    liar.says["FindMissingBlobs"] = lambda _: FindMissingBlobsResponse(missing=[MissingBlob(digest="sha256:" + "0" * 64)])
    liar.says["RegisterVersion"] = lambda _: RegisterVersionResponse()
    assert registry.push("m", source).uploaded_bytes == 0
