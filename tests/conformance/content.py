"""Files of scenarios: what a word of theirs means as bytes, how they are written, and how folders are compared."""

import os
import random
import stat
from hashlib import sha256
from pathlib import Path

SEALED = 1_000_000_000  # seconds since the epoch: the modification time of files in the cache
PIECE_BYTES = 1 << 20


def content_of(path, value):
    """A text is itself; a number is so many bytes, always the same for this path."""
    if isinstance(value, int):
        return random.Random(path).randbytes(value)
    return value.encode()


def write(place, value):
    """Writes a file; {zeros, end} is a sparse one, which ends with a text."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("wb") as file:
        if isinstance(value, dict):
            file.truncate(value["zeros"])
            file.seek(value["zeros"])
            value = value["end"]
        file.write(content_of(place.name, value))


def copy_start(source, target, size):
    """The first so many bytes of a file, without the holes in it."""
    with source.open("rb") as old, target.open("wb") as new:
        new.truncate(size)
        end = 0
        while end < size:
            try:
                begin = os.lseek(old.fileno(), end, os.SEEK_DATA)
            except OSError:  # there is nothing but a hole
                return
            end = min(os.lseek(old.fileno(), begin, os.SEEK_HOLE), size)
            while begin < end:
                piece = os.pread(old.fileno(), min(PIECE_BYTES, end - begin), begin)
                os.pwrite(new.fileno(), piece, begin)
                begin += len(piece)


def digest_file(path):
    with path.open("rb") as file:
        digest = sha256()
        while piece := file.read(PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def tree(folder, *, digests=True):
    """All that is in a folder: files with mode, size, digest and whether they have the time of the cache; folders with mode."""
    files, folders = {}, {}
    for path in sorted([Path(folder), *Path(folder).rglob("*")]):
        status = path.lstat()
        name, mode = path.relative_to(folder).as_posix(), f"{stat.S_IMODE(status.st_mode):04o}"
        if stat.S_ISDIR(status.st_mode):
            folders[name] = mode
        elif stat.S_ISREG(status.st_mode):
            sealed = status.st_mtime_ns == SEALED * 10**9
            files[name] = {"mode": mode, "size": status.st_size, "sealed": sealed} | (
                {"digest": digest_file(path)} if digests else {}
            )
        else:
            files[name] = {"mode": mode, "kind": stat.filemode(status.st_mode)[0]}
    return {"files": files, "folders": folders}


def manifest_digest(folder):
    """The digest of the version that these files make, as the contract says it: of what `sha256sum` prints."""
    paths = sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())
    lines = "".join(f"{digest_file(Path(folder) / path)}  {path}\n" for path in paths)
    return f"sha256:{sha256(lines.encode()).hexdigest()}"


def remove(folder):
    """Removes a folder whose folders may be read-only."""
    for above, names, files in os.walk(folder):
        Path(above).chmod(0o755)
        for name in files:
            (Path(above) / name).unlink()
        for name in names:
            if (Path(above) / name).is_symlink():
                (Path(above) / name).unlink()
    for above, _, _ in os.walk(folder, topdown=False):
        Path(above).rmdir()
