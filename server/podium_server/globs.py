"""Globs over model names, matched in linear time: all states of the pattern at once, as the bits of one number.

A backtracking matcher takes polynomial time in the number of stars, and whoever opens a watch chooses the glob.
(R. Baeza-Yates, G. Gonnet: A New Approach to Text Searching, CACM 35(10), 1992.)
"""

import re
from functools import lru_cache

from podium_server.errors import InvalidArgument, shown
from podium_server.names import MAX_MODEL_NAME_BYTES

_GLOB = re.compile("[A-Za-z0-9._/*-]*")
_PART = re.compile(r"\*+|[^*]")


def is_glob(text: str) -> bool:
    """Whether it can match more than the one name that it spells."""
    return "*" in text


def check_glob(text: str, field: str) -> str:
    """Returns the text if it is a glob or the whole of a name."""
    if not _GLOB.fullmatch(text) or len(text) > MAX_MODEL_NAME_BYTES:
        raise InvalidArgument(
            f"{shown(text)} is not a glob: the characters of model names, '*' and '**', at most {MAX_MODEL_NAME_BYTES} bytes",
            field=field,
        )
    return text


@lru_cache(maxsize=65_536)
def glob_matches(glob: str, name: str) -> bool:
    """Whether a name matches: `*` stands for any run of characters but `/`, two or more stars for any run."""
    literals, within, across, end = _compile(glob)
    wild = within | across
    states = 1 | (1 & wild) << 1
    for character in name:
        stay = states & (across if character == "/" else wild)
        states = stay | (states & literals.get(character, 0)) << 1
        states |= (states & wild) << 1
        if not states:
            return False
    return bool(states & end)


@lru_cache(maxsize=1_024)
def _compile(glob: str) -> tuple[dict[str, int], int, int, int]:
    """The states before each character, before `*`, before `**`, and the last state. No two wild ones are adjacent."""
    literals: dict[str, int] = {}
    within = across = 0
    parts = _PART.findall(glob)
    for place, part in enumerate(parts):
        if part == "*":
            within |= 1 << place
        elif part[0] == "*":
            across |= 1 << place
        else:
            literals[part] = literals.get(part, 0) | 1 << place
    return literals, within, across, 1 << len(parts)
