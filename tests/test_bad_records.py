"""What a version may be made of, through the wire and from both sides: paths, files and the record."""

import unicodedata
from collections.abc import Iterator

import pytest
from conftest import RunningServer
from wire import Wire, put, request_of

DIGEST = "sha256:" + "0123456789abcdef" * 4
EMPTY_MANIFEST = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.fixture(scope="module")
def wire(server: RunningServer) -> Iterator[Wire]:
    """The file's server, with a model `base` of one version."""
    wire = Wire(server)
    wire.call("CreateModel", name="base")
    wire.call("RegisterVersion", model="base")
    yield wire
    wire.close()


def register(wire: Wire, **record: object) -> int:
    """Registers a record that must be taken; the number of the version."""
    return wire.call("RegisterVersion", model="base", record=record).version.number


def refuse(wire: Wire, field: str, **record: object) -> None:
    """The record is refused for that field of it."""
    wire.refuse_field(f"record.{field}", "RegisterVersion", model="base", record=record)


def stored(*paths: str) -> list[dict]:
    return [{"path": path, "digest": DIGEST, "size_bytes": 1} for path in paths]


def external(*paths: str) -> list[dict]:
    return [{"path": path, "uri": "s3://bucket/key"} for path in paths]


# Paths and files.

NOT_PATHS = [
    "", "/", "/etc/passwd", "//host/share", "..", "../x", "a/../b", "a/..", ".", "./a", "a/.", "a//b", "a/", "a\\b", "..\\x",
    "C:\\x", "a\0", "a\0.txt", "a\nb", "a\rb", "a\tb", "\x1b[31m", "a\x7f", "a\x85b", "a\u2028b", "e\u0301",
    unicodedata.normalize("NFD", "modèle.bin"), "x" * 1_025, "é" * 512 + "x",
]  # fmt: skip
PATHS = [
    "a", "a/b", "...", "..a", ".hidden", "a b", "C:x", "模型/权重.bin", "👩‍🚀", "x" * 1_024, "é" * 512, "a/" * 511 + "aa",
]  # fmt: skip
CLASHING_PATHS = [
    ("model.bin", "model.bin"), ("model.bin", "Model.BIN"), ("straße", "STRASSE"), ("Σας", "σασ"), ("é", "É"), ("a/B/c", "a/b/C"),
    ("model", "model/weights"), ("Model", "model/weights"), ("a/b", "A/B/c/d"),
]  # fmt: skip
PATHS_APART = [
    ("model", "model.bin"), ("model", "model-2/a"), ("a/b", "a/c"), ("a b", "a\u00a0b"), ("é", "e"), ("a", "а"),
]  # fmt: skip


@pytest.mark.parametrize("path", NOT_PATHS, ids=ascii)
def test_what_is_no_path(wire, path):
    wire.refuse_field("files[1].path", "RegisterVersion", model="base", files=stored("fine", path))
    record = {"external_files": external("also fine", path)}
    field = "record.external_files[1].path"
    wire.refuse_field(field, "RegisterVersion", model="base", files=stored("fine"), record=record)


@pytest.mark.parametrize("path", PATHS, ids=ascii)
def test_paths(wire, path):
    number = register(wire, external_files=external(path))
    assert [file.path for file in wire.call("ListFiles", reference=f"base:{number}").files] == [path]
    wire.refuse("BLOBS_MISSING", "RegisterVersion", model="base", files=stored(path))


@pytest.mark.parametrize(("one", "other"), CLASHING_PATHS)
def test_paths_that_clash(wire, one, other):
    for first, second in ((one, other), (other, one)):
        wire.refuse_field("files[1].path", "RegisterVersion", model="base", files=stored(first, second))
        refuse(wire, "external_files[1].path", external_files=external(first, second))
        record = {"external_files": external(second)}
        field = "record.external_files[0].path"
        wire.refuse_field(field, "RegisterVersion", model="base", files=stored(first), record=record)


@pytest.mark.parametrize("paths", PATHS_APART)
def test_paths_that_do_not_clash(wire, paths):
    number = register(wire, external_files=external(*paths))
    assert [file.path for file in wire.call("ListFiles", reference=f"base:{number}").files] == sorted(paths)


def test_how_many_files_and_how_long_all_their_paths(wire):
    def paths(number: int, length: int) -> list[str]:
        return [f"{index:06}".rjust(length, "x") for index in range(number)]

    def missing(files: list[dict], **more: object) -> None:
        refusal = wire.refuse("BLOBS_MISSING", "RegisterVersion", model="base", files=files, **more)
        assert refusal.metadata == {"digests": DIGEST, "total": "1"}

    elsewhere = {"external_files": external("elsewhere")}
    missing(stored(*paths(10_000, 6)))
    missing(stored(*paths(9_999, 6)), record=elsewhere)
    wire.refuse_field("files", "RegisterVersion", model="base", files=stored(*paths(10_001, 6)))
    wire.refuse_field("files", "RegisterVersion", model="base", files=stored(*paths(10_000, 6)), record=elsewhere)
    missing(stored(*paths(8_192, 256)))
    wire.refuse_field("files", "RegisterVersion", model="base", files=stored(*paths(8_191, 256), *paths(1, 257)))


def test_sizes_of_files(wire):
    def files(*sizes: int) -> list[dict]:
        return [{"path": f"f{index}", "digest": DIGEST, "size_bytes": size} for index, size in enumerate(sizes)]

    def link(size: int) -> dict:
        return {"external_files": [{**external("e")[0], "digest": DIGEST, "size_bytes": size}]}

    for index, sizes in ((0, [-1]), (0, [2**39 + 1]), (1, [1, 2]), (2, [1, 1, 0])):
        wire.refuse_field(f"files[{index}].size_bytes", "RegisterVersion", model="base", files=files(*sizes))
    wire.refuse("BLOBS_MISSING", "RegisterVersion", model="base", files=files(2**39, 2**39))
    refuse(wire, "external_files[0].size_bytes", **link(-1))
    register(wire, **link(2**63 - 1))
    field = "record.external_files[0].size_bytes"
    wire.refuse_field(field, "RegisterVersion", model="base", files=files(1), record=link(2))


NOT_URIS = ["", "bucket/key", "/etc/passwd", "s3:", "://x", "s3://a b", "s3://a\nb", "1s3://x", "x" * 2_049, "s3:" + "x" * 2_046]


def test_where_external_files_are(wire):
    for uri in NOT_URIS:
        refuse(wire, "external_files[0].uri", external_files=[{"path": "a", "uri": uri}])
    for uri in ("urn:a", "s3:" + "x" * 2_045, "hf://org/model@main"):
        register(wire, external_files=[{"path": "a", "uri": uri}])
    for digest in ("sha256:", "sha256:" + "0" * 63, DIGEST.upper(), "etag"):
        refuse(wire, "external_files[0].digest", external_files=[{"path": "a", "uri": "urn:a", "digest": digest}])


def test_a_manifest_digest_is_right_or_refused(wire):
    register(wire, manifest_digest=EMPTY_MANIFEST)
    for digest in (DIGEST, "sha256:", EMPTY_MANIFEST.upper(), "é"):
        refuse(wire, "manifest_digest", manifest_digest=digest)


# The record.

LINES = {  # at most so many bytes
    "author": 1_024, "team": 1_024, "framework.name": 1_024, "framework.version": 1_024, "runtime.version": 1_024,
    "dependencies[0].name": 1_024, "dependencies[0].version": 1_024, "params[0].name": 250, "metrics[0].name": 250,
    "metrics[0].dataset": 1_024, "metrics[0].slice": 1_024, "hardware.cpu": 1_024, "hardware.accelerator": 1_024,
    "inputs[0].name": 1_024, "inputs[0].version": 1_024, "inputs[0].digest": 256, "inputs[0].uri": 2_048,
    "source.repository": 2_048, "source.branch": 1_024, "parents[0].uri": 2_048, "parents[0].relation": 250,
    "run.system": 1_024, "run.id": 1_024, "run.uri": 2_048, "input_schema[0].name": 1_024, "output_schema[0].type": 1_024,
    "serving.image": 2_048, "serving.request_content_types[0]": 1_024, "serving.response_content_types[0]": 1_024,
}  # fmt: skip
NOT_EMPTY = ["framework.name", "runtime.name", "dependencies[0].name", "params[0].name", "metrics[0].name", "inputs[0].name"]
BESIDE = {  # what a good item has beside the value that a test puts into it
    "runtime": {"name": "Python"}, "framework": {"name": "torch"}, "dependencies": [{"name": "numpy"}],
    "params": [{"name": "p", "int_value": 1}], "metrics": [{"name": "m", "value": 1}],
    "inputs": [{"name": "i", "kind": 1}], "parents": [{"uri": "hf://org/base"}],
}  # fmt: skip


def record_with(path: str, value: object) -> dict:
    root = path.partition("[")[0].partition(".")[0]
    return put({root: BESIDE[root]} if root in BESIDE else {}, path, value)


@pytest.mark.parametrize(("path", "most"), LINES.items())
def test_lines(wire, path, most):
    register(wire, **record_with(path, "é" * (most // 2)))
    for bad in ("x" * (most + 1), "é" * (most // 2) + "x", "a\0b", "a\nb", "a\x1b[0m", "a\u2028"):
        refuse(wire, path, **record_with(path, bad))


@pytest.mark.parametrize("path", NOT_EMPTY)
def test_names_are_not_empty(wire, path):
    refuse(wire, path, **record_with(path, ""))


VALUES = [  # the path, a value on the good side, one on the bad
    ("params[0].string_value", "é" * 4_096, "x" * 8_193),
    ("params[0].string_value", "two\nlines", "a\0b"),
    ("params[0].double_value", 1.7e308, float("inf")),
    ("params[0].double_value", 5e-324, float("nan")),
    ("metrics[0].value", float("-inf"), float("nan")),
    ("metrics[0].time", {"seconds": 253_402_300_799, "nanos": 999_999_999}, {"seconds": 253_402_300_800}),
    ("metrics[0].time", {"seconds": -62_135_596_800}, {"seconds": -62_135_596_801}),
    ("training_start_time", {"nanos": 999_999_999}, {"nanos": 1_000_000_000}),
    ("training_start_time", {"seconds": -1}, {"nanos": -1}),
    ("training_start_time", {}, {"seconds": 2**63 - 1}),
    ("training_duration", {"seconds": 315_576_000_000}, {"seconds": 315_576_000_001}),
    ("training_duration", {}, {"seconds": -1}),
    ("training_duration", {"nanos": 1}, {"nanos": -1}),
    ("hardware.cpu_count", 2**31 - 1, -1),
    ("hardware.accelerator_count", 0, -1),
    ("hardware.memory_bytes", 2**63 - 1, -1),
    ("hardware.node_count", 1, -(2**31)),
    ("source.commit", "0123abc", "0123ab"),
    ("source.commit", "a" * 64, "a" * 65),
    ("source.commit", "", "ABCDEF0"),
    ("source.repository", "git@github.com:ann/model.git", "https://ann:hunter2@example.org/model.git"),
    ("run.uri", "https://example.org/run?by=a@b", "https://hunter2@example.org/run"),
    ("inputs[0].uri", "abfss://box@account.example.org/x", "s3://key:hunter2@bucket/x"),
    ("inputs[0].kind", 3, 0),
    ("parents[0].number", 0, -1),
    ("input_schema[0].shape", [-1, 0, 2**63 - 1], [-2]),
    ("output_schema[0].shape", [1] * 64, [1] * 65),
    ("serving.request_content_types", ["text/plain"] * 32, ["text/plain"] * 33),
    ("serving.response_content_types", ["text/plain"] * 32, ["text/plain"] * 33),
]


@pytest.mark.parametrize(("path", "taken", "refused"), VALUES)
def test_values(wire, path, taken, refused):
    register(wire, **record_with(path, taken))
    refuse(wire, path, **record_with(path, refused))


def test_credentials_are_not_logged_either(wire):
    for path in ("source.repository", "run.uri", "inputs[0].uri", "parents[0].uri"):
        refuse(wire, path, **record_with(path, "https://ann:hunter2@example.org/x"))
    assert "hunter2" not in wire.server.output()


LISTS = {  # at most so many, such as these
    "dependencies": (1_000, lambda n: {"name": f"d{n}"}),
    "params": (1_000, lambda n: {"name": f"p{n}", "int_value": -(2**63) + n}),
    "metrics": (1_000, lambda n: {"name": "loss", "value": n, "step": -(2**63) + n}),
    "inputs": (100, lambda n: {"kind": 1, "name": "same"}),
    "parents": (100, lambda n: {"uri": "hf://org/same"}),
    "input_schema": (1_000, lambda n: {"name": f"c{n}"}),
    "output_schema": (1_000, lambda n: {"name": f"c{n}"}),
}


@pytest.mark.parametrize("name", LISTS)
def test_how_long_the_lists_are(wire, name):
    most, item = LISTS[name]
    register(wire, **{name: [item(number) for number in range(most)]})
    refuse(wire, name, **{name: [item(number) for number in range(most + 1)]})


ITEMS = [
    ("dependencies[1]", {"dependencies": [{"name": "a"}, {"name": "a", "version": "2"}]}),
    ("params[1]", {"params": [{"name": "a", "int_value": 1}, {"name": "a", "bool_value": True}]}),
    ("metrics[1]", {"metrics": [{"name": "a", "value": 1}, {"name": "a", "value": 2}]}),
    ("metrics[2]", {"metrics": [{"name": "a", "step": 0}, {"name": "a"}, {"name": "a", "step": 0}]}),
    ("params[0]", {"params": [{"name": "a"}]}),
    ("parents[0]", {"parents": [{"relation": "fine-tuned"}]}),
    ("parents[0]", {"parents": [{"uri": "hf://a", "number": 1}]}),
    ("parents[0].reference", {"parents": [{"reference": "base:1", "number": 2}]}),
    ("parents[0].reference", {"parents": [{"reference": "base:1", "model_uid": "another"}]}),
]


@pytest.mark.parametrize(("field", "record"), ITEMS)
def test_items_that_do_not_fit(wire, field, record):
    refuse(wire, field, **record)


def test_a_metric_is_known_by_name_dataset_slice_and_step(wire):
    apart = [{}, {"name": "A"}, {"dataset": "d"}, {"slice": "s"}, {"step": 0}]
    register(wire, metrics=[{"name": "a", **item} for item in apart])


def test_how_large_a_record_is(wire):
    def record(last: int) -> dict:
        params = [{"name": f"{number:03}", "string_value": "x" * 8_192} for number in range(127)]
        return {"manifest_digest": EMPTY_MANIFEST, "params": [*params, {"name": "last", "string_value": "x" * last}]}

    def size(last: int) -> int:
        return request_of("RegisterVersion", record=record(last)).record.ByteSize()

    room = 1024**2 - size(0)  # less the bytes that say how long it is
    most = max(last for last in range(room - 4, room) if size(last) <= 1024**2)
    register(wire, **record(most))
    wire.refuse_field("record", "RegisterVersion", model="base", record=record(most + 1))


def test_a_record_has_no_fields_that_the_server_does_not_know(wire):
    request = request_of("RegisterVersion", model="base").SerializeToString()
    for raw in (b"\x1a\x03\xf8\x07\x01", b"\x1a\x07\x2a\x05\x0a\x00\xfa\x07\x00"):
        wire.refuse_field("record", "RegisterVersion", request + raw)
    # A field that a newer client adds to the request itself is of no harm.
    assert wire.call("RegisterVersion", request + b"\xf8\x07\x01").version.model == "base"
