"""The grammar of names, references and digests, both sides of every limit."""

import pytest
from podium_server.names import (
    MAX_ALIAS_BYTES,
    MAX_MODEL_NAME_BYTES,
    MAX_VERSION_BYTES,
    Reference,
    check_alias,
    check_digest,
    check_model_name,
    check_settable_alias,
    check_stage,
    check_version,
    parse_reference,
    parse_selector,
)
from refusals import refused_field

DIGEST = "sha256:" + "0123456789abcdef" * 4
NOT_ASCII_WORDS = [
    "é",
    "a b",
    " a",
    "a ",
    "a\n",
    "\na",
    "a\0",
    "a\\b",
    "a:b",
    "a@b",
    "a#b",
    "a%2fb",
    "ａ",
    "a\u200b",
    "１",
]


@pytest.mark.parametrize(
    "name",
    ["a", "Z", "0", "7", "fraud", "risk/fraud", "a/b/c", "a.b_c-d", "a..b", "a--", "0/1", "latest"] + ["x" * MAX_MODEL_NAME_BYTES],
)
def test_model_names(name):
    assert check_model_name(name, "model") == name


@pytest.mark.parametrize(
    "name",
    ["", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", ".a", "_a", "-a", "a/.b", "a/-b", *NOT_ASCII_WORDS]
    + ["x" * (MAX_MODEL_NAME_BYTES + 1), "x/" * 127 + "xyz"],
)
def test_what_is_no_model_name(name):
    assert refused_field(check_model_name, name, "model") == "model"


@pytest.mark.parametrize("check", [check_alias, check_stage, check_settable_alias])
@pytest.mark.parametrize("name", ["a", "Z", "0", "42", "champion", "eu.west_1-b", "a..", "x" * MAX_ALIAS_BYTES])
def test_aliases_and_stages(check, name):
    assert check(name, "alias") == name


@pytest.mark.parametrize("check", [check_alias, check_stage, check_settable_alias])
@pytest.mark.parametrize("name", ["", ".", ".a", "-a", "_a", "a/b", "a+b", *NOT_ASCII_WORDS, "x" * (MAX_ALIAS_BYTES + 1)])
def test_what_is_no_alias_and_no_stage(check, name):
    assert refused_field(check, name, "alias") == "alias"


def test_latest_can_be_read_but_not_set():
    assert check_alias("latest", "alias") == "latest"
    assert refused_field(check_settable_alias, "latest", "alias") == "alias"
    assert check_settable_alias("Latest", "alias") == "Latest"


@pytest.mark.parametrize(
    "version", ["1.4.0", "1.0.0-rc.1+build.5", "fraud-1f3a9c2d7", "v7", "7a", "0.0.0", "x" * MAX_VERSION_BYTES]
)
def test_versions(version):
    assert check_version(version, "version") == version


@pytest.mark.parametrize("version", ["", "7", "007", "-1", ".1", "+1", "a/b", *NOT_ASCII_WORDS, "x" * (MAX_VERSION_BYTES + 1)])
def test_what_is_no_version(version):
    assert refused_field(check_version, version, "version") == "version"


def test_digests():
    assert check_digest(DIGEST, "digest") == DIGEST


@pytest.mark.parametrize(
    "digest",
    ["", "sha256:", DIGEST[:-1], DIGEST + "0", DIGEST.upper(), DIGEST.replace("a", "A")]
    + [DIGEST.replace("f", "g"), DIGEST[7:], "sha512:" + DIGEST[7:], f" {DIGEST}", f"{DIGEST}\n"]
    + [DIGEST.replace("0", "０")],
)
def test_what_is_no_digest(digest):
    assert refused_field(check_digest, digest, "digest") == "digest"


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("fraud:1.4.0", "version", "1.4.0"),
        ("fraud:fraud-20250124-120000-2", "version", "fraud-20250124-120000-2"),
        ("fraud:7", "number", "7"),
        ("fraud:0", "number", "0"),
        ("fraud:007", "number", "7"),
        ("fraud:" + "9" * 18, "number", "9" * 18),
        ("fraud@champion", "alias", "champion"),
        ("fraud@latest", "alias", "latest"),
        ("fraud@sha256", "alias", "sha256"),
        ("fraud#production", "stage", "production"),
        (f"fraud@{DIGEST}", "digest", DIGEST),
    ],
)
def test_references(text, kind, value):
    assert parse_reference(text) == Reference("fraud", kind, value)
    assert parse_reference("risk/" + text) == Reference("risk/fraud", kind, value)


@pytest.mark.parametrize(
    "text",
    ["", "fraud", "risk/fraud", ":7", "@champion", "#production", "fraud:", "fraud@", "fraud#"]
    + ["fraud:1.4.0@champion", "fraud@champion#production", "fraud#production:7", "fraud::7", "fraud:-1"]
    + ["fraud: 7", "fraud:7 ", "fraud:" + "9" * 19, "fraud@sha256:", f"fraud@{DIGEST[:-1]}", f"fraud@{DIGEST}0"]
    + [f"fraud:{DIGEST}", "fraud:１", "../fraud:7", "fraud:7\n"],
)
def test_what_is_no_reference(text):
    assert refused_field(parse_reference, text) == "reference"


def test_a_bare_name_is_refused_with_the_forms_it_could_take():
    with pytest.raises(Exception, match=r"'fraud' names a model.* NAME:VERSION, NAME:NUMBER, NAME@ALIAS, NAME#STAGE"):
        parse_reference("fraud")


@pytest.mark.parametrize("text", ["", "7", "champion", "/7", "risk/fraud:7"])
def test_a_selector_begins_with_its_sign(text):
    assert refused_field(parse_selector, text, "version") == "version"
    assert parse_selector(":7", "version") == ("number", "7")


@pytest.mark.parametrize("check", [check_model_name, check_alias, check_version, check_digest])
def test_a_long_name_is_not_repeated_whole(check):
    with pytest.raises(Exception, match=r"x\.\.\.' is not") as refusal:
        check("x" * 100_000, "name")
    assert len(str(refusal.value)) < 400


@pytest.mark.parametrize("text", ["x" * 100_000, "x:" + "9" * 100_000, "x@" + "a" * 100_000, "x" * 256])
def test_a_long_reference_is_not_repeated_whole(text):
    with pytest.raises(Exception, match=r"is not|names a model") as refusal:
        parse_reference(text)
    assert len(str(refusal.value)) < 600
