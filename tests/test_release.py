"""What scripts/release writes, and that a program which has nothing but the descriptor set can talk to a server."""

import hashlib
import re
import shutil
import subprocess
import tarfile
import tomllib
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message_factory import GetMessageClass

ROOT = Path(__file__).parents[1]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
DESCRIPTORS = "podium.binpb"
PROTOS = f"podium-protos-{VERSION}"
JAVA = {f"podium-client-{VERSION}{end}" for end in (".jar", "-sources.jar", "-javadoc.jar", ".pom")}


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    folder = tmp_path_factory.mktemp("release")
    run = subprocess.run([ROOT / "scripts/release", folder], text=True, capture_output=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    print(run.stdout + run.stderr)
    return folder


@pytest.fixture(scope="module")
def protos(release, tmp_path_factory):
    """What the archive of the protos unpacks to."""
    folder = tmp_path_factory.mktemp("protos")
    with tarfile.open(release / f"{PROTOS}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    (unpacked,) = folder.iterdir()
    assert unpacked.name == PROTOS
    return unpacked


def test_it_has_every_file_and_their_checksums(release):
    expected = {DESCRIPTORS, f"{PROTOS}.tar.gz", f"podium-{VERSION}.tar.gz", f"podium-{VERSION}-py3-none-any.whl"}
    expected |= JAVA if shutil.which("mvn") else set()
    assert {path.name for path in release.iterdir()} == expected | {"SHA256SUMS"}
    sums = "".join(f"{hashlib.sha256((release / name).read_bytes()).hexdigest()}  {name}\n" for name in sorted(expected))
    assert sorted((release / "SHA256SUMS").read_text().splitlines()) == sorted(sums.splitlines())


def test_the_archive_of_the_protos_tells_nothing_of_who_made_it_and_when(release):
    commit = int(subprocess.check_output(["git", "log", "-1", "--format=%ct"], cwd=ROOT))
    with tarfile.open(release / f"{PROTOS}.tar.gz") as archive:
        members = archive.getmembers()
    assert {(one.mtime, one.uid, one.gid, one.uname, one.gname) for one in members} == {(commit, 0, 0, "", "")}
    assert {one.mode for one in members} == {0o644, 0o755}
    assert [one.name for one in members] == sorted(one.name for one in members)
    assert (release / f"{PROTOS}.tar.gz").read_bytes()[3:8] == bytes(5)  # gzip's own name and time


def test_the_archive_has_the_protos_and_compiles_to_the_descriptor_set(release, protos, tmp_path):
    assert {path.name for path in protos.iterdir()} == {"LICENSE", "buf.yaml", "protos"}
    for path in (ROOT / "protos").rglob("*.proto"):
        assert (protos / path.relative_to(ROOT)).read_bytes() == path.read_bytes()
    subprocess.run(["buf", "build", "--as-file-descriptor-set", "-o", tmp_path / DESCRIPTORS], cwd=protos, check=True)
    assert (tmp_path / DESCRIPTORS).read_bytes() == (release / DESCRIPTORS).read_bytes()


def test_the_descriptor_set_has_the_comments(release):
    descriptors = FileDescriptorSet.FromString((release / DESCRIPTORS).read_bytes())
    (service,) = (file for file in descriptors.file if file.name == "podium/v1/registry_service.proto")
    comments = "".join(location.leading_comments for location in service.source_code_info.location)
    assert "RegistryService is the whole registry" in comments


class Dynamic:
    """A client of the descriptor set alone: `call("ResolveVersion", reference=…)` is the answer in JSON, or the answers."""

    def __init__(self, descriptors, channel):
        pool = DescriptorPool()
        for file in FileDescriptorSet.FromString(descriptors.read_bytes()).file:
            pool.Add(file)
        self._service = pool.FindServiceByName("podium.v1.RegistryService")
        self._channel = channel

    def __call__(self, name, /, **values):
        method = self._service.methods_by_name[name]
        request, answer = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        open_call = self._channel.unary_stream if method.server_streaming else self._channel.unary_unary
        call = open_call(f"/{self._service.full_name}/{name}", request.SerializeToString, answer.FromString)
        answers = call(ParseDict(values, request()), timeout=60)
        if method.server_streaming:
            return map(MessageToDict, answers)
        return MessageToDict(answers)


def until_position(messages):
    for message in messages:
        yield message
        if "position" in message:
            return


def test_the_descriptor_set_is_enough_to_call_a_server(release, server):
    call = Dynamic(release / DESCRIPTORS, server.channel)
    call("CreateModel", name="fraud", requestId="1")
    registered = call("RegisterVersion", model="fraud", aliases=["champion"], requestId="2")
    assert registered["version"]["version"] == "1.0.0"
    target = call("ResolveVersion", reference="fraud@champion")["target"]
    assert (target["number"], target["digest"]) == ("1", registered["version"]["digest"])
    messages = call("Watch", filters=[{"model": "fraud", "name": "champion"}])
    references = [one for message in until_position(messages) for one in message.get("references", ())]
    assert [(one["name"], one["target"]) for one in references] == [("champion", target)]
    with pytest.raises(grpc.RpcError) as refused:
        call("ResolveVersion", reference="fraud@nobody")
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


def test_every_language_has_the_version_and_the_plugins_that_it_says():
    pom = (ROOT / "clients/java/pom.xml").read_text()
    assert re.search(r"<artifactId>podium-client</artifactId>\s*<version>(.*)</version>", pom)[1] == VERSION
    template = (ROOT / "buf.gen.java.yaml").read_text()
    assert f":protoc:{re.search('<protobuf.version>(.*)<', pom)[1]}:" in template
    assert f":protoc-gen-grpc-java:{re.search('<grpc.version>(.*)<', pom)[1]}:" in template
    generate = (ROOT / "scripts/generate").read_text()
    assert all(plugin in generate for plugin in re.findall("go install (.*)", (ROOT / "buf.gen.yaml").read_text()))
    package = (ROOT / "clients/typescript/package.json").read_text()
    named = re.findall(r"([@\w/-]+)@([\d.]+\d)", (ROOT / "buf.gen.typescript.yaml").read_text())
    assert len(named) == 4
    assert [f'"{name}": "{version}"' in package for name, version in named] == [True] * 4


def test_a_release_is_a_folder_of_its_own(tmp_path):
    (tmp_path / "old").touch()
    run = subprocess.run([ROOT / "scripts/release", tmp_path], text=True, capture_output=True, check=False)
    assert (run.returncode, run.stderr) == (1, f"{tmp_path} is not empty.\n")
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
