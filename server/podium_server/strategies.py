"""How version strings are made: the four strategies, and the order of semantic versions."""

import re
from bisect import bisect_left
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from podium.v1.models_pb2 import (
    VERSION_STRATEGY_GIT,
    VERSION_STRATEGY_INTEGER,
    VERSION_STRATEGY_SEMANTIC,
    VERSION_STRATEGY_TIMESTAMP,
)
from podium.v1.versions_pb2 import (
    VERSION_BUMP_MAJOR,
    VERSION_BUMP_MINOR,
    VERSION_BUMP_UNSPECIFIED,
    VersionBump,
)

from podium_server.errors import InvalidArgument, TooMany, VersionExists, shown
from podium_server.names import MAX_VERSION_BYTES

FIRST_SEMANTIC = "1.0.0"
COMMIT_DIGITS = 9

_NUMBER = r"(?:0|[1-9][0-9]{0,17})"  # fits an int64, as in names.py
_PRE_RELEASE = rf"(?:{_NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_SEMANTIC = re.compile(
    rf"(?P<major>{_NUMBER})\.(?P<minor>{_NUMBER})\.(?P<patch>{_NUMBER})"
    rf"(?:-(?P<pre>{_PRE_RELEASE}(?:\.{_PRE_RELEASE})*))?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
_HIGHEST_PART = 10**18 - 1
_COUNTER = r"(?:-(?:[2-9]|[1-9][0-9]{1,8}))?"
_GIT = re.compile(rf"([0-9a-f]{{7,{COMMIT_DIGITS}}}){_COUNTER}")
_TIME = re.compile(rf"([0-9]{{8}}-[0-9]{{6}}){_COUNTER}")
_INTEGER = re.compile(_NUMBER)
_TIME_FORMAT = "%Y%m%d-%H%M%S"


class Precedence(NamedTuple):
    """A semantic version without its build metadata; sorts as SemVer 2.0.0 section 11 says."""

    major: int
    minor: int
    patch: int
    released: bool
    pre: tuple[tuple[bool, int, str], ...]  # each identifier: whether it is a word, its number, the word


def next_version(
    strategy: int,
    *,
    model_name: str,
    number: int,
    highest: str,
    explicit: str,
    bump: int,
    commit: str,
    now_us: int,
    taken: Callable[[str], bool],
) -> str:
    """The version string of a new version.

    `number` is the one that it gets, `highest` the highest semantic version of the model ('' for none), `explicit` and
    `bump` what the caller asked for ('' and 0 for nothing), `commit` the record's ('' for none), `now_us` microseconds
    since the epoch; `taken` says whether the model has a version string, and is asked O(log n) times. InvalidArgument
    for what does not fit the strategy, VersionExists for an explicit version that is taken, TooMany where no number is
    left.
    """
    if bump not in VersionBump.values():
        raise InvalidArgument(f"{bump} is no bump that this server knows", field="bump")
    if bump != VERSION_BUMP_UNSPECIFIED and (explicit or strategy != VERSION_STRATEGY_SEMANTIC):
        why = "a version is asked for as well" if explicit else "the model's versions are not semantic"
        raise InvalidArgument(f"nothing to bump: {why}", field="bump")
    leaf = model_name.rpartition("/")[2]
    if explicit:
        _check_form(explicit, strategy, leaf, commit)
        if taken(explicit):
            message = f"{model_name} has a version {explicit} of other content already"
            raise VersionExists(message, model=model_name, version=explicit)
        if strategy == VERSION_STRATEGY_INTEGER and explicit != str(number):
            raise InvalidArgument(f"{explicit} is not the next version: that is {number}", field="version")
        return explicit
    if strategy == VERSION_STRATEGY_INTEGER:
        return str(number)
    if strategy == VERSION_STRATEGY_GIT:
        return _first_free(f"{leaf}-{_commit_digits(commit)}", taken)
    if strategy == VERSION_STRATEGY_TIMESTAMP:
        time = datetime.fromtimestamp(now_us // 1_000_000, UTC)
        return _first_free(f"{leaf}-{time.strftime(_TIME_FORMAT)}", taken)
    return _bumped(highest, bump) if highest else FIRST_SEMANTIC


def precedence(version: str) -> Precedence:
    """The sort key of a semantic version; InvalidArgument if it is none."""
    match = _SEMANTIC.fullmatch(version)
    if match is None or len(version) > MAX_VERSION_BYTES:
        message = f"{shown(version)} is not a semantic version: 1.4.0 or 2.0.0-rc.1, numbers of at most 18 digits"
        raise InvalidArgument(message, field="version")
    major, minor, patch, pre = match.group("major", "minor", "patch", "pre")
    identifiers = tuple(_identifier(text) for text in pre.split(".")) if pre else ()
    return Precedence(int(major), int(minor), int(patch), pre is None, identifiers)


def highest(one: str, other: str) -> str:
    """The one of higher precedence, `one` if they are equal; an empty string is no version."""
    if not one or not other:
        return one or other
    return other if precedence(other) > precedence(one) else one


def _identifier(text: str) -> tuple[bool, int, str]:
    return (False, int(text), "") if text.isdigit() else (True, 0, text)


def _bumped(version: str, bump: int) -> str:
    """The next release; a pre-release of such a one leads to it: 2.0.0-rc.1 is followed by the major version 2.0.0."""
    major, minor, patch, released, _ = precedence(version)
    if bump == VERSION_BUMP_MAJOR:
        major, minor, patch = major + (released or minor > 0 or patch > 0), 0, 0
    elif bump == VERSION_BUMP_MINOR:
        minor, patch = minor + (released or patch > 0), 0
    else:
        patch += released
    if max(major, minor, patch) > _HIGHEST_PART:
        raise TooMany(f"no version follows {version} with this bump: its numbers have at most 18 digits", field="bump")
    return f"{major}.{minor}.{patch}"


def _check_form(version: str, strategy: int, leaf: str, commit: str) -> None:
    if strategy == VERSION_STRATEGY_SEMANTIC:
        precedence(version)
    elif strategy == VERSION_STRATEGY_GIT:
        _check_git(version, leaf, commit[:COMMIT_DIGITS])
    elif strategy == VERSION_STRATEGY_TIMESTAMP:
        _check_timestamp(version, leaf)
    elif not _INTEGER.fullmatch(version):
        raise InvalidArgument(f"{shown(version)} is not a version of this model: they are numbers", field="version")


def _check_git(version: str, leaf: str, digits: str) -> None:
    """Where the record says its commit, the version can only be of that one."""
    match = _GIT.fullmatch(version.removeprefix(f"{leaf}-"))
    if match is None or not version.startswith(f"{leaf}-") or (digits and match[1] != digits):
        form = f"{leaf}-{digits or 'COMMIT'}, and -2, -3 ... for more of one commit"
        raise InvalidArgument(f"{shown(version)} is not a version of this model and commit: {form}", field="version")


def _check_timestamp(version: str, leaf: str) -> None:
    match = _TIME.fullmatch(version.removeprefix(f"{leaf}-"))
    if match is None or not version.startswith(f"{leaf}-") or not _is_time(match[1]):
        form = f"{leaf}-YYYYMMDD-HHMMSS, and -2, -3 ... for more of one second"
        raise InvalidArgument(f"{shown(version)} is not a version of this model: {form}", field="version")


def _is_time(text: str) -> bool:
    try:
        datetime.strptime(text, _TIME_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return False
    return True


def _commit_digits(commit: str) -> str:
    if not commit:
        message = "the model's versions are named by commits: say record.source.commit, or a version"
        raise InvalidArgument(message, field="record.source.commit")
    return commit[:COMMIT_DIGITS]


def _first_free(stem: str, taken: Callable[[str], bool]) -> str:
    """The stem, or the stem and the first free counter from 2: doubled until it is free, then halved back.

    Where counters were asked for out of turn, so that there are gaps, it is one that is free, not always the first.
    """
    if not taken(stem):
        return stem
    counter = 2
    while taken(f"{stem}-{counter}"):
        counter *= 2
    first = bisect_left(range(counter), 1, lo=counter // 2 + 1, key=lambda middle: not taken(f"{stem}-{middle}"))
    return f"{stem}-{first}"
