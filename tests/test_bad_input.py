"""Every limit and every grammar of a request's values, through the wire and from both sides. Records: test_bad_records."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import RunningServer
from wire import SERVICE, Wire, put

DIGEST = "sha256:" + "0123456789abcdef" * 4
UNKNOWN_NUMBERS = [99, -1, 2**31 - 1, -(2**31)]

# What is no name, or no longer one where there are no folders; and what is no digest.
NOT_WORDS = [
    "é", "a b", " a", "a ", "a\n", "a\t", "a\0", "a\\b", "a%2fb", "ａ", "a\u200b", "１", "-a", ".a", "_a", "..", ".",
]  # fmt: skip
NOT_MODEL_NAMES = ["/", "/a", "a/", "a//b", "../a", "a/../b", "a/.b", "a:b", "a@b", "a#b", *NOT_WORDS]
NOT_WORDS_OF_ONE = [*NOT_WORDS, "a/b", "a+b", "a:b", "a@b", "a#b"]
NOT_DIGESTS = [
    "sha256:", "sha256:" + "0" * 63, "sha256:" + "0" * 65, "sha256:" + "A" * 64, "SHA256:" + "0" * 64, "sha512:" + "0" * 64,
    "0" * 64, "md5:" + "0" * 32, "sha256:" + "g" * 64, DIGEST + "\n", " " + DIGEST, "sha256:../../../../etc/passwd", "é",
]  # fmt: skip


@pytest.fixture(scope="module")
def wire(server: RunningServer) -> Iterator[Wire]:
    """The file's server, with a model `base` of one version."""
    wire = Wire(server)
    wire.call("CreateModel", name="base")
    wire.call("RegisterVersion", model="base", aliases=["champion"])
    yield wire
    wire.close()


# Names, references, digests.

MODEL_NAMES = [
    "CreateModel.name", "GetModel.name", "UpdateModel.model.name", "RegisterVersion.model", "ListVersions.model",
    "DeleteAlias.model", "ListAliases.model", "ListEvents.filter.model", "FindMissingBlobs.model",
    "UploadBlob.header.model",
]  # fmt: skip


@pytest.mark.parametrize("place", MODEL_NAMES)
def test_model_names(wire, place):
    for name in [*NOT_MODEL_NAMES, "x" * 257, "x/" * 128 + "x"] + ([] if place == "ListEvents.filter.model" else [""]):
        wire.refuse_at(place, name)
    if place == "CreateModel.name":
        wire.accept_at(place, "x" * 256)
    else:
        longest = "y/" * 127 + "yy"
        assert wire.refuse_at(place, longest, reason="MODEL_NOT_FOUND").metadata == {"model": longest}


def test_names_that_differ_in_case_are_two_models(wire):
    for name in ("case/a", "case/A", "CASE/a"):
        wire.call("CreateModel", name=name)
    assert wire.refuse("MODEL_EXISTS", "CreateModel", name="case/A").metadata == {"model": "case/A"}


REFERENCES = [
    "GetVersion.reference", "ListFiles.reference", "UpdateVersion.reference", "AddNote.reference", "ResolveVersion.reference",
    "DownloadArtifact.reference", "TransitionStage.reference", "RegisterVersion.record.parents[0].reference",
]  # fmt: skip
NOT_REFERENCES = [
    "base", "base/", "base:", "base@", "base#", ":1", "@champion", "#production", "base:1:2", "base::1", "base@@a", "base##a",
    "base:1@a", "base@a#b", "base:1/2", "base@a/b", "base:é", "base: 1", "base:1 ", " base:1", "base:1\n", "base:1\0",
    "base:-1", "base:+1", "base:１", "base:" + "9" * 19, "base:v" + "x" * 320, "base@" + "x" * 129, "base#" + "x" * 129,
    "../base:1", "/base:1", "base/:1", "base\\a:1", "x" * 257 + ":1", "😀" * 1_000, "x" * 100_000,
    *("base@" + digest for digest in NOT_DIGESTS if ":" in digest),
]  # fmt: skip
MISSING = {
    "base:0": "VERSION_NOT_FOUND", "base:" + "9" * 18: "VERSION_NOT_FOUND", "base:v" + "x" * 319: "VERSION_NOT_FOUND",
    "base@nobody": "ALIAS_NOT_FOUND", "base@Champion": "ALIAS_NOT_FOUND", "base#staging": "STAGE_EMPTY",
    "base@" + DIGEST: "VERSION_NOT_FOUND", "nobody:1": "MODEL_NOT_FOUND", "nobody:1.0.0": "MODEL_NOT_FOUND",
    "nobody@" + "x" * 128: "MODEL_NOT_FOUND", "nobody#" + "x" * 128: "MODEL_NOT_FOUND", "nobody@latest": "MODEL_NOT_FOUND",
    "nobody@" + DIGEST: "MODEL_NOT_FOUND", "z" * 256 + ":1": "MODEL_NOT_FOUND",
}  # fmt: skip


@pytest.mark.parametrize("place", REFERENCES)
def test_references(wire, place):
    for reference in NOT_REFERENCES + ([] if "parents" in place else [""]):
        wire.refuse_at(place, reference)
    assert "NAME@ALIAS" in wire.refuse_at(place, "base").message
    for reference, reason in MISSING.items():
        wire.refuse_at(place, reference, reason=reason)


@pytest.mark.parametrize("place", ["SetAlias.alias", "DeleteAlias.alias", "RegisterVersion.aliases[0]"])
def test_aliases(wire, place):
    for alias in ["", "latest", "x" * 129, *NOT_WORDS_OF_ONE]:
        wire.refuse_at(place, alias, field=place.partition(".")[2].partition("[")[0])
    for alias in ("x" * 128, "Latest"):
        wire.call("SetAlias", reference="base:1", alias=alias)
        wire.accept_at(place, alias)


STAGES = ["TransitionStage.stage", "TransitionStage.expected_stage", "RegisterVersion.stage", "ListVersions.filter.stage"]


@pytest.mark.parametrize("place", STAGES)
def test_stages(wire, place):
    for stage in ["x" * 129, *NOT_WORDS_OF_ONE] + ([""] if place == "TransitionStage.stage" else []):
        wire.refuse_at(place, stage)
    wire.accept_at(place, "development")
    for unknown in ("x" * 128, "Development"):
        if place == "ListVersions.filter.stage":
            assert not wire.accept_at(place, unknown).versions
        elif place == "TransitionStage.expected_stage":
            assert wire.refuse_at(place, unknown, reason="CONFLICT").metadata == {"current": "development"}
        else:  # the lifecycle must have it
            wire.refuse_at(place, unknown)


def test_digests(wire):
    for digest in [*NOT_DIGESTS, ""]:
        wire.refuse_at("UploadBlob.header.digest", digest)
        wire.refuse_at("FindMissingBlobs.blobs[0].digest", digest)
        files = [{"path": "a", "digest": DIGEST, "size_bytes": 1}, {"path": "b", "digest": digest, "size_bytes": 1}]
        wire.refuse_field("files[1].digest", "RegisterVersion", model="base", files=files)


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
NOT_VERSIONS = ["x" * 321, "a/b", "a b", "a:b", "é", "latest@", "1.0.0\n", "\0", "..", "../x"]


@pytest.mark.parametrize("strategy", VERSIONS)
def test_version_strings(wire, strategy):
    name = f"{strategy}/leaf"
    wire.call("CreateModel", name=name, strategy=list(VERSIONS).index(strategy) + 1)
    taken, refused = VERSIONS[strategy]
    for version in refused + NOT_VERSIONS:
        wire.refuse_field("version", "RegisterVersion", model=name, version=version)
    for version in taken:
        reply = wire.call("RegisterVersion", model=name, version=version, record={"author": version})
        assert reply.version.version == version
        wire.refuse("VERSION_EXISTS", "RegisterVersion", model=name, version=version, record={"author": "another"})
    wire.refuse_field("bump", "RegisterVersion", model=name, version=taken[0], bump=1)
    if strategy != "semantic":
        wire.refuse_field("bump", "RegisterVersion", model=name, bump=1)
    if strategy == "git":
        wire.refuse_field("record.source.commit", "RegisterVersion", model=name, record={"author": "no commit"})


@pytest.mark.parametrize("lifecycle", ["Default", "none", "é", "x" * 100_000, "default\n"])
def test_lifecycles_that_are_none(wire, lifecycle):
    wire.refuse_at("CreateModel.lifecycle", lifecycle)


def test_transitions_outside_the_lifecycle_say_which_are_possible(wire):
    wire.call("CreateModel", name="moves")
    wire.call("RegisterVersion", model="moves")
    refusal = wire.refuse("TRANSITION_NOT_ALLOWED", "TransitionStage", reference="moves:1", stage="production")
    assert refusal.metadata == {"current": "development", "possible": "archived,staging", "with_rollback": ""}
    author = {"author": "another"}
    wire.refuse("TRANSITION_NOT_ALLOWED", "RegisterVersion", model="moves", record=author, stage="production")
    archiving = {"reference": "moves:1", "stage": "archived", "archive_existing": True}
    wire.refuse_field("archive_existing", "TransitionStage", **archiving)


# Texts, labels, masks.

TEXTS = {  # at most so many bytes
    "CreateModel.description": 65_536, "UpdateModel.model.description": 65_536, "RegisterVersion.description": 65_536,
    "UpdateVersion.version.description": 65_536, "AddNote.text": 8_192, "RegisterVersion.reason": 4_096,
    "TransitionStage.reason": 4_096, "SetAlias.reason": 4_096, "DeleteAlias.reason": 4_096,
}  # fmt: skip


@pytest.mark.parametrize(("place", "most"), TEXTS.items())
def test_texts(wire, place, most):
    for text in ("x" * (most + 1), "é" * (most // 2) + "x", "a\0b"):
        wire.refuse_at(place, text)
    for text in ("é" * (most // 2), "two\nlines\tand \x1b", ""):
        wire.call("SetAlias", reference="base:1", alias="champion")
        if place == "AddNote.text" and not text:
            wire.refuse_at(place, text)
        else:
            wire.accept_at(place, text)


LABELS = [
    "CreateModel.labels", "UpdateModel.model.labels", "RegisterVersion.labels", "UpdateVersion.version.labels",
    "ListModels.filter.labels", "ListVersions.filter.labels",
]  # fmt: skip


@pytest.mark.parametrize("place", LABELS)
def test_labels(wire, place):
    for key in ("", "a\nb", "a\0b", "x" * 251, "é" * 125 + "x"):
        wire.refuse_at(place, {"fine": "", key: "value"})
    for value in ("x" * 4_097, "é" * 2_048 + "x", "\0"):
        wire.refuse_at(place, {"key": value})
    for many in (101, 100_000):
        wire.refuse_at(place, {f"key-{number}": "" for number in range(many)})
    wire.accept_at(place, {f"{number:03}".rjust(250, "x"): "" for number in range(99)} | {"é" * 125: "é" * 2_048})
    wire.accept_at(place, {"a.b": "two\nlines"})


@pytest.mark.parametrize(("method", "resource"), [("UpdateModel", "model"), ("UpdateVersion", "version")])
def test_labels_are_counted_together_with_those_that_stay(wire, method, resource):
    base = {"model": {"name": "base"}} if resource == "model" else {"reference": "base:1"}
    many = {f"key-{number}": "" for number in range(100)}
    wire.call(method, **put(base, f"{resource}.labels", many), update_mask={"paths": ["labels"]})
    wire.refuse_field("labels", method, **base, set_labels={"one-more": ""})
    reply = wire.call(method, **base, set_labels={"one-more": ""}, remove_labels=["key-7", "never there"])
    assert getattr(reply, resource).labels == {**{key: "" for key in many if key != "key-7"}, "one-more": ""}


NOT_MASKS = [
    [], ["name"], ["uid"], ["number"], ["version"], ["digest"], ["record"], ["record.author"], ["stage"], ["aliases"], ["etag"],
    ["description", "strategy"], ["lifecycle"], ["create_time"], ["*"], [""], ["."], ["Labels"], ["labels."], ["labels.a"],
    ["description.x"], ["labelsx"], [".labels"], ["nothing"], ["x" * 100_000], ["😀" * 1_000], ["labels"] * 3,
]  # fmt: skip


@pytest.mark.parametrize("place", ["UpdateModel.update_mask", "UpdateVersion.update_mask"])
def test_masks(wire, place):
    for paths in NOT_MASKS:
        wire.refuse_at(place, {"paths": paths})
    for paths in (["description"], ["labels"], ["labels", "description"]):
        wire.accept_at(place, {"paths": paths})


@pytest.mark.parametrize(
    ("method", "base"), [("UpdateModel", {"model": {"name": "base"}}), ("UpdateVersion", {"reference": "base:1"})]
)
def test_labels_by_key(wire, method, base):
    wire.refuse_field("update_mask", method, **base)
    for change in ({"set_labels": {"a": "b"}}, {"remove_labels": ["a"]}):
        wire.refuse_field("update_mask", method, **base, **change, update_mask={"paths": ["labels"]})
        wire.call(method, **base, **change, update_mask={"paths": ["description"]})
    for labels in (
        {"": "v"},
        {"a\nb": "v"},
        {"x" * 251: "v"},
        {"k": "x" * 4_097},
        {f"key-{number}": "" for number in range(100_000)},
    ):
        wire.refuse_field("set_labels", method, **base, set_labels=labels)
    for keys in ([""], ["a\nb"], ["x" * 251], [f"key-{number}" for number in range(101)]):
        wire.refuse_field("remove_labels", method, **base, remove_labels=keys)
    wire.refuse_field("remove_labels", method, **base, set_labels={"a": "b"}, remove_labels=["a"])
    wire.call(method, **base, remove_labels=["x" * 250])


def test_what_a_mask_does_not_name_is_not_looked_at(wire):
    before = wire.call("GetVersion", reference="base:1").version
    labels = {"": "\0", "a": "b"}
    version = {"number": 7, "stage": "production", "description": "x" * 65_537, "labels": labels, "aliases": ["/"]}
    after = wire.call("UpdateVersion", reference="base:1", version=version, set_labels={"Ab": "b"}).version
    assert after.labels["Ab"] == "b"
    assert (after.number, after.stage, after.description) == (1, before.stage, before.description)
    wire.call("UpdateModel", model={"name": "base", "strategy": 99}, update_mask={"paths": ["description"]})


# Numbers.

ENUMS = [
    "CreateModel.strategy", "RegisterVersion.bump", "GetVersion.view", "ListVersions.view", "ListEvents.filter.kinds[0]",
    "RegisterVersion.record.inputs[0].kind",
]  # fmt: skip


@pytest.mark.parametrize("place", ENUMS)
def test_unknown_enum_numbers(wire, place):
    for number in UNKNOWN_NUMBERS + ([0] if "kind" in place else []):
        wire.refuse_at(place, number, field="filter.kinds" if "kinds" in place else "")


def test_every_enum_of_the_requests_is_tried():
    def enums(message, seen: frozenset[str]) -> Iterator[str]:
        for field in message.fields:
            if field.enum_type:
                yield field.enum_type.name
            elif field.message_type and field.message_type.full_name not in seen:
                yield from enums(field.message_type, seen | {field.message_type.full_name})

    found = {name for method in SERVICE.methods for name in enums(method.input_type, frozenset())}
    assert found == {"VersionStrategy", "VersionBump", "VersionView", "InputKind", "EventKind"}


def test_kinds_are_as_many_as_there_are(wire):
    wire.accept_at("ListEvents.filter.kinds", list(range(1, 10)))
    wire.refuse_at("ListEvents.filter.kinds", [1] * 100_000)


@pytest.mark.parametrize("place", ["SetAlias.expected_number", "DeleteAlias.expected_number"])
def test_expected_numbers(wire, place):
    for number in (-1, -(2**63)):
        wire.refuse_at(place, number)
    wire.call("SetAlias", reference="base:1", alias="champion")
    for number in (0, 2, 2**63 - 1):
        assert wire.refuse_at(place, number, reason="CONFLICT").metadata == {"current": "1"}
    wire.accept_at(place, 1)


@pytest.mark.parametrize("place", ["UpdateModel.model.etag", "UpdateVersion.version.etag"])
def test_an_etag_that_is_not_the_current_one(wire, place):
    for etag in ("x", "é", "0" * 16, "x" * 100_000):
        refusal = wire.refuse_at(place, etag, reason="CONFLICT")
        wire.accept_at(place, refusal.metadata["current"])


@pytest.mark.parametrize("method", [method.name for method in SERVICE.methods if "page_size" in method.input_type.fields_by_name])
def test_page_sizes(wire, method):
    for size in (-1, -(2**31)):
        wire.refuse_at(f"{method}.page_size", size)
    for size in (0, 1, 1_000, 1_001, 2**31 - 1):
        wire.accept_at(f"{method}.page_size", size)


# Filters.


def test_prefixes_of_names(wire):
    for prefix in ("x" * 257, "a\nb", "a\0"):
        wire.refuse_at("ListModels.filter.name_prefix", prefix)
    assert [model.name for model in wire.call("ListModels", filter={"name_prefix": "bas"}).models] == ["base"]
    for prefix in ("%", "_ase", "b%", "BAS", "é", "'", "z" * 256):
        assert not wire.accept_at("ListModels.filter.name_prefix", prefix).models


def test_names_of_events(wire):
    for name in ("a\nb", "x" * 1_025):
        wire.refuse_at("ListEvents.filter.name", name)
    assert not wire.accept_at("ListEvents.filter.name", "x" * 1_024).events
    assert {event.name for event in wire.accept_at("ListEvents.filter.name", "champion").events} == {"champion"}


# How many there may be.


def test_how_many_aliases_one_call_sets_and_a_model_has(wire):
    wire.call("CreateModel", name="aliased")
    names = [f"alias-{number}" for number in range(1_001)]
    wire.refuse_field("aliases", "RegisterVersion", model="aliased", aliases=names[:101])
    for start in range(0, 1_000, 100):
        wire.call("RegisterVersion", model="aliased", aliases=names[start : start + 100])
    # The version is made and one alias moved before the other is too many.
    wire.refuse("TOO_MANY", "RegisterVersion", model="aliased", aliases=[names[5], names[-1]], record={"author": "new"})
    wire.refuse("TOO_MANY", "SetAlias", reference="aliased:1", alias=names[-1])
    wire.call("DeleteAlias", model="aliased", alias=names[0])
    wire.call("SetAlias", reference="aliased:1", alias=names[-1])


def test_how_many_versions_one_call_archives(wire):
    wire.call("CreateModel", name="crowd", lifecycle="permissive")

    def register(number: int) -> None:
        wire.call("RegisterVersion", model="crowd", record={"author": f"{number}"}, stage="production")

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(register, range(1_002)))
    replace = {"reference": "crowd:1", "stage": "production", "archive_existing": True}
    wire.refuse("TOO_MANY", "TransitionStage", **replace)
    wire.call("TransitionStage", reference="crowd:2", stage="staging")
    assert list(wire.call("TransitionStage", **replace).archived_numbers) == list(range(3, 1_003))
