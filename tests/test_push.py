"""Pushing: what is taken of a path, what goes over the wire, what is recorded, and what a cut or a change does to it."""

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import podium
import pytest
from podium import frames, paths
from podium.folder import Folder
from podium.frameworks import imported_libraries
from podium.provenance import git_source, provenance, without_credentials
from podium.record import build_record
from podium.sending import Sending
from podium.transport import Transport
from podium.v1.artifacts_pb2 import UploadBlobRequest
from podium.v1.records_pb2 import (
    ExternalFile,
    Input,
    InputKind,
    Library,
    Metric,
    Param,
    Parent,
    Run,
    Source,
    VersionRecord,
)
from relay import Relay
from streams import OpenUpload, chunks_of, committed, digest_of, header_of

MIB = 1 << 20


@pytest.fixture
def registry(server, tmp_path):
    with podium.connect(server.address, actor="tester@here", cache=tmp_path / "cache") as connected:
        yield connected


@pytest.fixture
def model(request):
    """A name of this test's own."""
    return "push/" + request.node.name.translate(str.maketrans("[]/ ", "...."))[:100].rstrip(".")


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "pushed"
    made.mkdir()
    return made


def write(folder, files):
    """Writes texts or bytes under their paths."""
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.encode())


def paths_of(registry, pushed):
    return [file.path for file in registry.files(f"{pushed.version.model}:{pushed.version.number}")]


def wait_until_busy(stub, model, content):
    """Returns once somebody else holds the upload."""
    while True:
        try:
            stub.UploadBlob(iter([header_of(model, content)]), timeout=60)
        except grpc.RpcError as error:
            assert error.code() is grpc.StatusCode.ABORTED
            return


def refusal(path):
    """What a push of the path says, before any server is asked."""
    with pytest.raises(podium.PushRefused) as caught:
        Folder(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# What is taken.


def test_a_folder_becomes_a_version_whose_manifest_sha256sum_agrees_with(registry, model, folder, tmp_path):
    write(folder, {"model.bin": os.urandom(3 * MIB + 17), "conf/a.json": "{}", "conf/deep/b": "b", "empty.txt": "", "ü/ñ x": "1"})
    pushed = registry.push(model, folder)
    assert pushed.created
    assert (pushed.files, pushed.size_bytes) == (5, 3 * MIB + 17 + 2 + 1 + 1)
    assert pushed.uploaded_bytes == pushed.size_bytes
    assert pushed.position
    assert (pushed.version.model, pushed.version.number, pushed.version.version) == (model, 1, "1.0.0")
    manifest = registry.manifest(f"{model}:1")
    assert pushed.version.digest == digest_of(manifest.encode())
    (tmp_path / "sums").write_text(manifest)
    checked = subprocess.run(["sha256sum", "-c", "--strict", tmp_path / "sums"], cwd=folder, check=False, capture_output=True)
    assert checked.returncode == 0, checked


def test_a_file_becomes_a_version_of_one_file(registry, model, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"abc")
    pushed = registry.push(model, tmp_path / "model.onnx")
    assert paths_of(registry, pushed) == ["model.onnx"]


def test_a_relative_path_is_named_as_it_is_called(registry, model, tmp_path, monkeypatch):
    write(tmp_path, {"here/a": "1"})
    monkeypatch.chdir(tmp_path / "here")
    assert paths_of(registry, registry.push(model, ".")) == ["a"]
    assert paths_of(registry, registry.push(model, "a")) == ["a"]


def test_links_are_followed_as_in_a_hugging_face_snapshot(registry, model, tmp_path):
    write(tmp_path, {"blobs/1f3a": "weights", "blobs/2e2e": "{}", "elsewhere/tok/vocab.txt": "v"})
    snapshot = tmp_path / "snapshots/main"
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").symlink_to("../../blobs/1f3a")
    (snapshot / "config.json").symlink_to("../../blobs/2e2e")
    (snapshot / "tokenizer").symlink_to(tmp_path / "elsewhere/tok")
    (tmp_path / "latest").symlink_to(snapshot)
    pushed = registry.push(model, tmp_path / "latest")
    assert paths_of(registry, pushed) == ["config.json", "model.safetensors", "tokenizer/vocab.txt"]
    assert pushed.size_bytes == len("weights{}v")
    one = registry.push(model, snapshot / "model.safetensors")
    assert paths_of(registry, one) == ["model.safetensors"]


def test_the_same_folder_twice_through_links_is_no_loop(folder):
    write(folder, {"real/a": "1"})
    (folder / "again").symlink_to("real")
    assert [file.path for file in Folder(folder).files] == ["again/a", "real/a"]


def test_podiumignore_is_gitignore_syntax(folder):
    write(
        folder,
        {
            ".podiumignore": "# checkpoints\n*.ckpt\n!best.ckpt\n/top.txt\ncache/\ndocs/**/*.md\n",
            **dict.fromkeys(["a.ckpt", "best.ckpt", "sub/b.ckpt", "top.txt", "sub/top.txt", "cache/x", "sub/cache/y"], "1"),
            **dict.fromkeys(["docs/a/b.md", "docs/a/b.txt", "sub/cached", "notcache"], "1"),
        },
    )
    os.mkfifo(folder / "cache/pipe")
    found = Folder(folder)
    assert [file.path for file in found.files] == ["best.ckpt", "docs/a/b.txt", "notcache", "sub/cached", "sub/top.txt"]
    assert found.left_out == []


def test_empty_folders_are_left_out_and_told(registry, model, folder):
    write(folder, {"a": "1"})
    (folder / "empty").mkdir()
    (folder / "sub/hollow").mkdir(parents=True)
    assert registry.push(model, folder).left_out == ("empty/", "sub/hollow/")


@pytest.mark.parametrize("inside", [(), ("only/folders",), (".podiumignore",)])
def test_a_folder_without_files_is_refused(folder, inside):
    for name in inside:
        if name == ".podiumignore":
            write(folder, {name: "*"})
        else:
            (folder / name).mkdir(parents=True)
    assert "has no files to push" in refusal(folder)


def test_what_is_no_file_is_refused_by_name(folder):
    write(folder, {"a": "1"})
    os.mkfifo(folder / "pipe")
    assert "'pipe' is a pipe" in refusal(folder)
    assert "is a pipe" in refusal(folder / "pipe")
    (folder / "pipe").unlink()
    (folder / "tty").symlink_to("/dev/null")
    assert "'tty' is a device" in refusal(folder)
    (folder / "tty").unlink()
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(folder / "s"))
        assert "'s' is a socket" in refusal(folder)


def test_links_that_lead_nowhere_or_round_are_refused_by_name(folder):
    write(folder, {"sub/a": "1"})
    (folder / "sub/gone").symlink_to("nothing")
    assert "'sub/gone' is a link to nothing" in refusal(folder)
    (folder / "sub/gone").unlink()
    (folder / "sub/self").symlink_to("self")
    assert "'sub/self' is a link that leads back to itself" in refusal(folder)
    (folder / "sub/self").unlink()
    (folder / "sub/up").symlink_to("..")
    assert "'sub/up' is a link to a folder that it is in" in refusal(folder)
    (folder / ".podiumignore").write_text("up\n")
    assert [file.path for file in Folder(folder).files] == ["sub/a"]
    assert "No such file" in refusal(folder / "absent")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        (b"caf\xe9", "is not valid UTF-8"),
        ("cafe\u0301".encode(), "is not in Unicode NFC"),
        (b"two\nlines", "has a control character"),
        (b"back\\slash", "has a backslash"),
        (b"esc\x1b[31m", "has a control character"),
    ],
)
def test_names_that_no_version_can_have_are_refused_with_what_to_do(folder, name, what):
    write(folder, {"sub/a": "1"})
    Path(os.fsdecode(os.fsencode(folder / "sub") + b"/" + name)).write_bytes(b"x")
    message = refusal(folder)
    assert what in message
    assert "'sub/" in message
    assert "rename it" in message
    message.encode()  # whatever the name, the message can be printed


def test_names_that_are_the_same_when_case_is_ignored_are_refused(folder):
    write(folder, {"sub/Model.bin": "1", "sub/model.BIN": "2"})
    assert "'sub/Model.bin' and 'sub/model.BIN'" in refusal(folder)


def test_a_tree_deeper_than_a_path_can_be_is_refused(folder):
    deep = folder
    for _ in range(30):
        deep = deep / ("d" * 40)
        deep.mkdir()
    (deep / "a").write_text("1")
    assert "more than 1024" in refusal(folder)


def test_more_files_than_a_version_can_have_are_refused(folder, monkeypatch):
    assert paths.MAX_FILES == 10_000
    monkeypatch.setattr("podium.folder.MAX_FILES", 10)
    write(folder, {str(number): "" for number in range(10)})
    assert len(Folder(folder).files) == 10
    write(folder, {"one more": ""})
    assert "more than 10 files" in refusal(folder)


def test_longer_paths_together_than_a_version_can_have_are_refused(folder, monkeypatch):
    assert paths.MAX_PATHS_BYTES == 2 << 20
    monkeypatch.setattr("podium.folder.MAX_PATHS_BYTES", 10)
    write(folder, {"12345": "", "é6789"[:4]: ""})
    assert len(Folder(folder).files) == 2
    write(folder, {"1": ""})
    assert "more than 10 bytes" in refusal(folder)


@pytest.mark.parametrize(
    ("path", "good"),
    [
        ("a", True),
        ("a/b.c", True),
        ("ü/ñ", True),
        (" a /.b", True),
        ("..a/b..", True),
        ("a" * 1024, True),
        ("a" * 1025, False),
        ("ü" * 513, False),
        ("", False),
        ("/a", False),
        ("a/", False),
        ("a//b", False),
        (".", False),
        ("a/../b", False),
        ("./a", False),
        ("a\\b", False),
        ("a\0", False),
        ("a\x7f", False),
        ("a\u2028", False),
        ("cafe\u0301", False),
        ("\udcff", False),
    ],
)
def test_which_paths_are_good(path, good):
    assert (paths.fault(path) == "") is good


@pytest.mark.parametrize(
    ("names", "together"),
    [
        (["a", "b"], True),
        (["a/b", "a/c"], True),
        (["a", "a.b", "ab"], True),
        (["a", "a-b/c", "a0"], True),
        (["a", "a"], False),
        (["a", "A"], False),
        (["a", "a/b"], False),
        (["A", "a-", "a/b"], False),
        (["straße", "STRASSE"], False),
        (["É", "é"], False),
    ],
)
def test_which_paths_can_stand_together(names, together):
    assert (paths.clash(names) is None) is together


# What goes over the wire.


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, MIB - 1, MIB])
def test_a_chunk_frame_is_the_message(size):
    data = bytes(size)
    frame = frames.chunk_frame(memoryview(data))
    if size:
        assert frame == UploadBlobRequest(chunk=data).SerializeToString()
    assert UploadBlobRequest.FromString(frame).chunk == data


def test_the_same_push_again_sends_nothing_and_is_the_same_version(registry, model, folder):
    write(folder, {"a": os.urandom(MIB), "b": "b"})
    first = registry.push(model, folder, params={"depth": 3}, metrics={"auc": 0.9}, labels={"team": "risk"})
    again = registry.push(model, folder, params={"depth": 3}, metrics={"auc": 0.9})
    assert not again.created
    assert again.uploaded_bytes == 0
    assert (again.version.number, again.version.record_digest) == (1, first.version.record_digest)


def test_only_new_bytes_are_sent(server, relay, model, folder):
    write(folder, {"big": os.urandom(4 * MIB), "small": os.urandom(9)})
    with podium.connect(relay.address) as registry:
        assert registry.push(model, folder).uploaded_bytes == 4 * MIB + 9
        assert 4 * MIB < relay.up < 4 * MIB + 100_000
        before = relay.up
        write(folder, {"small": os.urandom(9), "copy": (folder / "big").read_bytes()})
        second = registry.push(model, folder)
    assert second.uploaded_bytes == 9
    assert relay.up - before < 100_000
    assert (second.version.number, second.version.version, second.files) == (2, "1.0.1", 3)


def test_files_of_the_same_content_are_sent_once(relay, model, folder):
    content = os.urandom(2 * MIB)
    write(folder, {f"copy{number}": content for number in range(100)})
    with podium.connect(relay.address) as registry:
        pushed = registry.push(model, folder)
    assert pushed.uploaded_bytes == 2 * MIB
    assert (pushed.files, pushed.size_bytes) == (100, 200 * MIB)
    assert relay.up < 2 * MIB + 200_000


def test_a_cut_upload_goes_on_where_it_stopped(relay, model, folder):
    write(folder, {"big": os.urandom(64 * MIB), "other": os.urandom(8 * MIB)})
    relay.cut_after(up=48 * MIB)
    with podium.connect(relay.address) as registry:
        pushed = registry.push(model, folder)
        assert registry.verify(f"{model}:1", folder) == []
    assert relay.cuts == 1
    assert relay.up < (72 + 40) * MIB  # what was on its way is sent again, which may be much where buffers are large
    assert pushed.uploaded_bytes >= 72 * MIB


def test_a_push_survives_a_server_that_is_killed_and_started_again(start_server, model, folder):
    server = start_server()
    relay = Relay(server.address)
    write(folder, {"big": os.urandom(64 * MIB)})
    relay.cut_after(up=48 * MIB)

    def restart():
        server.kill()
        server.start()
        relay.server = ("127.0.0.1", int(server.address.rpartition(":")[2]))

    relay.when_cut = restart
    with podium.connect(relay.address) as registry:
        assert registry.push(model, folder).created
        assert registry.verify(f"{model}:1", folder) == []
    assert relay.up < (64 + 40) * MIB
    relay.close()


@pytest.mark.parametrize("method", ["FindMissingBlobs", "RegisterVersion"])
def test_a_push_survives_a_server_that_is_away_between_its_streams(start_server, model, folder, monkeypatch, method):
    """For longer than gRPC itself repeats a call."""
    server, call, back = start_server(), Transport.call, []
    write(folder, {"a": "1"})

    def away(transport, which, request):
        if type(request).__name__ == f"{method}Request" and not back:
            back.append(time.monotonic() + 3)
        if back and time.monotonic() < back[0]:
            raise podium.Unavailable("away", code=grpc.StatusCode.UNAVAILABLE)
        return call(transport, which, request)

    monkeypatch.setattr(Transport, "call", away)
    with podium.connect(server.address) as registry:
        assert registry.push(model, folder).created
    assert back


def test_a_server_that_stays_away_ends_the_push_with_unavailable(start_server, model, folder):
    server = start_server()
    relay = Relay(server.address)
    write(folder, {"big": os.urandom(40 * MIB)})
    relay.when_cut = server.kill
    relay.cut_after(up=20 * MIB)
    with podium.connect(relay.address, timeout=1) as registry, pytest.raises(podium.Unavailable, match="podium serve"):
        registry.push(model, folder)
    relay.close()


def test_an_interrupted_push_is_resumed_by_the_next_one(server, relay, model, folder):
    write(folder, {"big": os.urandom(40 * MIB)})
    seen = []

    def stop(stage, done, _total):
        seen.append(stage)
        if stage == "uploading" and done > 20 * MIB:
            raise KeyboardInterrupt

    with podium.connect(relay.address) as registry:
        with pytest.raises(KeyboardInterrupt):
            registry.push(model, folder, progress=stop)
        assert not list(registry.versions(model))
        pushed = registry.push(model, folder)
    assert 0 < pushed.uploaded_bytes < 40 * MIB


def test_a_wrong_start_that_somebody_left_is_replaced(registry, stub, model, folder):
    """Another upload declared this digest and sent other bytes: they are found out at the end, and sent anew."""
    content = os.urandom(3 * MIB)
    write(folder, {"big": content})
    registry.create_model(model)
    wrong = OpenUpload(stub, [header_of(model, content), *chunks_of(bytes(2 * MIB))])
    wrong.close()
    wrong.result()
    assert committed(stub, model, content) == 2 * MIB
    assert registry.push(model, folder).uploaded_bytes == (1 + 3) * MIB
    assert registry.verify(f"{model}:1", folder) == []


def test_an_upload_that_somebody_else_runs_is_waited_for(registry, stub, model, folder, monkeypatch):
    content = os.urandom(3 * MIB)
    write(folder, {"big": content})
    registry.create_model(model)
    other = OpenUpload(stub, [header_of(model, content), *chunks_of(content)[:1]])
    ask = Sending._ask

    def finish(sending):
        """Asked for after a refusal: only now does the other one go on."""
        other.send(*chunks_of(content)[1:])
        other.close()
        assert other.result().complete
        return ask(sending)

    monkeypatch.setattr(Sending, "_ask", finish)
    wait_until_busy(stub, model, content)
    pushed = registry.push(model, folder)
    assert pushed.created
    assert pushed.uploaded_bytes <= 3 * MIB


def test_many_pushes_of_the_same_bytes_at_once(server, model, folder):
    write(folder, {"big": os.urandom(8 * MIB), **{f"small{number}": str(number) for number in range(20)}})
    results, failures = [], []

    def push():
        try:
            with podium.connect(server.address) as registry:
                results.append(registry.push(model, folder))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=push) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert {pushed.version.number for pushed in results} == {1}
    assert sum(pushed.created for pushed in results) == 1


# What changes meanwhile.


def test_a_file_that_changes_while_it_is_hashed_is_refused(registry, model, folder):
    write(folder, {"log": "x" * (3 * MIB)})

    def append(stage, _done, _total):
        with (folder / "log").open("a") as log:
            log.write("more")

    with pytest.raises(podium.PushRefused, match="log changed while it was being pushed"):
        registry.push(model, folder, progress=append)
    assert not list(registry.versions(model))


@pytest.mark.parametrize("change", ["rewrite", "truncate", "delete", "replace"])
def test_a_file_that_changes_while_it_is_sent_is_refused(registry, model, folder, change):
    write(folder, {"big": os.urandom(20 * MIB)})
    done = []

    def spoil(stage, sent, _total):
        if stage != "uploading" or done or sent < 2 * MIB:
            return
        done.append(sent)
        if change == "rewrite":
            with (folder / "big").open("r+b") as file:
                file.seek(18 * MIB)
                file.write(b"other")
        elif change == "truncate":
            os.truncate(folder / "big", 3 * MIB)
        elif change == "delete":
            (folder / "big").unlink()
        else:
            write(folder, {"new": os.urandom(20 * MIB)})
            (folder / "new").rename(folder / "big")

    with pytest.raises(podium.PushRefused, match="big"):
        registry.push(model, folder, progress=spoil)
    assert not list(registry.versions(model))


def test_a_file_that_changes_although_its_bytes_are_there_is_refused(registry, model, folder):
    write(folder, {"a": "1", "b": os.urandom(8 * MIB)})
    registry.push(model, folder)

    def touch(stage, done, total):
        if done == total:
            (folder / "a").write_text("2")

    with pytest.raises(podium.PushRefused, match="a changed"):
        registry.push(model, folder, progress=touch)


def test_other_bytes_under_the_same_size_and_time_are_found_by_the_digest(registry, model, folder):
    write(folder, {"big": os.urandom(8 * MIB)})
    status = (folder / "big").stat()

    def swap(stage, done, _total):
        if stage == "uploading" and done == MIB:
            with (folder / "big").open("r+b") as file:
                file.seek(7 * MIB)
                file.write(bytes(MIB))
            os.utime(folder / "big", ns=(status.st_atime_ns, status.st_mtime_ns))

    with pytest.raises(podium.PushRefused, match="has other bytes than when it was hashed"):
        registry.push(model, folder, progress=swap)


def test_a_file_that_cannot_be_read_is_refused_by_name(registry, model, folder, monkeypatch):
    write(folder, {"secret": "1"})
    opened = Path.open

    def forbid(path, *arguments, **options):
        if path.name == "secret":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", forbid)  # the tests may run as root, who may read everything
    with pytest.raises(podium.PushRefused, match="secret cannot be read: Permission denied"):
        registry.push(model, folder)


# What is said.


def test_everything_that_can_be_said_at_a_push_is_registered(registry, model, folder):
    write(folder, {"a": "1"})
    base = registry.push(model + ".base", folder).version
    pushed = registry.push(
        model,
        folder,
        version="2.0.0-rc.1",
        stage="staging",
        aliases=["champion", "blue"],
        metrics={"auc": 0.9, "loss": float("inf")},
        params={"trees": 100, "rate": 0.5, "early": True, "loss": "log"},
        labels={"team": "risk"},
        description="the first",
        inputs=[Input(kind=InputKind.INPUT_KIND_DATASET, name="tx", version="3", digest="sha256:ab")],
        parents=[f"{base.model}:1", "https://huggingface.co/x/y", Parent(reference=f"{base.model}:1.0.0", relation="tuned")],
        run="mlflow:8f2c",
        reason="because",
    )
    version = registry.get(f"{model}:1")
    assert pushed.version.version == "2.0.0-rc.1"
    assert (version.stage, list(version.aliases)) == ("staging", ["blue", "champion"])
    assert (version.description, dict(version.labels)) == ("the first", {"team": "risk"})
    assert [(metric.name, metric.value) for metric in version.record.metrics] == [("auc", 0.9), ("loss", float("inf"))]
    assert list(version.record.params) == [
        Param(name="early", bool_value=True),
        Param(name="loss", string_value="log"),
        Param(name="rate", double_value=0.5),
        Param(name="trees", int_value=100),
    ]
    assert [parent.WhichOneof("parent") for parent in version.record.parents] == ["reference", "uri", "reference"]
    assert version.record.run == Run(system="mlflow", id="8f2c")
    assert version.record.inputs[0].name == "tx"
    assert version.record.author == "tester@here"
    assert version.actor == "tester@here"
    assert {event.reason for event in registry.events(model) if event.kind == podium.EventKind.EVENT_KIND_VERSION_REGISTERED} == {
        "because"
    }


@pytest.mark.parametrize(("stage", "entered"), [(None, "development"), ("", ""), ("staging", "staging")])
def test_the_first_stage(registry, model, folder, stage, entered):
    write(folder, {"a": "1"})
    assert registry.push(model, folder, stage=stage).version.stage == entered


@pytest.mark.parametrize(("bump", "version"), [("major", "2.0.0"), ("minor", "1.1.0"), ("patch", "1.0.1"), (None, "1.0.1")])
def test_which_part_of_the_version_is_raised(registry, model, folder, bump, version):
    write(folder, {"a": "1"})
    registry.push(model, folder)
    write(folder, {"a": "2"})
    assert registry.push(model, folder, bump=bump).version.version == version


def test_a_model_is_created_as_asked_or_not_at_all(registry, model, folder):
    write(folder, {"a": "1"})
    with pytest.raises(podium.NotFound) as missing:
        registry.push(model, folder, create=False)
    assert missing.value.reason == "MODEL_NOT_FOUND"
    pushed = registry.push(model, folder, strategy="integer", lifecycle="permissive")
    assert pushed.version.version == "1"
    assert registry.model(model).lifecycle == "permissive"
    assert registry.push(model, folder, strategy="integer", lifecycle="permissive").version.version == "1"  # there already
    with pytest.raises(podium.InvalidArgument, match="has the strategy 'integer'") as other:
        registry.push(model, folder, strategy="semantic")
    assert "strategy" in other.value.fields
    with pytest.raises(podium.InvalidArgument, match="has the lifecycle 'permissive'"):
        registry.push(model, folder, lifecycle="default")


@pytest.mark.parametrize("name", ["aliases", "parents", "inputs"])
def test_a_text_where_a_list_is_meant(registry, model, folder, name):
    write(folder, {"a": "1"})
    with pytest.raises(podium.InvalidArgument, match=f"{name} is a list: \\['champion'\\]"):
        registry.push(model, folder, **{name: "champion"})
    with pytest.raises(podium.NotFound):
        registry.model(model)


def test_words_that_are_none_of_the_words(registry, model, folder):
    write(folder, {"a": "1"})
    with pytest.raises(podium.InvalidArgument, match="'huge' is none of major, minor, patch"):
        registry.push(model, folder, bump="huge")
    with pytest.raises(podium.InvalidArgument, match="'random' is none of semantic, git, timestamp, integer"):
        registry.push(model, folder, strategy="random")
    with pytest.raises(podium.InvalidArgument, match="SYSTEM:ID"):
        registry.push(model, folder, run="8f2c")
    with pytest.raises(podium.NotFound):
        registry.model(model)


def test_a_request_id_makes_a_push_safe_to_repeat(registry, model, folder):
    write(folder, {"a": "1"})
    first = registry.push(model, folder, request_id="ci-17")
    again = registry.push(model, folder, request_id="ci-17")
    assert (again.created, again.position) == (True, first.position)
    with pytest.raises(podium.InvalidArgument) as reused:
        registry.push(model, folder, request_id="ci-17", description="another")
    assert reused.value.reason == "REQUEST_ID_REUSED"


def built(record=None, known=None, **said):
    nothing = {"metrics": None, "params": None, "inputs": (), "parents": (), "run": None}
    return build_record(known or VersionRecord(), record, **{**nothing, **said})


def test_arguments_win_over_the_record_and_that_over_what_is_known():
    record = VersionRecord(
        team="risk",
        author="ann",
        framework=Library(name="xgboost", version="3"),
        metrics=[Metric(name="b", value=1), Metric(name="b", value=2, dataset="test"), Metric(name="a", value=3, step=2)],
        params=[Param(name="p", int_value=1), Param(name="q", int_value=2)],
        inputs=[Input(kind=1, name="tx")],
        run=Run(system="a", id="1"),
        source=Source(commit="1234567"),
    )
    known = VersionRecord(
        author="root",
        framework=Library(name="scikit-learn", version="1.7"),
        dependencies=[Library(name="numpy", version="2")],
        runtime=Library(name="python", version="3.11"),
        source=Source(repository="r", commit="abcdef0"),
    )
    made = built(record, known, metrics={"b": 9.0}, params={"q": 3.5}, inputs=[Input(kind=1, name="tx")], run="b:2")
    assert (made.team, made.author, made.run) == ("risk", "ann", Run(system="b", id="2"))
    assert made.source == Source(commit="1234567")
    assert made.framework.name == "xgboost"
    assert [library.name for library in made.dependencies] == ["numpy", "scikit-learn"]
    assert made.runtime.name == "python"
    assert [(metric.name, metric.dataset, metric.step, metric.value) for metric in made.metrics] == [
        ("a", "", 2, 3),
        ("b", "", 0, 9),
        ("b", "test", 0, 2),
    ]
    assert list(made.params) == [Param(name="p", int_value=1), Param(name="q", double_value=3.5)]
    assert len(made.inputs) == 1
    assert record.author == "ann"
    assert len(record.metrics) == 3  # the caller's own is left alone


def test_the_order_of_what_is_said_says_nothing():
    one = built(metrics={"a": 1, "b": 2}, params={"x": 1, "y": "2"})
    other = built(metrics={"b": 2, "a": 1}, params={"y": "2", "x": 1})
    assert one.SerializeToString(deterministic=True) == other.SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    "said", [{"params": {"p": [1]}}, {"params": {"p": 2**63}}, {"params": {"p": object()}}, {"metrics": {"m": "x"}}]
)
def test_values_of_no_known_type_are_refused_by_name(said):
    with pytest.raises(podium.InvalidArgument, match=r"'[pm]'") as caught:
        built(**said)
    assert caught.value.fields


class Scalar:
    """As numpy's are."""

    shape = ()

    def __init__(self, value):
        self.value = value

    def item(self):
        return self.value


def test_params_that_are_none_or_numpys():
    made = built(params={"a": None, "b": Scalar(True), "c": Scalar(3), "d": Scalar(0.5), "e": Scalar("x")})
    assert list(made.params) == [
        Param(name="b", bool_value=True),
        Param(name="c", int_value=3),
        Param(name="d", double_value=0.5),
        Param(name="e", string_value="x"),
    ]
    with pytest.raises(podium.InvalidArgument, match=r"the param 'p': a Scalar .* use str\(\)"):
        built(params={"p": Scalar(1j)})


def test_external_files_come_in_the_record(registry, model, folder):
    write(folder, {"a": "1"})
    link = ExternalFile(path="weights.bin", uri="s3://bucket/weights.bin", size_bytes=5)
    pushed = registry.push(model, folder, record=VersionRecord(external_files=[link]))
    assert pushed.version.external_file_count == 1
    assert [(file.path, file.uri) for file in registry.files(f"{model}:1")] == [("a", ""), ("weights.bin", link.uri)]


# What is known without being told.


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", folder, *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path):
    made = tmp_path / "repository"
    made.mkdir()
    git(made, "init", "--initial-branch=trunk")
    write(made, {"train.py": "print()", "sub/data": "1"})
    git(made, "add", ".")
    git(made, "commit", "-m", "first")
    return made


def commit_of(repository):
    told = subprocess.run(["git", "-C", repository, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    return told.stdout.strip()


def test_the_state_of_the_code_where_the_path_lies(repository):
    git(repository, "remote", "add", "backup", "file:///backup")
    git(repository, "remote", "add", "origin", "https://ann:secret@git.example.org/risk.git?token=x")
    write(repository, {"out/model.bin": "1"})
    source = git_source(repository / "out")
    assert source == Source(
        repository="https://git.example.org/risk.git", commit=commit_of(repository), branch="trunk", dirty=False
    )
    write(repository, {"train.py": "changed"})
    assert git_source(repository / "train.py").dirty
    git(repository, "checkout", "--detach")
    assert git_source(repository).branch == ""


def test_the_remote_that_the_branch_follows(repository, tmp_path):
    git(tmp_path, "clone", "--origin", "up/stream", str(repository), "clone")
    git(tmp_path / "clone", "remote", "add", "origin", "https://elsewhere.example.org/x")
    assert git_source(tmp_path / "clone").repository == str(repository)


def test_no_repository_and_no_commit(tmp_path, repository):
    assert git_source(tmp_path) is None
    assert git_source(tmp_path / "absent" / "path") is None
    git(tmp_path, "init", "new", "--initial-branch=main")
    assert git_source(tmp_path / "new") == Source(branch="main", dirty=False)


def test_a_repository_in_a_hook_is_not_ours(repository, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(repository / ".git"))
    assert git_source(tmp_path) is None


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://host/a/b.git", "https://host/a/b.git"),
        ("https://user@host/a", "https://host/a"),
        ("https://user:pass@host:8443/a?token=1#x", "https://host:8443/a"),
        ("https://user:p@ss@host/a", "https://host/a"),
        ("ssh://git@host:22/a", "ssh://git@host:22/a"),
        ("ssh://git:pass@host/a", "ssh://git@host/a"),
        ("git@host:a/b", "git@host:a/b"),
        ("user:pass@host:a/b", "host:a/b"),
        ("/srv/git/a", "/srv/git/a"),
        ("../a@b:c", "../a@b:c"),
        ("https://[broken/a", ""),
    ],
)
def test_no_credentials_are_kept(url, kept):
    assert without_credentials(url) == kept


def test_the_program_tells_where_the_path_does_not(repository, tmp_path, server, model):
    """A script in a repository pushes a folder that is in none, twice: the record is the same."""
    write(tmp_path / "out", {"model": "1"})
    script = repository / "train.py"
    script.write_text(
        "import sys, podium\n"
        "for _ in range(2):\n"
        "    print(podium.push(*sys.argv[1:]).version.record_digest)\n"
        "print(podium.get(sys.argv[1] + ':1').record.source.commit)\n"
    )
    ran = subprocess.run(
        [sys.executable, script, model, tmp_path / "out"],
        env={**os.environ, "PODIUM_URL": server.address},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    first, second, commit = ran.stdout.split()
    assert first == second
    assert commit == commit_of(repository)


def test_python_the_user_and_nothing_else_is_known_here(tmp_path):
    known = provenance(tmp_path, "ann")
    assert (known.author, known.runtime.name) == ("ann", "python")
    assert known.runtime.version == ".".join(map(str, sys.version_info[:3]))


def test_the_framework_is_the_most_specific_one_that_is_imported(monkeypatch, tmp_path):
    """Modules that only pretend: which are really installed differs."""
    for module in ("sklearn", "torch", "transformers", "numpy"):
        fake = type(sys)(module)
        fake.__version__ = "9.8"
        monkeypatch.setitem(sys.modules, module, fake)
    monkeypatch.setattr("importlib.metadata.version", lambda name: {"torch": "2.1"}[name] if name == "torch" else no(name))
    framework, others = imported_libraries()
    assert framework == Library(name="transformers", version="9.8")
    assert [(library.name, library.version) for library in others] == [
        ("numpy", "9.8"),
        ("scikit-learn", "9.8"),
        ("torch", "2.1"),
    ]


def test_where_no_framework_is_imported_those_that_are_installed_are_told(monkeypatch, tmp_path):
    installed = {"torch": "2.1", "scikit-learn": "1.7", "pytest": "9"}
    monkeypatch.setattr("importlib.metadata.version", lambda name: installed[name] if name in installed else no(name))
    known = provenance(tmp_path, "ann")
    assert not known.HasField("framework")
    assert [(library.name, library.version) for library in known.dependencies] == [("scikit-learn", "1.7"), ("torch", "2.1")]


def no(name):
    raise __import__("importlib.metadata").metadata.PackageNotFoundError(name)
