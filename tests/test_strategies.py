"""How version strings are made, and the order of semantic versions."""

import random
from functools import partial
from itertools import pairwise

import pytest
from podium.v1.models_pb2 import VersionStrategy
from podium.v1.versions_pb2 import VersionBump
from podium_server.errors import InvalidArgument, TooMany, VersionExists
from podium_server.names import MAX_VERSION_BYTES, check_version
from podium_server.strategies import highest, next_version, precedence
from refusals import refused_field

SEMANTIC, GIT, TIMESTAMP, INTEGER = (
    VersionStrategy.VERSION_STRATEGY_SEMANTIC,
    VersionStrategy.VERSION_STRATEGY_GIT,
    VersionStrategy.VERSION_STRATEGY_TIMESTAMP,
    VersionStrategy.VERSION_STRATEGY_INTEGER,
)
MAJOR, MINOR, PATCH = VersionBump.VERSION_BUMP_MAJOR, VersionBump.VERSION_BUMP_MINOR, VersionBump.VERSION_BUMP_PATCH
COMMIT = "1f3a9c2d7e5b4a6f8c0d1e2f3a4b5c6d7e8f9a0b"
NOON = 1_737_720_000_999_999  # 2025-01-24 12:00:00.999999 UTC
MOST = "9" * 18

# From SemVer 2.0.0 section 11, lowest first, and what it leaves to the reader.
ASCENDING = [
    "0.0.0-0", "0.0.0", "0.0.1", "0.1.0", "1.0.0-1", "1.0.0-2", "1.0.0-10", "1.0.0-" + MOST, "1.0.0--", "1.0.0-0a", "1.0.0-A",
    "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.1.1", "1.0.0-alpha.beta", "1.0.0-alpha-", "1.0.0-beta", "1.0.0-beta.2",
    "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "1.0.1-rc.1", "1.0.1", "1.0.2", "1.0.10", "1.1.0", "1.9.0", "1.10.0", "2.0.0", "10.0.0",
    f"{MOST}.{MOST}.{MOST}",
]  # fmt: skip


def following(strategy, **asked):
    """The next version of the model risk/fraud whose strings `taken` are taken, for its number 7."""
    taken = set(asked.pop("taken", ()))
    nothing = {"highest": "", "explicit": "", "bump": 0, "commit": "", "now_us": NOON, "number": 7}
    return next_version(strategy, model_name="risk/fraud", taken=taken.__contains__, **{**nothing, **asked})


def refused(strategy, **asked):
    return refused_field(partial(following, strategy, **asked))


def test_semantic_precedence():
    assert sorted(random.Random(7).sample(ASCENDING, len(ASCENDING)), key=precedence) == ASCENDING
    for lower, higher in pairwise(ASCENDING):
        assert highest(lower, higher) == highest(higher, lower) == higher


def test_build_metadata_makes_another_version_of_the_same_precedence():
    assert precedence("1.0.0+a") == precedence("1.0.0+b") == precedence("1.0.0")
    assert precedence("1.0.0-rc.1+a") == precedence("1.0.0-rc.1")
    assert highest("1.0.0+a", "1.0.0+b") == "1.0.0+a"
    assert following(SEMANTIC, explicit="1.0.0+b", highest="1.0.0+a", taken=["1.0.0+a"]) == "1.0.0+b"


def test_no_version_is_lower_than_any():
    assert highest("", "0.0.0-0") == highest("0.0.0-0", "") == "0.0.0-0"
    assert highest("", "") == ""


@pytest.mark.parametrize("version", [*ASCENDING, "1.0.0+001", "1.0.0+a.b-c", "1.0.0-a+b", "1.0.0+" + "x" * (MAX_VERSION_BYTES - 6)])
def test_semantic_versions_can_be_asked_for(version):
    assert following(SEMANTIC, explicit=version) == version
    assert check_version(version, "version") == version


@pytest.mark.parametrize(
    "version",
    ["1", "1.0", "1.0.0.0", "v1.0.0", "01.0.0", "1.00.0", "1.0.01", "1.0.0-", "1.0.0+", "1.0.0-01", "1.0.0-a..b"]
    + ["1.0.0-a.", "1.0.0+a+b", "-1.0.0", "1.-1.0", "1.0.0 ", " 1.0.0", "1.0.0\n", "1.0.0-é", "1.0.0-a_b", "１.0.0"]
    + ["latest", "fraud-1f3a9c2d7", "1.0.0/2", f"1{MOST}.0.0", f"0.1{MOST}.0", f"0.0.1{MOST}", f"1.0.0-1{MOST}"]
    + ["1.0.0+" + "x" * (MAX_VERSION_BYTES - 5), "1." * 1_000],
)
def test_what_is_no_semantic_version(version):
    assert refused(SEMANTIC, explicit=version) == "version"
    assert refused_field(precedence, version) == "version"


@pytest.mark.parametrize("bump", [0, MAJOR, MINOR, PATCH])
def test_the_first_semantic_version_is_1_0_0_whatever_the_bump(bump):
    assert following(SEMANTIC, bump=bump) == "1.0.0"


@pytest.mark.parametrize(
    ("version", "patch", "minor", "major"),
    [
        ("1.4.2", "1.4.3", "1.5.0", "2.0.0"),
        ("0.0.0", "0.0.1", "0.1.0", "1.0.0"),
        ("1.9.9", "1.9.10", "1.10.0", "2.0.0"),
        ("1.4.2+build.7", "1.4.3", "1.5.0", "2.0.0"),
        ("1.4.2-rc.1", "1.4.2", "1.5.0", "2.0.0"),
        ("1.4.2-rc.1+build.7", "1.4.2", "1.5.0", "2.0.0"),
        ("1.5.0-rc.1", "1.5.0", "1.5.0", "2.0.0"),
        ("2.0.0-rc.1", "2.0.0", "2.0.0", "2.0.0"),
        (f"0.0.{int(MOST) - 1}", f"0.0.{MOST}", "0.1.0", "1.0.0"),
    ],
)
def test_bumps(version, patch, minor, major):
    assert following(SEMANTIC, highest=version) == patch
    assert following(SEMANTIC, highest=version, bump=PATCH) == patch
    assert following(SEMANTIC, highest=version, bump=MINOR) == minor
    assert following(SEMANTIC, highest=version, bump=MAJOR) == major


def test_every_bump_of_any_version_is_higher_and_released():
    chance = random.Random(7)
    for _ in range(2_000):
        numbers = ".".join(str(chance.choice([0, 0, 1, 9, 10])) for _ in range(3))
        version = numbers + chance.choice(["", "-0", "-rc.1", "-alpha.beta"]) + chance.choice(["", "+b"])
        following_it = [following(SEMANTIC, highest=version, bump=bump) for bump in (PATCH, MINOR, MAJOR)]
        assert precedence(version) < precedence(following_it[0])
        assert sorted(following_it, key=precedence) == following_it
        assert all(precedence(each).released for each in following_it)


@pytest.mark.parametrize(
    ("version", "bump"), [(f"0.0.{MOST}", PATCH), (f"0.0.{MOST}", 0), (f"0.{MOST}.0", MINOR), (f"{MOST}.0.0", MAJOR)]
)
def test_beyond_the_last_number_a_version_must_be_asked_for(version, bump):
    with pytest.raises(TooMany):
        following(SEMANTIC, highest=version, bump=bump)


def test_a_pre_release_leads_to_the_last_number():
    assert following(SEMANTIC, highest=f"{MOST}.0.0-rc.1", bump=MAJOR) == f"{MOST}.0.0"


@pytest.mark.parametrize("bump", [MAJOR, MINOR, PATCH])
def test_a_bump_stands_alone(bump):
    assert refused(SEMANTIC, bump=bump, explicit="1.0.0") == "bump"
    for strategy in (GIT, TIMESTAMP, INTEGER):
        assert refused(strategy, bump=bump, commit=COMMIT) == "bump"


@pytest.mark.parametrize("bump", [-1, 4, 2**31 - 1])
def test_an_unknown_bump_is_refused(bump):
    for strategy in (SEMANTIC, GIT, TIMESTAMP, INTEGER):
        assert refused(strategy, bump=bump, commit=COMMIT) == "bump"


@pytest.mark.parametrize(
    ("commit", "version"), [(COMMIT, "fraud-1f3a9c2d7"), (COMMIT[:9], "fraud-1f3a9c2d7"), (COMMIT[:7], "fraud-1f3a9c2")]
)
def test_git(commit, version):
    assert following(GIT, commit=commit) == version
    assert following(GIT, commit=commit, taken=[version]) == f"{version}-2"
    assert following(GIT, commit=commit, taken=[version, f"{version}-2"]) == f"{version}-3"


def test_git_needs_a_commit():
    assert refused(GIT) == "record.source.commit"


@pytest.mark.parametrize("version", ["fraud-1f3a9c2d7", "fraud-1f3a9c2d7-2", "fraud-1f3a9c2d7-19", "fraud-1f3a9c2d7-999999999"])
def test_a_git_version_can_be_asked_for(version):
    assert following(GIT, explicit=version, commit=COMMIT) == version
    assert following(GIT, explicit=version) == version


@pytest.mark.parametrize(
    "version",
    ["1f3a9c2d7", "fraud", "fraud-", "fraud-latest", "Fraud-1f3a9c2d7", "risk/fraud-1f3a9c2d7"]
    + ["fraud-1F3A9C2D7", "fraud-1f3a9c2d7e", "fraud-1f3a9c2d7-", "fraud-1f3a9c2d7-0", "fraud-1f3a9c2d7-1"]
    + ["fraud-1f3a9c2d7-02", "fraud-1f3a9c2d7-2-2", "fraud-1f3a9c2d7-x", "fraud-1f3a9c2d7-1000000000"]
    + ["fraud-fraud-1f3a9c2d7", "fraud-1f3a9c", "fraud-1f3a9c2d7\n", "1.0.0", "7"],
)
def test_what_is_no_git_version(version):
    assert refused(GIT, explicit=version) == "version"


@pytest.mark.parametrize("version", ["fraud-1f3a9c2", "fraud-1f3a9c2d", "fraud-1f3a9c2d8", "fraud-abcdef123"])
def test_a_git_version_is_of_the_commit_in_the_record(version):
    assert following(GIT, explicit=version) == version
    assert refused(GIT, explicit=version, commit=COMMIT) == "version"


def test_timestamp():
    assert following(TIMESTAMP) == "fraud-20250124-120000"
    assert following(TIMESTAMP, now_us=NOON + 1) == "fraud-20250124-120001"
    assert following(TIMESTAMP, now_us=0) == "fraud-19700101-000000"
    assert following(TIMESTAMP, taken=["fraud-20250124-120000"]) == "fraud-20250124-120000-2"
    assert following(TIMESTAMP, taken=["fraud-20250124-120000", "fraud-20250124-120000-2"]) == "fraud-20250124-120000-3"


@pytest.mark.parametrize(
    "version", ["fraud-20250124-120000", "fraud-20240229-235959", "fraud-20250124-120000-2", "fraud-00010101-000000"]
)
def test_a_time_can_be_asked_for(version):
    assert following(TIMESTAMP, explicit=version) == version


@pytest.mark.parametrize(
    "version",
    ["20250124-120000", "fraud-20250124", "fraud-20250124-1200", "fraud-20250124120000"]
    + ["fraud-20250124-120000-1", "other-20250124-120000", "fraud-20250229-120000", "fraud-20251301-120000"]
    + ["fraud-20250124-240000", "fraud-20250124-126000", "fraud-20250124-120060", "fraud-00000101-000000"]
    + ["fraud-2025-124-120000", "fraud-２0250124-120000", "1.0.0", "7", "fraud-1f3a9c2d7"],
)
def test_what_is_no_time(version):
    assert refused(TIMESTAMP, explicit=version) == "version"


def test_a_long_leaf_still_makes_a_version():
    leaf = "x" * 256
    name = partial(next_version, model_name=leaf, number=1, highest="", explicit="", bump=0, now_us=NOON)
    taken = {f"{leaf}-20250124-120000", f"{leaf}-1f3a9c2d7"}.__contains__
    for version in (name(TIMESTAMP, commit="", taken=taken), name(GIT, commit=COMMIT, taken=taken)):
        assert check_version(version, "version").endswith("-2")


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33, 5_000])
def test_many_of_one_second_are_counted_without_asking_for_each(count):
    stem = "fraud-20250124-120000"
    there = {stem, *(f"{stem}-{counter}" for counter in range(2, count + 1))}
    asked = []

    def taken(version):
        asked.append(version)
        return version in there

    version = next_version(
        TIMESTAMP, model_name="fraud", number=1, highest="", explicit="", bump=0, commit="", now_us=NOON, taken=taken
    )
    assert version == f"{stem}-{count + 1}"
    assert len(asked) <= 2 * count.bit_length() + 3


def test_a_counter_that_was_asked_for_out_of_turn_is_stepped_over():
    stem = "fraud-20250124-120000"
    for gaps in ({2}, {3}, {2, 4}, {4, 8}, {2, 3, 5, 6, 16}):
        there = [stem, *(f"{stem}-{counter}" for counter in gaps)]
        version = following(TIMESTAMP, taken=there)
        assert version not in there
        assert following(TIMESTAMP, explicit=version) == version


def test_integer():
    assert following(INTEGER) == "7"
    assert following(INTEGER, explicit="7") == "7"


@pytest.mark.parametrize("version", ["8", "1", "0", "07", "+7", "7.0", "1.0.0", "fraud-7", "x", "７", "7\n", "9" * 19])
def test_what_is_not_the_next_integer(version):
    assert refused(INTEGER, explicit=version) == "version"


@pytest.mark.parametrize(
    ("strategy", "version"),
    [(SEMANTIC, "1.0.0"), (GIT, "fraud-1f3a9c2d7"), (TIMESTAMP, "fraud-20250124-120000"), (INTEGER, "3")],
)
def test_a_version_that_is_taken_exists(strategy, version):
    with pytest.raises(VersionExists) as refusal:
        following(strategy, explicit=version, taken=[version])
    assert refusal.value.metadata == {"model": "risk/fraud", "version": version}


def test_the_form_comes_before_what_is_taken():
    with pytest.raises(InvalidArgument):
        following(SEMANTIC, explicit="nonsense", taken=["nonsense"])
