"""Which paths the files of a version may have. A push refuses others early; a pull refuses a server that sends others."""

import re
from collections.abc import Sequence
from itertools import pairwise
from unicodedata import is_normalized, normalize

MAX_FILES = 10_000
MAX_PATH_BYTES = 1_024
MAX_PATHS_BYTES = 2 << 20

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_NOT_A_NAME = {"", ".", ".."}


def fault(path: str) -> str:
    """What is wrong with a path, as the end of a sentence; empty if nothing is."""
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        return "is not valid UTF-8"
    if size > MAX_PATH_BYTES:
        return f"has {size} bytes, more than {MAX_PATH_BYTES}"
    if _CONTROL.search(path):
        return "has a control character or a line separator"
    if "\\" in path:
        return "has a backslash"
    if path == "-":
        return "is '-', which `sha256sum -c` takes for standard input"
    if not _NOT_A_NAME.isdisjoint(path.split("/")):
        return "is absolute or has an empty, '.' or '..' segment"
    if not is_normalized("NFC", path):
        return "is not in Unicode NFC"
    return ""


def clash(paths: Sequence[str]) -> tuple[str, str] | None:
    """Two paths that no folder can hold together where case is ignored: the same, or one a folder of the other."""
    folded = sorted((_fold(path) + "/", path) for path in paths)
    for (first, path), (second, other) in pairwise(folded):
        if second.startswith(first):
            return path, other
    return None


def _fold(path: str) -> str:
    return normalize("NFC", path.casefold())
