"""A pull: the files of a version as a folder, in the cache or as a copy of it, whole or not at all."""

import errno
import fcntl
import logging
import os
import shutil
import sys
import tempfile
from collections import defaultdict
from contextlib import nullcontext, suppress
from pathlib import Path

from podium.cache import Cache
from podium.direct import Direct
from podium.download import Download
from podium.errors import DiskFull, InvalidArgument
from podium.listing import Listing, pinned
from podium.progress import Meter, Report
from podium.sealed import is_sealed, link
from podium.transfers import Crew
from podium.transport import Transport
from podium.v1.versions_pb2 import File

log = logging.getLogger("podium")

_FICLONE = 0x40049409  # an ioctl of Linux: share the blocks, copy them when one side is written to
_SHOWN = 5


def checkout(transport: Transport, cache: Cache, listing: Listing, report: Report, crew: Crew, *, direct: bool) -> Path:
    """The version's read-only folder in the cache, of which the caller has a hold.

    Only bytes that the cache does not have are fetched, by the crew: if that is stopped, they are partial files. `direct` ones
    come from where the server keeps them, as far as it signs URLs and they can be had there.
    """
    sizes = {file.path: file.size_bytes for file in listing.stored}

    def fill(new: Path) -> None:
        _fill(new, transport, cache, listing, report, crew, direct=direct)

    folder = cache.version(listing.target.digest, sizes, fill, crew.pause)
    if listing.external:
        # What the server says is written out (%r): a log may end in a terminal. Paths have been checked.
        names = ", ".join(f"{file.path} ({file.uri!r})" for file in listing.external[:_SHOWN])
        count = len(listing.external)
        log.warning(
            "%r: %d external files are not fetched: %s%s",
            pinned(listing.target),
            count,
            names,
            ", …" if count > _SHOWN else "",
        )
    return folder


def free_place(destination: Path) -> Path:
    """Where a copy can appear: a new folder, or an empty one that can be replaced; else InvalidArgument."""
    place = Path(os.path.realpath(destination))
    fault = ""
    if place.is_dir():
        if any(place.iterdir()):
            fault = "is not empty: name a new folder"
        elif place.is_mount() or place == Path.cwd():
            fault = "cannot be replaced, since it is the current folder or a mount point: name a new folder in it"
    elif os.path.lexists(place):
        fault = "is not a folder: name a new one"
    if fault:
        raise InvalidArgument(f"{destination} {fault}", fields={"destination": fault})
    return place


def copy_out(folder: Path, place: Path, listing: Listing, report: Report) -> Path:
    """A copy of the version's folder, at a place that `free_place` gave, whose files may be changed."""
    meter, crew = Meter(report, "copying", sum(file.size_bytes for file in listing.stored)), Crew()
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{place.name[:32]}.", dir=place.parent) as temporary:
        new = Path(temporary) / "new"
        new.mkdir()

        def copy(file: File) -> None:
            crew.check()
            _copy_file(folder / file.path, new / file.path)
            meter.add(file.size_bytes)

        crew.run(copy, listing.stored)
        try:
            new.rename(place)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            raise InvalidArgument(f"{place} was made by somebody else meanwhile: name a new folder") from None
    return place


def _fill(folder: Path, transport: Transport, cache: Cache, listing: Listing, report: Report, crew: Crew, *, direct: bool) -> None:
    """Puts links to all files of the version into a new folder, after fetching those that the cache does not have."""
    same: dict[str, list[File]] = defaultdict(list)
    for file in listing.stored:
        same[file.digest].append(file)
    groups = sorted(same.values(), key=lambda files: -files[0].size_bytes)
    missing = [files[0] for files in groups if not is_sealed(cache.file_path(files[0].digest), files[0].size_bytes)]
    _check_room(cache, missing)
    meter = Meter(report, "downloading", sum(file.size_bytes for file in missing))
    reference = pinned(listing.target)
    with Direct(transport, crew, reference, missing) if direct else nullcontext() as bucket:
        download = Download(transport, crew, meter, reference, bucket)

        def place(files: list[File]) -> None:
            first = files[0]
            with cache.file(first.digest, first.size_bytes, lambda new: download.fetch(first, new), crew.pause) as source:
                for file in files:
                    link(source, folder / file.path)

        crew.run(place, groups)


def _check_room(cache: Cache, files: list[File]) -> None:
    """DiskFull before a download that cannot end, whatever a server says how large its files are."""
    cache.root.mkdir(parents=True, exist_ok=True)
    partials = (cache.partial_path(file.digest) for file in files)
    needed = sum(file.size_bytes for file in files) - sum(map(_size_of, partials))
    free = shutil.disk_usage(cache.root).free
    if needed > free:
        raise DiskFull(f"{needed} bytes are to be fetched, and {cache.root} has room for {free}")


def _size_of(path: Path) -> int:
    with suppress(FileNotFoundError):  # another process may complete it, or prune it
        return path.stat().st_size
    return 0


def _copy_file(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        if not (sys.platform == "linux" and _clone(source, target)):
            shutil.copyfile(source, target)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(f"no room left for {target}") from None
        raise


def _clone(source: Path, target: Path) -> bool:
    """Whether the file system could make the copy without copying."""
    with source.open("rb") as old, target.open("wb") as new:
        try:
            fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())
        except OSError:
            return False
    return True
