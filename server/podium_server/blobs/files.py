"""What the local store needs of the file system, with its errors translated."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from podium_server.blobs.errors import StoreFull, StoreUnavailable

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def translated() -> Iterator[None]:
    """Turns the errors of the file system into the store's."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StoreFull("the disk of the blobs is full: free some space and try again") from error
        raise StoreUnavailable(f"the folder of the blobs does not work: {error}") from error


def sync_folder(path: Path) -> None:
    """Makes names that were made, moved or removed in a folder durable."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
