"""Files and folders of the cache that are whole: how they are made, and how it is noticed that somebody changed them."""

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

FILE_MODE, FOLDER_MODE = 0o444, 0o555
FILE_TIME = 1_000_000_000  # of every whole file, 2001-09-09T01:46:40Z: whoever writes to one changes its time

# File systems without links, files that have as many as can be, files of another user.
_NO_LINK = {errno.EMLINK, errno.EPERM, errno.EACCES, errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS}


def seal(path: Path) -> None:
    """Makes a complete file read-only and durable, with the time that says so."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fchmod(descriptor, FILE_MODE)
        os.utime(descriptor, (FILE_TIME, FILE_TIME))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def break_seal(path: Path) -> None:
    """Marks a file that was found damaged, and all hard links to it, so that the next pull replaces it."""
    os.utime(path, follow_symlinks=False)


def is_sealed(path: Path, size: int) -> bool:
    """Whether a file is still as it was sealed, as far as its size, mode and time tell."""
    try:
        return _is_sealed(path.lstat(), size)
    except OSError:
        return False


def has_exactly(folder: Path, files: Mapping[str, int]) -> bool:
    """Whether a folder holds these sealed files (path → size in bytes) and no others."""
    seen = 0
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        try:
            entries = list(os.scandir(folder / prefix))
        except OSError:
            return False
        for entry in entries:
            path = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                waiting.append(path + "/")
            elif path in files and _is_sealed(entry.stat(follow_symlinks=False), files[path]):
                seen += 1
            else:
                return False
    return seen == len(files)


def build(folder: Path, fill: Callable[[Path], None]) -> None:
    """Lets `fill` make the content of a new folder, which then takes this one's place, whole or not at all."""
    new, old = folder.with_name(f"{folder.name}.new"), _old(folder)
    remove(new)
    remove(old)
    new.mkdir(parents=True)
    try:
        fill(new)
    except BaseException:
        remove(new)
        raise
    for path, _, _ in os.walk(new):
        Path(path).chmod(FOLDER_MODE)
    if os.path.lexists(folder):
        folder.rename(old)
    new.rename(folder)
    remove(old)


def dismantle(folder: Path, inodes: set[int]) -> int:
    """Removes a folder, at once for whoever looks; adds the inodes of its files, returns how many bytes only it had."""
    old = _old(folder)
    remove(old)
    try:
        folder.rename(old)
    except FileNotFoundError:
        return 0
    statuses = list(_files(old))
    remove(old)
    inodes |= {status.st_ino for status in statuses}
    return sum(status.st_size for status in statuses if status.st_nlink == 1)


def folder_size(folder: Path) -> int:
    """The bytes of all files in a folder."""
    return sum(status.st_size for status in _files(folder))


def link(source: Path, target: Path) -> None:
    """Gives a sealed file another name, or copies it where that cannot be."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(source)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        shutil.copyfile(source, target)
        seal(target)


def remove(path: Path) -> None:
    """Removes a file or a folder, read-only or not, if it is there. Links are removed, not followed."""
    try:
        is_folder = stat.S_ISDIR(path.lstat().st_mode)
    except FileNotFoundError:
        return
    if not is_folder:
        path.unlink()
        return
    path.chmod(0o700)
    for inner in list(path.iterdir()):
        remove(inner)
    path.rmdir()


def _old(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.old")


def _files(folder: Path) -> Iterator[os.stat_result]:
    for inner, _, names in os.walk(folder):
        for name in names:
            yield (Path(inner) / name).lstat()


def _is_sealed(status: os.stat_result, size: int) -> bool:
    return status.st_mode == stat.S_IFREG | FILE_MODE and status.st_size == size and status.st_mtime == FILE_TIME
