"""Every limit and every grammar of a request's values, through the wire and from both sides."""

import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest
from conftest import RunningServer
from grpc import StatusCode
from wire import SERVICE, Wire, put, request_of

DIGEST = "sha256:" + "0123456789abcdef" * 4
OTHER = "sha256:" + "f" * 64
UNKNOWN_NUMBERS = [99, -1, 2**31 - 1, -(2**31)]
FRESH = count(1)

# A request of each method that is good, but for what it does not find; a test puts one value of its own into it.
GOOD = {
    "CreateModel": {"name": "new"},
    "GetModel": {"name": "base"},
    "ListModels": {},
    "UpdateModel": {"model": {"name": "base"}, "update_mask": {"paths": ["description", "labels"]}},
    "RegisterVersion": {"model": "base"},
    "GetVersion": {"reference": "base:1"},
    "ListVersions": {"model": "base"},
    "ListFiles": {"reference": "base:1"},
    "UpdateVersion": {"reference": "base:1", "update_mask": {"paths": ["description", "labels"]}},
    "AddNote": {"reference": "base:1", "text": "looks good"},
    "ResolveVersion": {"reference": "base:1"},
    "FindMissingBlobs": {"model": "base"},
    "UploadBlob": {"header": {"model": "base", "digest": DIGEST, "size_bytes": 1}},
    "DownloadArtifact": {"reference": "base:1", "path": "model.bin"},
    "TransitionStage": {"reference": "base:1", "stage": "development"},
    "SetAlias": {"model": "base", "alias": "champion", "version": "1"},
    "DeleteAlias": {"model": "base", "alias": "champion"},
    "ListAliases": {"model": "base"},
    "ListEvents": {},
    "GetServerInfo": {},
}

NOT_WORDS = [
    "é",
    "a b",
    " a",
    "a ",
    "a\n",
    "a\t",
    "a\0",
    "a\\b",
    "a%2fb",
    "ａ",
    "a\u200b",
    "１",
    "-a",
    ".a",
    "_a",
    "..",
    ".",
]
NOT_MODEL_NAMES = ["/", "/a", "a/", "a//b", "../a", "a/../b", "a/.b", "a:b", "a@b", "a#b", *NOT_WORDS]
NOT_WORDS_OF_ONE = [*NOT_WORDS, "a/b", "a+b", "a:b", "a@b", "a#b"]
NOT_DIGESTS = [
    "sha256:",
    "sha256:" + "0" * 63,
    "sha256:" + "0" * 65,
    DIGEST.upper(),
    "sha256:" + "A" * 64,
    "sha512:" + "0" * 64,
]
NOT_DIGESTS += [
    "0" * 64,
    "md5:" + "0" * 32,
    "sha256:" + "g" * 64,
    DIGEST + "\n",
    " " + DIGEST,
    "sha256:../../../../etc/passwd",
    "é",
]
NOT_PATHS = [
    "",
    "/",
    "/etc/passwd",
    "//host/share",
    "..",
    "../x",
    "a/../b",
    "a/..",
    ".",
    "./a",
    "a/.",
    "a//b",
    "a/",
    "a\\b",
]
NOT_PATHS += [
    "..\\x",
    "C:\\x",
    "a\0",
    "a\0.txt",
    "a\nb",
    "a\rb",
    "a\tb",
    "\x1b[31m",
    "a\x7f",
    "a\x85b",
    "a\u2028b",
    "e\u0301",
]
NOT_PATHS += [unicodedata.normalize("NFD", "modèle.bin"), "x" * 1_025, "é" * 512 + "x"]
CLASHING_PATHS = [
    ("model.bin", "model.bin"),
    ("model.bin", "Model.BIN"),
    ("straße", "STRASSE"),
    ("Σας", "σασ"),
    ("é", "É"),
    ("a/B/c", "a/b/C"),
    ("model", "model/weights"),
    ("Model", "model/weights"),
    ("a/b", "A/B/c/d"),
]
PATHS_APART = [
    ("model", "model.bin"),
    ("model", "model-2/a"),
    ("a/b", "a/c"),
    ("a b", "a\u00a0b"),
    ("é", "e"),
    ("a", "а"),
]


@pytest.fixture(scope="module")
def wire(server: RunningServer) -> Iterator[Wire]:
    """The file's server, with a model `base` of one version."""
    wire = Wire(server)
    wire.call("CreateModel", name="base")
    wire.call("RegisterVersion", model="base", aliases=["champion"])
    yield wire
    wire.close()


def good(place: str, value: object) -> tuple[str, dict]:
    """The method and the fields of its good request, with a value at a place such as `SetAlias.alias`."""
    method, _, path = place.partition(".")
    fields = put(GOOD[method], path, value)
    if method == "CreateModel" and path != "name":
        fields["name"] = f"new-{next(FRESH)}"
    return method, fields


def refuse(wire: Wire, place: str, value: object, field: str = "") -> None:
    """The value is refused there, and the error names the place, or the field that is given."""
    method, fields = good(place, value)
    wire.refuse_field(field or place.partition(".")[2], method, **fields)


def accept(wire: Wire, place: str, value: object) -> None:
    """The value is taken there."""
    method, fields = good(place, value)
    wire.call(method, **fields)


MODEL_NAMES = [
    "CreateModel.name",
    "GetModel.name",
    "UpdateModel.model.name",
    "RegisterVersion.model",
    "ListVersions.model",
]
MODEL_NAMES += [
    "SetAlias.model",
    "DeleteAlias.model",
    "ListAliases.model",
    "ListEvents.filter.model",
    "FindMissingBlobs.model",
]
MODEL_NAMES += ["UploadBlob.header.model"]


@pytest.mark.parametrize("place", MODEL_NAMES)
def test_model_names(wire, place):
    for name in [*NOT_MODEL_NAMES, "x" * 257, "x/" * 128 + "x"] + ([] if place == "ListEvents.filter.model" else [""]):
        refuse(wire, place, name)
    if place == "CreateModel.name":
        accept(wire, place, "x" * 256)
    else:
        method, fields = good(place, "y/" * 127 + "yy")
        refusal = wire.refuse(method, **fields)
        assert (refusal.code, refusal.reason, refusal.metadata["model"]) == (
            StatusCode.NOT_FOUND,
            "MODEL_NOT_FOUND",
            "y/" * 127 + "yy",
        )


def test_names_that_differ_in_case_are_two_models(wire):
    for name in ("case/a", "case/A", "CASE/a"):
        wire.call("CreateModel", name=name)
    refusal = wire.refuse("CreateModel", name="case/A")
    assert (refusal.code, refusal.reason, refusal.metadata) == (
        StatusCode.ALREADY_EXISTS,
        "MODEL_EXISTS",
        {"model": "case/A"},
    )


REFERENCES = [
    "GetVersion.reference",
    "ListFiles.reference",
    "UpdateVersion.reference",
    "AddNote.reference",
    "ResolveVersion.reference",
]
REFERENCES += ["DownloadArtifact.reference", "TransitionStage.reference", "RegisterVersion.record.parents[0].reference"]
NOT_REFERENCES = [
    "base",
    "base/",
    "base:",
    "base@",
    "base#",
    ":1",
    "@champion",
    "#production",
    "base:1:2",
    "base::1",
    "base@@a",
    "base##a",
]
NOT_REFERENCES += [
    "base:1@a",
    "base@a#b",
    "base:1/2",
    "base@a/b",
    "base:é",
    "base: 1",
    "base:1 ",
    " base:1",
    "base:1\n",
    "base:1\0",
    "base:-1",
]
NOT_REFERENCES += [
    "base:+1",
    "base:１",
    "base:" + "9" * 19,
    "base:v" + "x" * 320,
    "base@" + "x" * 129,
    "base#" + "x" * 129,
    "../base:1",
]
NOT_REFERENCES += [
    "/base:1",
    "base/:1",
    "base\\a:1",
    "x" * 257 + ":1",
    "base@SHA256:" + "0" * 64,
    "😀" * 1_000,
    "x" * 100_000,
]
NOT_REFERENCES += ["base@" + digest for digest in NOT_DIGESTS if digest.startswith("sha256:")]


@pytest.mark.parametrize("place", REFERENCES)
def test_references(wire, place):
    for reference in NOT_REFERENCES + ([] if "parents" in place else [""]):
        refuse(wire, place, reference)
    method, fields = good(place, "base")
    assert "NAME@ALIAS" in wire.refuse(method, **fields).message
    for form in (
        "nobody:1",
        "nobody:1.0.0",
        "nobody@" + "x" * 128,
        "nobody#" + "x" * 128,
        "nobody@latest",
        "nobody@" + DIGEST,
    ):
        method, fields = good(place, form)
        assert wire.refuse(method, **fields).reason == "MODEL_NOT_FOUND"
    for reference, reason in (
        ("base:0", "VERSION_NOT_FOUND"),
        ("base:" + "9" * 18, "VERSION_NOT_FOUND"),
        ("base:v" + "x" * 319, "VERSION_NOT_FOUND"),
        ("base@nobody", "ALIAS_NOT_FOUND"),
        ("base@Champion", "ALIAS_NOT_FOUND"),
        ("base#staging", "STAGE_EMPTY"),
        ("base@" + OTHER, "VERSION_NOT_FOUND"),
    ):
        method, fields = good(place, reference)
        refusal = wire.refuse(method, **fields)
        assert (refusal.code, refusal.reason) == (StatusCode.NOT_FOUND, reason)


SELECTORS = [
    "",
    "@",
    "#",
    ":1",
    "base:1",
    "1:2",
    "@a@b",
    "#a#b",
    "1.0.0\n",
    "@sha256:00",
    "é",
    "9" * 19,
    "v" + "x" * 320,
    "@" + "x" * 129,
]


@pytest.mark.parametrize("selector", SELECTORS)
def test_what_selects_no_version(wire, selector):
    refuse(wire, "SetAlias.version", selector)


@pytest.mark.parametrize("selector", ["1", "001", "1.0.0", "@latest", "@champion", "#development"])
def test_what_selects_a_version(wire, selector):
    accept(wire, "SetAlias.version", selector)


@pytest.mark.parametrize(
    ("place", "field"), [("SetAlias.alias", ""), ("DeleteAlias.alias", ""), ("RegisterVersion.aliases[0]", "aliases")]
)
def test_aliases(wire, place, field):
    for alias in ["", "latest", "x" * 129, *NOT_WORDS_OF_ONE]:
        refuse(wire, place, alias, field)
    if place != "DeleteAlias.alias":
        accept(wire, place, "x" * 128)
        accept(wire, place, "Latest")
    else:
        wire.call("SetAlias", model="base", alias="y" * 128, version="1")
        accept(wire, place, "y" * 128)


STAGES = [
    "TransitionStage.stage",
    "TransitionStage.expected_stage",
    "RegisterVersion.stage",
    "ListVersions.filter.stage",
]


@pytest.mark.parametrize("place", STAGES)
def test_stages(wire, place):
    for stage in ["x" * 129, *NOT_WORDS_OF_ONE] + ([""] if place == "TransitionStage.stage" else []):
        refuse(wire, place, stage)
    accept(wire, place, "development")
    if place in ("TransitionStage.stage", "RegisterVersion.stage"):  # where the lifecycle must have it
        refuse(wire, place, "Development")
        refuse(wire, place, "x" * 128)
    elif place == "ListVersions.filter.stage":
        accept(wire, place, "x" * 128)
    else:
        method, fields = good(place, "x" * 128)
        refusal = wire.refuse(method, **fields)
        assert (refusal.code, refusal.reason, refusal.metadata["current"]) == (
            StatusCode.ABORTED,
            "CONFLICT",
            "development",
        )


DIGESTS = [
    "RegisterVersion.files[0].digest",
    "RegisterVersion.record.external_files[0].digest",
    "RegisterVersion.record.manifest_digest",
]
DIGESTS += ["FindMissingBlobs.blobs[0].digest", "UploadBlob.header.digest"]


@pytest.mark.parametrize("place", DIGESTS)
def test_digests(wire, place):
    for digest in NOT_DIGESTS + ([""] if place in {DIGESTS[0], *DIGESTS[3:]} else []):
        method, fields = good(place, digest)
        if method == "RegisterVersion":
            fields = with_paths(fields)
        wire.refuse_field(place.partition(".")[2], method, **fields)


def with_paths(fields: dict) -> dict:
    """Names the files that a test put there for something else."""
    for number, file in enumerate(fields.get("files", [])):
        file.setdefault("path", f"stored-{number}")
        file.setdefault("digest", DIGEST)
    for number, file in enumerate(fields.get("record", {}).get("external_files", [])):
        file.setdefault("path", f"external-{number}")
        file.setdefault("uri", "s3://bucket/key")
    return fields


def test_a_manifest_digest_is_right_or_refused(wire):
    empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    accept(wire, "RegisterVersion.record.manifest_digest", empty)
    refuse(wire, "RegisterVersion.record.manifest_digest", OTHER)


@pytest.mark.parametrize("path", NOT_PATHS, ids=ascii)
def test_what_is_no_path(wire, path):
    file = {"path": "fine", "digest": DIGEST, "size_bytes": 1}
    wire.refuse_field("files[1].path", "RegisterVersion", model="base", files=[file, {**file, "path": path}])
    external = [{"path": "fine-too", "uri": "s3://b/k"}, {"path": path, "uri": "s3://b/k"}]
    wire.refuse_field(
        "record.external_files[1].path",
        "RegisterVersion",
        model="base",
        files=[file],
        record={"external_files": external},
    )


@pytest.mark.parametrize(
    "path",
    ["a", "a/b", "...", "..a", ".hidden", "a b", "模型/权重.bin", "👩‍🚀", "x" * 1_024, "é" * 512, "a/" * 511 + "aa"],
)
def test_paths(wire, path):
    reply = wire.call("RegisterVersion", model="base", record={"external_files": [{"path": path, "uri": "s3://b/k"}]})
    (file,) = wire.call("ListFiles", reference=f"base:{reply.version.number}").files
    assert file.path == path


@pytest.mark.parametrize(("one", "other"), CLASHING_PATHS)
def test_paths_that_clash(wire, one, other):
    for first, second in ((one, other), (other, one)):
        stored = [{"path": path, "digest": DIGEST, "size_bytes": 1} for path in (first, second)]
        external = [{"path": path, "uri": "s3://b/k"} for path in (first, second)]
        wire.refuse_field("files[1].path", "RegisterVersion", model="base", files=stored)
        place = "record.external_files[1].path"
        wire.refuse_field(place, "RegisterVersion", model="base", record={"external_files": external})
        place = "record.external_files[0].path"
        wire.refuse_field(
            place, "RegisterVersion", model="base", files=stored[:1], record={"external_files": external[1:]}
        )


@pytest.mark.parametrize("paths", PATHS_APART)
def test_paths_that_do_not_clash(wire, paths):
    external = [{"path": path, "uri": "s3://b/k"} for path in paths]
    assert (
        wire.call("RegisterVersion", model="base", record={"external_files": external}).version.external_file_count == 2
    )


def test_how_many_files_and_how_long_all_their_paths(wire):
    def files(number: int, length: int) -> list[dict]:
        return [
            {"path": f"{index:06}".rjust(length, "x"), "digest": DIGEST, "size_bytes": 1} for index in range(number)
        ]

    def missing(paths: list[dict], **more: object) -> None:
        refusal = wire.refuse("RegisterVersion", model="base", files=paths, **more)
        assert (refusal.code, refusal.reason) == (StatusCode.FAILED_PRECONDITION, "BLOBS_MISSING")
        assert refusal.metadata == {"digests": DIGEST, "total": "1"}

    elsewhere = {"external_files": [{"path": "elsewhere", "uri": "s3://b/k"}]}
    missing(files(10_000, 6))
    missing(files(9_999, 6), record=elsewhere)
    wire.refuse_field("files", "RegisterVersion", model="base", files=files(10_001, 6))
    wire.refuse_field("files", "RegisterVersion", model="base", files=files(10_000, 6), record=elsewhere)
    missing(files(8_192, 256))
    wire.refuse_field("files", "RegisterVersion", model="base", files=[*files(8_191, 256), *files(1, 257)])


def test_sizes_of_files(wire):
    def register(*sizes: int, external: int | None = None) -> dict:
        files = [{"path": f"f{index}", "digest": DIGEST, "size_bytes": size} for index, size in enumerate(sizes)]
        link = {"path": "e", "uri": "s3://b/k", "digest": DIGEST, "size_bytes": external}
        return {"model": "base", "files": files, "record": {"external_files": [link]} if external is not None else {}}

    wire.refuse_field("files[0].size_bytes", "RegisterVersion", **register(-1))
    wire.refuse_field("files[0].size_bytes", "RegisterVersion", **register(2**39 + 1))
    wire.refuse_field("files[1].size_bytes", "RegisterVersion", **register(1, 2))
    wire.refuse_field("record.external_files[0].size_bytes", "RegisterVersion", **register(external=-1))
    wire.refuse_field("record.external_files[0].size_bytes", "RegisterVersion", **register(1, external=2))
    assert wire.refuse("RegisterVersion", **register(2**39, 2**39)).reason == "BLOBS_MISSING"
    assert wire.call("RegisterVersion", **register(external=2**63 - 1)).created


LINES = {  # one line of text: at most so many bytes
    "author": 1_024, "team": 1_024, "framework.name": 1_024, "framework.version": 1_024, "runtime.version": 1_024,
    "dependencies[0].name": 1_024, "dependencies[0].version": 1_024, "params[0].name": 250, "metrics[0].name": 250,
    "metrics[0].dataset": 1_024, "metrics[0].slice": 1_024, "hardware.cpu": 1_024, "hardware.accelerator": 1_024,
    "inputs[0].name": 1_024, "inputs[0].version": 1_024, "inputs[0].digest": 256, "inputs[0].uri": 2_048,
    "source.repository": 2_048, "source.branch": 1_024, "parents[0].uri": 2_048, "parents[0].relation": 250,
    "run.system": 1_024, "run.id": 1_024, "run.uri": 2_048, "input_schema[0].name": 1_024, "output_schema[0].type": 1_024,
    "serving.image": 2_048, "serving.request_content_types[0]": 1_024, "serving.response_content_types[0]": 1_024,
}  # fmt: skip
BESIDE = {  # what a good item has beside the line that a test puts into it
    "runtime": {"name": "Python"}, "framework": {"name": "torch"}, "dependencies": [{"name": "numpy"}],
    "params": [{"name": "p", "int_value": 1}], "metrics": [{"name": "m", "value": 1}],
    "inputs": [{"name": "i", "kind": 1}], "parents": [{"uri": "hf://org/base"}],
}  # fmt: skip


def record_with(path: str, value: object) -> dict:
    root = path.partition("[")[0].partition(".")[0]
    return {"model": "base", "record": put({root: BESIDE[root]} if root in BESIDE else {}, path, value)}


@pytest.mark.parametrize(("path", "most"), LINES.items())
def test_lines_of_the_record(wire, path, most):
    wire.call("RegisterVersion", **record_with(path, "é" * (most // 2)))
    for bad in ("x" * (most + 1), "é" * (most // 2) + "x", "a\0b", "a\nb", "a\x1b[0m", "a\u2028"):
        wire.refuse_field(f"record.{path}", "RegisterVersion", **record_with(path, bad))


NAMES_THAT_ARE_NOT_EMPTY = [
    "framework.name",
    "runtime.name",
    "dependencies[0].name",
    "params[0].name",
    "metrics[0].name",
    "inputs[0].name",
]


@pytest.mark.parametrize("path", NAMES_THAT_ARE_NOT_EMPTY)
def test_names_are_not_empty(wire, path):
    wire.refuse_field(f"record.{path}", "RegisterVersion", **record_with(path, ""))


RECORDS = [  # the path, a value on the good side, one on the bad
    ("params[0].string_value", "é" * 4_096, "x" * 8_193),
    ("params[0].string_value", "two\nlines", "a\0b"),
    ("params[0].double_value", 1.7e308, float("inf")),
    ("params[0].double_value", 5e-324, float("nan")),
    ("params[0].int_value", -(2**63), None),
    ("metrics[0].value", float("-inf"), float("nan")),
    ("metrics[0].step", -(2**63), None),
    ("metrics[0].time", {"seconds": 253_402_300_799, "nanos": 999_999_999}, {"seconds": 253_402_300_800}),
    ("metrics[0].time", {"seconds": -62_135_596_800}, {"seconds": -62_135_596_801}),
    ("training_start_time", {"nanos": 0}, {"nanos": 1_000_000_000}),
    ("training_start_time", {"seconds": -1}, {"nanos": -1}),
    ("training_start_time", None, {"seconds": 2**63 - 1}),
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
    ("source.repository", "git@github.com:ann/model.git", "https://ann:secret@example.org/model.git"),
    ("run.uri", "https://example.org/run?by=a@b", "https://secret@example.org/run"),
    ("inputs[0].kind", 3, 0),
    ("parents[0].number", 0, -1),
    ("input_schema[0].shape", [-1, 0, 2**63 - 1] + [1] * 61, [-2]),
    ("output_schema[0].shape", [1] * 64, [1] * 65),
    ("serving.request_content_types", ["text/plain"] * 32, ["text/plain"] * 33),
    ("serving.response_content_types", ["text/plain"] * 32, ["text/plain"] * 33),
    ("external_files", [{"path": "a", "uri": "urn:a"}], None),
]


@pytest.mark.parametrize(("path", "taken", "refused"), RECORDS)
def test_values_of_the_record(wire, path, taken, refused):
    if taken is not None:
        wire.call("RegisterVersion", **record_with(path, taken))
    if refused is not None:
        wire.refuse_field(f"record.{path}", "RegisterVersion", **record_with(path, refused))


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "bucket/key",
        "/etc/passwd",
        "s3:",
        "://x",
        "s3://a b",
        "s3://a\nb",
        "1s3://x",
        "x" * 2_049,
        "s3:" + "x" * 2_046,
    ],
)
def test_what_is_no_uri_of_an_external_file(wire, uri):
    refuse(
        wire, "RegisterVersion.record", {"external_files": [{"path": "a", "uri": uri}]}, "record.external_files[0].uri"
    )


LISTS = {
    "dependencies": (1_000, lambda n: {"name": f"d{n}"}),
    "params": (1_000, lambda n: {"name": f"p{n}", "int_value": n}),
    "metrics": (1_000, lambda n: {"name": "loss", "value": n, "step": n}),
    "inputs": (100, lambda n: {"kind": 1, "name": "same"}),
    "parents": (100, lambda n: {"uri": "hf://org/same"}),
    "input_schema": (1_000, lambda n: {"name": f"c{n}"}),
    "output_schema": (1_000, lambda n: {"name": f"c{n}"}),
}


@pytest.mark.parametrize("name", LISTS)
def test_how_long_the_lists_of_the_record_are(wire, name):
    most, item = LISTS[name]
    wire.call("RegisterVersion", model="base", record={name: [item(number) for number in range(most)]})
    refuse(wire, f"RegisterVersion.record.{name}", [item(number) for number in range(most + 1)])


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
    wire.refuse_field(f"record.{field}", "RegisterVersion", model="base", record=record)


def test_a_metric_is_known_by_name_dataset_slice_and_step(wire):
    metrics = [
        {"name": "a"},
        {"name": "A"},
        {"name": "a", "dataset": "d"},
        {"name": "a", "slice": "s"},
        {"name": "a", "step": 0},
    ]
    assert wire.call("RegisterVersion", model="base", record={"metrics": metrics}).created


def test_how_large_a_record_is(wire):
    digest = wire.call("GetVersion", reference="base:1").version.digest

    def record(last: int) -> dict:
        params = [{"name": f"{number:03}", "string_value": "x" * 8_192} for number in range(127)]
        return {"manifest_digest": digest, "params": [*params, {"name": "last", "string_value": "x" * last}]}

    room = 1024**2 - request_of("RegisterVersion", record=record(0)).record.ByteSize()
    for last in range(room - 3, room + 1):  # how long a length is, is part of the length
        if request_of("RegisterVersion", record=record(last)).record.ByteSize() <= 1024**2:
            most = last
    assert wire.call("RegisterVersion", model="base", record=record(most)).created
    refuse(wire, "RegisterVersion.record", record(most + 1))


def test_a_record_has_no_fields_that_the_server_does_not_know(wire):
    request = request_of("RegisterVersion", model="base").SerializeToString()
    for field, raw in (("record", b"\x1a\x03\xf8\x07\x01"), ("record", b"\x1a\x07\x2a\x05\x0a\x00\xfa\x07\x00")):
        wire.refuse_field(field, "RegisterVersion", request + raw)
    # A field that a newer client adds to a request itself is of no harm.
    assert wire.call("RegisterVersion", request + b"\xf8\x07\x01").version.model == "base"


TEXTS = {  # the place, at most so many bytes, whether it may be empty
    "CreateModel.description": (65_536, True),
    "UpdateModel.model.description": (65_536, True),
    "RegisterVersion.description": (65_536, True),
    "UpdateVersion.version.description": (65_536, True),
    "AddNote.text": (8_192, False),
    "RegisterVersion.reason": (4_096, True),
    "TransitionStage.reason": (4_096, True),
    "SetAlias.reason": (4_096, True),
    "DeleteAlias.reason": (4_096, True),
}


@pytest.mark.parametrize(("place", "most", "empty"), [(place, *rule) for place, rule in TEXTS.items()])
def test_texts(wire, place, most, empty):
    for text in ("x" * (most + 1), "é" * (most // 2) + "x", "a\0b", *([] if empty else [""])):
        refuse(wire, place, text)
    for text in ("é" * (most // 2), "two\nlines\tand \x1b", *([""] if empty else [])):
        wire.call("SetAlias", model="base", alias="champion", version="1")
        accept(wire, place, text)


LABELS = ["CreateModel.labels", "UpdateModel.model.labels", "RegisterVersion.labels", "UpdateVersion.version.labels"]
LABELS += ["ListModels.filter.labels", "ListVersions.filter.labels"]


@pytest.mark.parametrize("place", LABELS)
def test_labels(wire, place):
    for key in ("", "a\nb", "a\0b", "x" * 251, "é" * 125 + "x"):
        refuse(wire, place, {"fine": "", key: "value"})
    for value in ("x" * 4_097, "é" * 2_048 + "x", "\0"):
        refuse(wire, place, {"key": value})
    refuse(wire, place, {f"key-{number}": "" for number in range(101)})
    refuse(wire, place, {f"key-{number}": "" for number in range(100_000)})
    accept(wire, place, {f"{number:03}".rjust(250, "x"): "" for number in range(99)} | {"é" * 125: "é" * 2_048})
    accept(wire, place, {"a.b": "two\nlines"})


@pytest.mark.parametrize(
    ("method", "model"), [("UpdateModel", {"model": {"name": "base"}}), ("UpdateVersion", {"reference": "base:1"})]
)
def test_labels_are_counted_together_with_those_that_stay(wire, method, model):
    resource = "model" if method == "UpdateModel" else "version"
    many = {f"key-{number}": "" for number in range(100)}
    wire.call(method, **put(model, f"{resource}.labels", many), update_mask={"paths": ["labels"]})
    one_more = put(model, f"{resource}.labels", {"one-more": ""})
    wire.refuse_field(f"{resource}.labels", method, **one_more, update_mask={"paths": ["labels.one-more"]})
    reply = wire.call(method, **one_more, update_mask={"paths": ["labels.one-more", "labels.key-7"]})
    assert getattr(reply, resource).labels == {**{key: "" for key in many if key != "key-7"}, "one-more": ""}


MASKS = [
    [],
    ["name"],
    ["uid"],
    ["number"],
    ["version"],
    ["digest"],
    ["record"],
    ["record.author"],
    ["stage"],
    ["aliases"],
    ["etag"],
]
MASKS += [
    ["description", "strategy"],
    ["lifecycle"],
    ["*"],
    [""],
    ["."],
    ["Labels"],
    ["labels."],
    ["labels[a]"],
    ["description.x"],
]
MASKS += [
    ["labelsx"],
    ["nothing"],
    ["labels." + "x" * 251],
    ["labels.a\0"],
    ["x" * 100_000],
    ["😀" * 1_000],
    [".labels"],
    ["create_time"],
]


@pytest.mark.parametrize("place", ["UpdateModel.update_mask", "UpdateVersion.update_mask"])
@pytest.mark.parametrize("paths", MASKS, ids=lambda paths: ",".join(paths)[:20].encode("ascii", "replace").decode())
def test_masks_that_name_something_else(wire, place, paths):
    refuse(wire, place, {"paths": paths})


@pytest.mark.parametrize("place", ["UpdateModel.update_mask", "UpdateVersion.update_mask"])
def test_masks(wire, place):
    for paths in (
        ["description"],
        ["labels"],
        ["labels.a.b.c"],
        ["labels." + "x" * 250],
        ["labels", "labels.a"],
        ["labels"] * 100_000,
    ):
        accept(wire, place, {"paths": paths})


def test_what_a_mask_does_not_name_is_not_looked_at(wire):
    before = wire.call("GetVersion", reference="base:1").version
    version = {
        "number": 7,
        "stage": "production",
        "description": "x" * 65_537,
        "labels": {"": "\0", "a": "b"},
        "aliases": ["/"],
    }
    reply = wire.call("UpdateVersion", reference="base:1", version=version, update_mask={"paths": ["labels.a"]})
    assert reply.version.labels["a"] == "b"
    assert (reply.version.number, reply.version.stage, reply.version.description) == (
        1,
        before.stage,
        before.description,
    )


@pytest.mark.parametrize(
    "place",
    [
        "CreateModel.strategy",
        "RegisterVersion.bump",
        "GetVersion.view",
        "ListVersions.view",
        "RegisterVersion.record.inputs[0].kind",
    ]
    + ["ListEvents.filter.kinds[0]"],
)
def test_unknown_enum_numbers(wire, place):
    for number in UNKNOWN_NUMBERS + ([0] if "kind" in place else []):
        refuse(wire, place, number, "filter.kinds" if "kinds" in place else "")


def test_every_enum_of_the_requests_is_tried(wire):
    def enums(message, seen: frozenset[str]) -> Iterator[str]:
        for field in message.fields:
            if field.enum_type:
                yield field.enum_type.name
            elif field.message_type and field.message_type.full_name not in seen:
                yield from enums(field.message_type, seen | {field.message_type.full_name})

    found = {name for method in SERVICE.methods for name in enums(method.input_type, frozenset())}
    assert found == {"VersionStrategy", "VersionBump", "VersionView", "InputKind", "EventKind"}


def test_an_enum_that_a_mask_does_not_name_may_be_anything(wire):
    wire.call("UpdateModel", model={"name": "base", "strategy": 99}, update_mask={"paths": ["description"]})


def test_kinds_are_as_many_as_there_are(wire):
    accept(wire, "ListEvents.filter.kinds", list(range(1, 10)))
    refuse(wire, "ListEvents.filter.kinds", [1] * 100_000)


@pytest.mark.parametrize("place", ["SetAlias.expected_number", "DeleteAlias.expected_number"])
def test_expected_numbers(wire, place):
    for number in (-1, -(2**63)):
        refuse(wire, place, number)
    wire.call("SetAlias", model="base", alias="champion", version="1")
    for number in (0, 2, 2**63 - 1):
        method, fields = good(place, number)
        refusal = wire.refuse(method, **fields)
        assert (refusal.code, refusal.reason, refusal.metadata["current"]) == (StatusCode.ABORTED, "CONFLICT", "1")
    accept(wire, place, 1)


@pytest.mark.parametrize("place", ["UpdateModel.model.etag", "UpdateVersion.version.etag"])
def test_an_etag_that_is_not_the_current_one(wire, place):
    for etag in ("x", "é", "0" * 16, "x" * 100_000):
        method, fields = good(place, etag)
        refusal = wire.refuse(method, **fields)
        assert (refusal.code, refusal.reason) == (StatusCode.ABORTED, "CONFLICT")
        fields = put(fields, place.partition(".")[2], refusal.metadata["current"])
        wire.call(method, **fields)


def test_prefixes_of_names(wire):
    for prefix in ("x" * 257, "a\nb", "a\0"):
        refuse(wire, "ListModels.filter.name_prefix", prefix)
    assert [model.name for model in wire.call("ListModels", filter={"name_prefix": "bas"}).models] == ["base"]
    for prefix in ("%", "_ase", "b%", "BAS", "é", "'", "x" * 256):
        assert prefix.startswith("x") or not wire.call("ListModels", filter={"name_prefix": prefix}).models


def test_names_of_events(wire):
    refuse(wire, "ListEvents.filter.name", "a\nb")
    refuse(wire, "ListEvents.filter.name", "x" * 1_025)
    assert {event.name for event in wire.call("ListEvents", filter={"name": "champion"}).events} == {"champion"}


@pytest.mark.parametrize("lifecycle", ["Default", "none", "é", "x" * 100_000, "default\n"])
def test_lifecycles_that_are_none(wire, lifecycle):
    refuse(wire, "CreateModel.lifecycle", lifecycle)


VERSIONS = {  # what each strategy takes, and what it does not
    "semantic": (
        ["3.1.0", "3.2.0-rc.1+build.5", f"{10**18 - 1}.0.0"],
        ["3", "3.1", "v3.1.0", "03.1.0", "3.1.0-", "3.1.0-01", f"{10**18}.0.0"],
    ),
    "git": (
        ["leaf-0123abc", "leaf-0123abc-2"],
        ["0123abc", "other-0123abc", "leaf-0123ab", "leaf-0123ABC", "leaf-0123abc-1", "1.0.0"],
    ),
    "timestamp": (
        ["leaf-20250124-120000"],
        ["20250124-120000", "leaf-20250124", "leaf-20251324-120000", "leaf-20250124-120000-0", "1"],
    ),
    "integer": (["1"], ["0", "2", "01", "1.0.0", "-1", "one", "9" * 19]),
}


@pytest.mark.parametrize(("strategy", "number"), [("semantic", 1), ("git", 2), ("timestamp", 3), ("integer", 4)])
def test_version_strings(wire, strategy, number):
    name = f"{strategy}/leaf"
    wire.call("CreateModel", name=name, strategy=number)
    taken, refused = VERSIONS[strategy]
    for version in [*refused, "x" * 321, "a/b", "a b", "a:b", "é", "latest@", "1.0.0\n", "\0", "..", "../x"]:
        wire.refuse_field("version", "RegisterVersion", model=name, version=version)
    for version in taken:
        assert (
            wire.call("RegisterVersion", model=name, version=version, record={"author": version}).version.version
            == version
        )
        refusal = wire.refuse("RegisterVersion", model=name, version=version, record={"author": "another"})
        assert (refusal.code, refusal.reason) == (StatusCode.ALREADY_EXISTS, "VERSION_EXISTS")
    wire.refuse_field("bump", "RegisterVersion", model=name, version=taken[0], bump=1)
    if strategy != "semantic":
        wire.refuse_field("bump", "RegisterVersion", model=name, bump=1)
    if strategy == "git":
        wire.refuse_field("record.source.commit", "RegisterVersion", model=name, record={"author": "no commit"})


def test_transitions_outside_the_lifecycle_say_which_are_possible(wire):
    wire.call("CreateModel", name="moves")
    wire.call("RegisterVersion", model="moves")
    refusal = wire.refuse("TransitionStage", reference="moves:1", stage="production")
    assert (refusal.code, refusal.reason) == (StatusCode.FAILED_PRECONDITION, "TRANSITION_NOT_ALLOWED")
    assert refusal.metadata == {"current": "development", "possible": "archived,staging", "with_rollback": ""}
    assert (
        wire.refuse("RegisterVersion", model="moves", record={"author": "a"}, stage="production").reason
        == "TRANSITION_NOT_ALLOWED"
    )
    wire.refuse_field(
        "archive_existing", "TransitionStage", reference="moves:1", stage="archived", archive_existing=True
    )


def test_how_many_aliases_one_call_sets_and_a_model_has(wire):
    wire.call("CreateModel", name="aliased")
    names = [f"alias-{number}" for number in range(1_001)]
    wire.refuse_field("aliases", "RegisterVersion", model="aliased", aliases=names[:101])
    for start in range(0, 1_000, 100):
        wire.call("RegisterVersion", model="aliased", aliases=names[start : start + 100])
    for method, fields in (
        ("RegisterVersion", {"aliases": names[-1:]}),
        ("SetAlias", {"alias": names[-1], "version": "1"}),
    ):
        refusal = wire.refuse(method, model="aliased", **fields)
        assert (refusal.code, refusal.reason) == (StatusCode.FAILED_PRECONDITION, "TOO_MANY")
    wire.call("DeleteAlias", model="aliased", alias=names[0])
    wire.call("SetAlias", model="aliased", alias=names[-1], version="1")


def test_how_many_versions_one_call_archives(wire):
    wire.call("CreateModel", name="crowd", lifecycle="permissive")

    def register(number: int) -> None:
        wire.call("RegisterVersion", model="crowd", record={"author": f"{number}"}, stage="production")

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(register, range(1_002)))
    refusal = wire.refuse("TransitionStage", reference="crowd:1", stage="production", archive_existing=True)
    assert (refusal.code, refusal.reason) == (StatusCode.FAILED_PRECONDITION, "TOO_MANY")
    wire.call("TransitionStage", reference="crowd:2", stage="staging")
    reply = wire.call("TransitionStage", reference="crowd:1", stage="production", archive_existing=True)
    assert list(reply.archived_numbers) == list(range(3, 1_003))


def page_sizes() -> list[str]:
    return [method.name for method in SERVICE.methods if "page_size" in method.input_type.fields_by_name]


@pytest.mark.parametrize("method", page_sizes())
def test_page_sizes(wire, method):
    for size in (-1, -(2**31)):
        refuse(wire, f"{method}.page_size", size)
    for size in (0, 1, 1_000, 1_001, 2**31 - 1):
        accept(wire, f"{method}.page_size", size)


def test_credentials_are_not_logged_either(wire):
    for place in ("source.repository", "run.uri", "inputs[0].uri", "parents[0].uri"):
        wire.refuse_field(
            f"record.{place}", "RegisterVersion", **record_with(place, "https://ann:hunter2@example.org/x")
        )
    assert "hunter2" not in wire.server.output()
