"""Blobs as files of one folder: `sha256/ab/abcd…` finished, `partial/abcd….TOKEN` being written."""

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from podium_server.blobs.base import Usage
from podium_server.blobs.errors import NoSuchBlob, SigningFailed, StoreUnavailable
from podium_server.blobs.files import sync_folder, translated
from podium_server.blobs.local_partial import LocalPartial, create, resumed

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


class LocalStore:
    """Blobs in a folder of a local file system, one that has hard links and locks."""

    signs = False

    def __init__(self, folder: Path) -> None:
        self._owner = folder / "registry"
        self._blobs = folder / "sha256"
        self._partials = folder / "partial"
        with translated():
            folder.mkdir(parents=True, exist_ok=True)
            self._blobs.mkdir(exist_ok=True)
            self._partials.mkdir(exist_ok=True)
            sync_folder(folder)
            sync_folder(folder.parent)

    def owner(self, registry: str) -> str:
        """See BlobStore.owner."""
        with translated():
            if not self._blobs.is_dir():
                raise self._gone()
            if not self._owner.exists():
                self._claim(registry)
            return self._owner.read_text()

    def _claim(self, registry: str) -> None:
        """Makes the file, whole or not at all, unless another process is first."""
        claim = self._partials / f"registry.{secrets.token_hex(8)}"
        with claim.open("x") as file:
            file.write(registry)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(claim, self._owner)
        claim.unlink()
        sync_folder(self._owner.parent)

    def begin(self, digest: str, size: int, resume: str = "") -> LocalPartial:  # noqa: ARG002 - other stores must know the size
        """See BlobStore.begin."""
        final = self._path(digest)
        with translated():
            return resumed(self._partials, final, resume) or create(self._partials, final)

    def open(self, digest: str, offset: int = 0) -> "LocalReader":
        """See BlobStore.open."""
        with self._translated(digest):
            return LocalReader(self._path(digest), offset)

    def size(self, digest: str) -> int:
        """See BlobStore.size."""
        with self._translated(digest):
            return self._path(digest).stat().st_size

    def delete(self, digest: str) -> None:
        """See BlobStore.delete."""
        path = self._path(digest)
        with self._translated(digest):
            path.unlink()
            sync_folder(path.parent)

    def list(self) -> Iterator[str]:
        """See BlobStore.list."""
        with translated():
            for shard in self._blobs.iterdir():
                for path in shard.iterdir():
                    yield f"sha256:{path.name}"

    def usage(self) -> Usage:
        """See BlobStore.usage."""
        with translated():
            disk = os.statvfs(self._blobs)
        return Usage(disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize)

    def sign(self, _digest: str, _seconds: int, /) -> str:
        """See BlobStore.sign."""
        raise SigningFailed("a folder has no URLs that others could read")

    def _gone(self) -> StoreUnavailable:
        return StoreUnavailable(f"the folder of the blobs is gone: {self._blobs}")

    def _path(self, digest: str) -> Path:
        match = _DIGEST.fullmatch(digest)
        if match is None:
            raise ValueError(f"{digest!r} is not a digest")
        return self._blobs / match[1][:2] / match[1]

    @contextmanager
    def _translated(self, digest: str) -> Iterator[None]:
        with translated():
            try:
                yield
            except FileNotFoundError as error:
                if not self._blobs.is_dir():  # a volume that is not mounted is no loss of data
                    raise self._gone() from error
                raise NoSuchBlob(f"there is no blob {digest}") from error


class LocalReader:
    """See Reader."""

    def __init__(self, path: Path, offset: int) -> None:
        self._file = path.open("rb")
        self._file.seek(offset)

    def read(self, size: int) -> bytes:
        """See Reader.read."""
        with translated():
            return self._file.read(size)

    def close(self) -> None:
        """See Reader.close."""
        self._file.close()
