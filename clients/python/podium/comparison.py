"""Whether a directory holds exactly the files of a version, byte for byte."""

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from podium.errors import InvalidArgument
from podium.listing import Listing
from podium.sealed import break_seal
from podium.transfers import Crew
from podium.v1.versions_pb2 import File


@dataclass(frozen=True)
class Difference:
    """A file that is not as in the version: missing, changed, or extra (the version has no such file)."""

    path: str
    problem: Literal["missing", "changed", "extra"]


def compare(listing: Listing, directory: Path) -> list[Difference]:
    """What differs, by path; empty if nothing does. External files may be there, and are compared if their digest is known."""
    if not directory.is_dir():
        raise InvalidArgument(f"{directory} is not a folder", fields={"directory": "is not a folder"})
    found: list[Difference] = []
    crew = Crew()

    def check(file: File) -> None:
        crew.check()
        problem = _problem(file, directory / file.path)
        if problem:
            found.append(Difference(file.path, problem))

    crew.run(check, [*listing.stored, *listing.external])
    known = {file.path for file in (*listing.stored, *listing.external)}
    folders = {parent.as_posix() for path in known for parent in PurePosixPath(path).parents}
    found += [Difference(path, "extra") for path in _paths(directory) if path not in known | folders]
    return sorted(found, key=lambda difference: difference.path)


def break_seals(differences: list[Difference], folder: Path) -> None:
    """Marks the files of a version's folder in the cache that are not as they must be, so that the next pull replaces them."""
    for difference in differences:
        if difference.problem == "changed":  # a pull sees by itself what is missing or extra
            with suppress(OSError):
                break_seal(folder / difference.path)


def _problem(file: File, path: Path) -> Literal["missing", "changed"] | None:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None if file.uri else "missing"
    if not stat.S_ISREG(status.st_mode) or (file.HasField("size_bytes") and status.st_size != file.size_bytes):
        return "changed"
    with path.open("rb") as content:
        actual = hashlib.file_digest(content, "sha256").hexdigest()
    return "changed" if file.digest and actual != file.digest.removeprefix("sha256:") else None


def _paths(directory: Path) -> Iterator[str]:
    """The paths of all files, and of links to folders, which are not followed."""
    for folder, folders, names in os.walk(directory):
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        for name in names + links:
            yield (Path(folder) / name).relative_to(directory).as_posix()
