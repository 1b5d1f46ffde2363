"""The files of a version: which paths and contents may stand together, and the manifest that pins them."""

import re
from collections.abc import Sequence
from hashlib import sha256
from itertools import pairwise
from unicodedata import is_normalized, normalize

from podium.v1.records_pb2 import ExternalFile
from podium.v1.versions_pb2 import ManifestFile

from podium_server.errors import InvalidArgument, shown
from podium_server.limits import (
    MAX_BLOB_BYTES,
    MAX_FILES,
    MAX_PATH_BYTES,
    MAX_PATHS_BYTES,
    byte_length,
    check_uri,
    is_line,
)
from podium_server.names import check_digest

_NO_SEGMENTS = frozenset(("", ".", ".."))
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")


def check_files(files: Sequence[ManifestFile], external: Sequence[ExternalFile]) -> None:
    """Checks all that a version's files must be, each and together; InvalidArgument names the first that is not."""
    if len(files) + len(external) > MAX_FILES:
        count = len(files) + len(external)
        raise InvalidArgument(f"{count} files, stored and external together: at most {MAX_FILES}", field="files")
    paths = [file.path for file in files] + [file.path for file in external]
    for index, path in enumerate(paths):
        if fault := _path_fault(path):
            raise InvalidArgument(f"the path {shown(path)} {fault}", field=_path_field(index, len(files)))
    if (size := sum(map(byte_length, paths))) > MAX_PATHS_BYTES:
        raise InvalidArgument(f"all paths together have {size} bytes: at most {MAX_PATHS_BYTES}", field="files")
    _check_apart(paths, len(files))
    _check_contents(files, external)


def manifest_text(files: Sequence[ManifestFile]) -> bytes:
    """The text that `sha256sum` prints for these files, sorted by the bytes of their paths (as Python sorts strings).

    It would escape backslashes and line breaks, but no path has any.
    """
    lines = sorted((file.path, file.digest.removeprefix("sha256:")) for file in files)
    return "".join([f"{digest}  {path}\n" for path, digest in lines]).encode()


def manifest_digest(files: Sequence[ManifestFile]) -> str:
    """The digest of the manifest: a version's digest."""
    return f"sha256:{sha256(manifest_text(files)).hexdigest()}"


def _path_fault(path: str) -> str:
    """What is wrong with this path by itself, empty for nothing."""
    if byte_length(path) > MAX_PATH_BYTES:
        return f"has {byte_length(path)} bytes: at most {MAX_PATH_BYTES}"
    if not is_line(path):
        return "has a control character or line separator"
    if path == "-":
        return "means standard input to sha256sum"
    if "\\" in path:
        return "has a backslash"
    if not _NO_SEGMENTS.isdisjoint(path.split("/")):
        return "is not relative or has an empty, '.' or '..' segment"
    if not is_normalized("NFC", path):
        return "is not in Unicode NFC"
    return ""


def _check_apart(paths: Sequence[str], stored: int) -> None:
    """No two paths are the same, and none is a folder of another, on a file system that ignores case as on any."""
    folded = [_fold(path) + "/" for path in paths]
    # In sorted order a string is followed at once by those that begin with it, so neighbours tell.
    for first, second in pairwise(sorted(folded)):
        if second.startswith(first):
            one = folded.index(first)
            other = folded.index(second, one + 1) if first == second else folded.index(second)
            raise InvalidArgument(_clash(paths[one], paths[other]), field=_path_field(max(one, other), stored))


def _fold(path: str) -> str:
    folded = path.casefold()
    return folded if folded.isascii() else normalize("NFC", folded)


def _clash(one: str, other: str) -> str:
    if one == other:
        return f"the path {shown(one)} is there twice"
    if _fold(one) == _fold(other):
        return f"the paths {shown(one)} and {shown(other)} are the same when case is ignored"
    return f"the path {shown(one)} is both a file and a folder, of {shown(other)}"


def _check_contents(files: Sequence[ManifestFile], external: Sequence[ExternalFile]) -> None:
    sizes: dict[str, int] = {}
    for index, file in enumerate(files):
        field = f"files[{index}]"
        check_digest(file.digest, f"{field}.digest")
        _check_size(file.size_bytes, f"{field}.size_bytes", MAX_BLOB_BYTES)
        _check_same_size(file.digest, file.size_bytes, f"{field}.size_bytes", sizes)
    for index, link in enumerate(external):
        field = f"record.external_files[{index}]"
        check_uri(link.uri, f"{field}.uri")
        if not _URI.fullmatch(link.uri):
            raise InvalidArgument(f"{shown(link.uri)} is not a URI: a scheme, ':' and a place", field=f"{field}.uri")
        if link.digest:
            check_digest(link.digest, f"{field}.digest")
        _check_size(link.size_bytes, f"{field}.size_bytes")
        if link.digest and link.HasField("size_bytes"):
            _check_same_size(link.digest, link.size_bytes, f"{field}.size_bytes", sizes)


def _check_size(size: int, field: str, most: int = 2**63 - 1) -> None:
    if not 0 <= size <= most:
        raise InvalidArgument(f"{field} is {size}: 0 to {most}", field=field)


def _check_same_size(digest: str, size: int, field: str, sizes: dict[str, int]) -> None:
    """Bytes that have one digest have one size."""
    if (known := sizes.setdefault(digest, size)) != size:
        raise InvalidArgument(f"{digest} has {size} bytes here and {known} before", field=field)


def _path_field(index: int, stored: int) -> str:
    return f"files[{index}].path" if index < stored else f"record.external_files[{index - stored}].path"
