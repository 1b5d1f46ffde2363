"""The files of one version as the server tells them, checked: that no path leads out of a folder, and that the digest fits."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from podium.errors import HostileServer
from podium.paths import MAX_FILES, clash, fault
from podium.transfers import Crew
from podium.transport import Transport
from podium.v1.resolve_pb2 import Target
from podium.v1.versions_pb2 import File, ListFilesRequest

_DIGEST = re.compile("sha256:[0-9a-f]{64}")
_PAGE_SIZE = 1000


@dataclass(frozen=True)
class Listing:
    """The files of a version; `external` ones are kept elsewhere."""

    target: Target
    stored: tuple[File, ...]
    external: tuple[File, ...]

    @property
    def manifest(self) -> str:
        """What `sha256sum` prints for the stored files."""
        return manifest_text(self.stored)


def list_files(transport: Transport, target: Target, crew: Crew) -> Listing:
    """All files of a version; HostileServer if they cannot be the files that its digest stands for."""
    request = ListFilesRequest(reference=pinned(target), page_size=_PAGE_SIZE)
    files: list[File] = []
    while len(files) <= MAX_FILES:
        page = transport.persist(lambda stub: stub.ListFiles, request, crew)
        files += page.files
        request.page_token = page.next_page_token
        if not request.page_token:
            break
        if not page.files:
            raise HostileServer(f"the server lists the files of {pinned(target)} without an end")
    check_files(files, pinned(target))
    stored = tuple(file for file in files if not file.uri)
    if sha256(manifest_text(stored).encode()).hexdigest() != target.digest.removeprefix("sha256:"):
        raise HostileServer(f"the server lists files of {pinned(target)} that are not those of {target.digest}")
    return Listing(target, stored, tuple(file for file in files if file.uri))


def pinned(target: Target) -> str:
    """A reference that means this version for good."""
    return f"{target.model}:{target.number}"


def manifest_text(files: Sequence[File]) -> str:
    """One line `<hex sha256>  <path>` for each file, sorted by the bytes of the paths (as Python sorts strings)."""
    lines = sorted((file.path, file.digest.removeprefix("sha256:")) for file in files)
    return "".join(f"{digest}  {path}\n" for path, digest in lines)


def check_files(files: Sequence[File], reference: str) -> None:
    """HostileServer if they cannot be the files of one version."""
    if len(files) > MAX_FILES:
        raise HostileServer(f"the server lists more than {MAX_FILES} files of {reference}")
    sizes: dict[str, int] = {}
    for file in files:
        if wrong := fault(file.path):
            raise HostileServer(f"the server lists the file {file.path!r} of {reference}: the path {wrong}")
        if not file.uri and (not _DIGEST.fullmatch(file.digest) or file.size_bytes < 0):
            raise HostileServer(f"the server lists {file.path!r} of {reference} without a digest and a size")
        if not file.uri and sizes.setdefault(file.digest, file.size_bytes) != file.size_bytes:
            raise HostileServer(f"the server lists {file.path!r} of {reference} with a size that its digest cannot have")
    if both := clash([file.path for file in files]):
        raise HostileServer(f"the server lists {both[0]!r} and {both[1]!r} of {reference}: no folder can hold both")
