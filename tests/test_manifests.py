"""Which files may stand together in a version, and the manifest that pins them."""

import random
import subprocess
from hashlib import sha256
from itertools import combinations
from unicodedata import normalize

import pytest
from podium.v1.records_pb2 import ExternalFile
from podium.v1.versions_pb2 import ManifestFile
from podium_server.errors import InvalidArgument
from podium_server.limits import MAX_BLOB_BYTES, MAX_FILES, MAX_PATH_BYTES, MAX_PATHS_BYTES
from podium_server.manifests import check_files, manifest_digest, manifest_text
from refusals import refused_field


def digest(content: bytes) -> str:
    return f"sha256:{sha256(content).hexdigest()}"


A, B = digest(b"a"), digest(b"b")


def stored(*paths: str) -> list[ManifestFile]:
    return [ManifestFile(path=path, digest=A, size_bytes=1) for path in paths]


def external(*paths: str) -> list[ExternalFile]:
    return [ExternalFile(path=path, uri="s3://bucket/key") for path in paths]


@pytest.mark.parametrize(
    "path",
    ["a", "a/b/c", "model.onnx", ".hidden", "..a", "a..", "...", "a/.../b", "a b", " a ", "a/-", "*a", "~", "a:b"]
    + ["C:/a", "%2e%2e/a", "é", "模型/权重.bin", "👩‍🚀", "می‌خواهم", "a\u00a0b", "\U0001fae9", "\ue000"]
    + ["x" * MAX_PATH_BYTES, "é" * (MAX_PATH_BYTES // 2), "a/" * (MAX_PATH_BYTES // 2 - 1) + "ab"],
)
def test_paths(path):
    check_files(stored(path), [])
    check_files([], external(path))


@pytest.mark.parametrize(
    "path",
    ["", "/", "/a", "//a", "a/", "a//b", ".", "..", "./a", "a/.", "a/./b", "../a", "a/..", "a/../b", "a\\b"]
    + ["..\\a", "\\", "a\nb", "a\rb", "a\tb", "a\x00b", "\x00", "\x1f", "\x1b[2J", "\x7f", "\x80", "\x85", "\x9f"]
    + ["a\u2028b", "a\u2029b", "e\u0301", "A\u030a", "\u212b", "\u212a", "\u1100\u1161", "a\u0316\u0301\u0316"]
    + ["x" * (MAX_PATH_BYTES + 1), "é" * (MAX_PATH_BYTES // 2) + "x"],
)
def test_what_is_no_path(path):
    assert refused_field(check_files, stored("fine", path), []) == "files[1].path"
    assert refused_field(check_files, stored("fine"), external("fine too", path)) == "record.external_files[1].path"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a", "a"),
        ("a", "A"),
        ("model/Weights.bin", "Model/weights.BIN"),
        ("é", "É"),
        ("straße", "STRASSE"),
        ("ſ", "s"),
        ("ς", "Σ"),
        ("\u0390", "\u03aa\u0301"),  # one folds to three characters, the other to two, and only their NFC is the same
    ],
)
def test_no_two_paths_are_the_same_when_case_is_folded(one, other):
    assert refused_field(check_files, stored("b", one, other), []) == "files[2].path"
    assert refused_field(check_files, stored(other, "b", one), []) == "files[2].path"
    assert refused_field(check_files, stored("b", one), external(other)) == "record.external_files[0].path"
    assert refused_field(check_files, [], external("b", one, "c", other)) == "record.external_files[3].path"


@pytest.mark.parametrize(("file", "inside"), [("a", "a/b"), ("a", "a/b/c"), ("a/b", "a/b/c"), ("A", "a/b"), ("É/x", "é/X/y")])
def test_no_path_is_a_folder_of_another(file, inside):
    # Sorted plainly, the first three stand between a file and what would be inside it.
    others = [f"{file}!", f"{file}-b", f"{file}.b", f"{file}0", "zz"]
    assert refused_field(check_files, stored(file, *others, inside), []) == "files[6].path"
    assert refused_field(check_files, stored(inside, *others, file), []) == "files[6].path"
    assert refused_field(check_files, stored(*others, inside), external(file)) == "record.external_files[0].path"


@pytest.mark.parametrize(
    ("paths", "says"),
    [
        (["a", "a"], "the path 'a' is there twice"),
        (["a", "A"], "the paths 'a' and 'A' are the same when case is ignored"),
        (["A/b", "a"], "the path 'a' is both a file and a folder, of 'A/b'"),
    ],
)
def test_a_clash_names_both_paths(paths, says):
    with pytest.raises(InvalidArgument, match=f"^{says}$"):
        check_files(stored(*paths), [])


@pytest.mark.parametrize(
    "paths",
    [["a/b", "a/c"], ["a/x", "A/y"], ["a", "ab", "a.b/c", "a-b"], ["a/b", "ab"], ["i", "ı"], ["o", "ö", "oe"]]
    + [["a/a", "b/a"], []],
)
def test_paths_that_may_stand_together(paths):
    check_files(stored(*paths), [])
    check_files(stored(*paths[:1]), external(*paths[1:]))


def test_any_set_of_paths_is_judged_as_every_pair_of_them_is():
    chance = random.Random(7)
    outcomes = set()
    for _ in range(3_000):
        paths = [
            "/".join("".join(chance.choices("aAßs.-0", k=2)) + "x" for _ in range(chance.randint(1, 3)))
            for _ in range(chance.randint(2, 6))
        ]
        folded = [normalize("NFC", path.casefold()) for path in paths]
        clash = any(
            one == other or one.startswith(other + "/") or other.startswith(one + "/") for one, other in combinations(folded, 2)
        )
        if clash:
            assert refused_field(check_files, stored(*paths), []).endswith(".path")
        else:
            check_files(stored(*paths), [])
        outcomes.add(clash)
    assert outcomes == {True, False}


def test_as_many_files_as_the_limit_says():
    paths = [f"{index}" for index in range(MAX_FILES)]
    check_files(stored(*paths), [])
    check_files(stored(*paths[1:]), external("external"))
    assert refused_field(check_files, stored(*paths, "one-more"), []) == "files"
    assert refused_field(check_files, stored(*paths), external("one-more")) == "files"


def test_all_paths_together_are_limited_in_bytes():
    width = MAX_PATH_BYTES // 2
    paths = [f"{index:04}" + "é" * (width - 2) for index in range(MAX_PATHS_BYTES // MAX_PATH_BYTES)]
    check_files(stored(*paths), [])
    check_files(stored(*paths[1:]), external(paths[0]))
    assert refused_field(check_files, stored(*paths, "x"), []) == "files"
    assert refused_field(check_files, stored(*paths), external("x")) == "files"


@pytest.mark.parametrize("size", [0, 1, MAX_BLOB_BYTES])
def test_sizes(size):
    check_files([ManifestFile(path="a", digest=A, size_bytes=size)], [])


@pytest.mark.parametrize("size", [-1, -(2**63), MAX_BLOB_BYTES + 1, 2**63 - 1])
def test_what_is_no_size(size):
    assert refused_field(check_files, [ManifestFile(path="a", digest=A, size_bytes=size)], []) == "files[0].size_bytes"


@pytest.mark.parametrize("wrong", ["", "sha256:", A[:-1], A + "0", A.upper(), A[7:]])
def test_what_is_no_digest(wrong):
    assert refused_field(check_files, [*stored("a"), ManifestFile(path="b", digest=wrong)], []) == "files[1].digest"


def test_bytes_of_one_digest_have_one_size():
    one = ManifestFile(path="a", digest=A, size_bytes=1)
    same = ManifestFile(path="b", digest=A, size_bytes=1)
    more = ManifestFile(path="c", digest=A, size_bytes=2)
    unlike = ManifestFile(path="d", digest=B, size_bytes=2)
    elsewhere = ExternalFile(path="e", uri="s3://b/e", digest=A, size_bytes=2)
    check_files([one, same, unlike], [])
    check_files([one, unlike], [ExternalFile(path="e", uri="s3://b/e", digest=A, size_bytes=1)])
    check_files([one], [ExternalFile(path="e", uri="s3://b/e", digest=A)])
    assert refused_field(check_files, [one, unlike, more], []) == "files[2].size_bytes"
    assert refused_field(check_files, [one], [elsewhere]) == "record.external_files[0].size_bytes"


@pytest.mark.parametrize(
    "more",
    [{}, {"digest": A}, {"size_bytes": 0}, {"digest": A, "size_bytes": 2**63 - 1}]
    + [
        {"uri": uri} for uri in ("file:///data/x", "urn:x", "hf://org/model@main/x", "https://h/é", "a+b-c.d:x", "s:" + "x" * 2_046)
    ],
)
def test_external_files(more):
    check_files([], [ExternalFile(**{"path": "a", "uri": "s3://bucket/key", **more})])


@pytest.mark.parametrize(
    ("more", "field"),
    [({"uri": uri}, "uri") for uri in ("", "/data/x", "data/x", ":x", "1s:x", "s3:", "s3://a b", " s3://a", "s3://a\n")]
    + [({"uri": "s:" + "x" * 2_047}, "uri"), ({"uri": "https://ann:secret@example.org"}, "uri")]
    + [({"digest": A[:-1]}, "digest"), ({"digest": "sha256:", "size_bytes": 1}, "digest")]
    + [({"size_bytes": -1}, "size_bytes"), ({"digest": A, "size_bytes": -1}, "size_bytes")],
)
def test_what_is_no_external_file(more, field):
    file = ExternalFile(**{"path": "a", "uri": "s3://bucket/key", **more})
    assert refused_field(check_files, [], [*external("b"), file]) == f"record.external_files[1].{field}"


def test_the_manifest_is_what_sha256sum_prints_and_checks(tmp_path):
    # The order by bytes is not that by folders, nor by letters, nor (U+FFEE and U+1D4B3) by UTF-16.
    names = [
        "b",
        "a/b",
        "a.b",
        "a b",
        "C",
        "é",
        "z",
        "權",
        "𝒳",
        "\uffee",
        "*star",
        " lead",
        "-dash",
        "a/c/d",
        "#",
        "💾.bin",
    ]
    files = []
    for name in names:
        content = f"content of {name}".encode()
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
        files.append(ManifestFile(path=name, digest=digest(content), size_bytes=len(content)))
    check_files(files, [])
    text = manifest_text(files)
    by_bytes = sorted(names, key=str.encode)
    printed = subprocess.run(["sha256sum", "--", *by_bytes], cwd=tmp_path, stdout=subprocess.PIPE, check=True).stdout
    assert text == printed
    assert manifest_digest(files) == digest(printed)
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet"], cwd=tmp_path, input=text, check=True)
    (tmp_path / names[0]).write_bytes(b"changed")
    assert subprocess.run(["sha256sum", "--check", "--status"], cwd=tmp_path, input=text, check=False).returncode == 1


def test_the_manifest_is_the_same_in_any_order_and_changes_with_every_name_and_byte():
    files = [ManifestFile(path=f"{index % 7}/{index}", digest=digest(b"%d" % index)) for index in range(50)]
    shuffled = random.Random(7).sample(files, len(files))
    assert manifest_text(shuffled) == manifest_text(files)
    renamed = [ManifestFile(path="0/00", digest=files[0].digest), *files[1:]]
    changed = [ManifestFile(path=files[0].path, digest=A), *files[1:]]
    assert len({manifest_digest(each) for each in (files, renamed, changed, files[1:])}) == 4


def test_no_files_have_the_manifest_of_no_text():
    check_files([], [])
    assert manifest_text([]) == b""
    assert manifest_digest([]) == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
