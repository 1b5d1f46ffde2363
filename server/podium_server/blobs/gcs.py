"""Blobs as objects of a Google Cloud Storage bucket: `PREFIX/sha256/ab/abcd…` finished, `PREFIX/partial/abcd….TOKEN` being written.

The names of finished blobs are those of the local store, so either can be copied to the other. What nobody goes on with stays under
`PREFIX/partial/`; a week later, when its session has ended, a lifecycle rule of the bucket may delete it.
"""

import re
from collections.abc import Iterator
from contextlib import suppress

from google.api_core.exceptions import PreconditionFailed
from google.auth.exceptions import GoogleAuthError
from requests import RequestException

from podium_server.blobs.base import Usage
from podium_server.blobs.errors import NoSuchBlob, SigningFailed, StoreUnavailable
from podium_server.blobs.gcs_bucket import GcsBucket
from podium_server.blobs.gcs_partial import GcsPartial, Place, resumed
from podium_server.blobs.gcs_reader import GcsReader, Ranges
from podium_server.blobs.gcs_signer import signer_of

OWNER_BYTES = 100
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_FINISHED = re.compile(r"sha256/[0-9a-f]{2}/([0-9a-f]{64})")


class GcsStore:
    """Blobs in a bucket, which need not be there yet: once it is, the store works."""

    def __init__(self, bucket: str, prefix: str) -> None:
        self._bucket = GcsBucket(bucket)
        self._ranges = Ranges(self._bucket)
        self._prefix = f"{prefix}/" if prefix else ""
        self._signer = signer_of(self._bucket.credentials)

    @property
    def signs(self) -> bool:
        """See BlobStore.signs."""
        return self._signer is not None

    def owner(self, registry: str) -> str:
        """See BlobStore.owner."""
        name = f"{self._prefix}registry"
        found = self._bucket.read(name, 0, OWNER_BYTES, patience=0)
        if found is None:
            with suppress(PreconditionFailed):  # another process was first
                self._bucket.put(name, registry.encode(), 0, patience=0)
            found = self._bucket.read(name, 0, OWNER_BYTES, patience=0)
        return found[0].decode("ascii", "replace") if found else ""

    def begin(self, digest: str, size: int, resume: str = "") -> GcsPartial:  # noqa: ARG002 - other stores must know the size
        """See BlobStore.begin."""
        final = self._name(digest)
        stem = f"{self._prefix}partial/{digest.removeprefix('sha256:')}."
        return resumed(Place(self._bucket, self._ranges, final, stem), resume)

    def open(self, digest: str, offset: int = 0) -> GcsReader:
        """See BlobStore.open."""
        reader = self._ranges.open(self._name(digest), offset)
        if reader is None:
            raise self._missing(digest)
        return reader

    def size(self, digest: str) -> int:
        """See BlobStore.size."""
        stored = self._bucket.stat(self._name(digest))
        if stored is None:
            raise self._missing(digest)
        return stored.size

    def delete(self, digest: str) -> None:
        """See BlobStore.delete."""
        stored = self._bucket.stat(self._name(digest))
        if stored is None:
            raise self._missing(digest)
        self._bucket.delete(stored.name, stored.generation)

    def list(self) -> Iterator[str]:
        """See BlobStore.list."""
        for name in self._bucket.names(f"{self._prefix}sha256/"):
            if match := _FINISHED.fullmatch(name.removeprefix(self._prefix)):
                yield f"sha256:{match[1]}"

    def usage(self) -> Usage:
        """See BlobStore.usage."""
        return Usage(None, None)

    def sign(self, digest: str, seconds: int, /) -> str:
        """See BlobStore.sign."""
        name = self._name(digest)
        if self._signer is None:
            raise SigningFailed("the server's account cannot sign URLs")
        try:
            return self._bucket.sign(name, seconds, self._signer)
        except StoreUnavailable as error:
            raise SigningFailed(str(error)) from None
        except (GoogleAuthError, RequestException) as error:
            raise SigningFailed(f"the server's account cannot sign URLs now: {type(error).__name__}") from None

    def _name(self, digest: str) -> str:
        match = _DIGEST.fullmatch(digest)
        if match is None:
            raise ValueError(f"{digest!r} is not a digest")
        return f"{self._prefix}sha256/{match[1][:2]}/{match[1]}"

    def _missing(self, digest: str) -> NoSuchBlob:
        self._bucket.check()  # a bucket that is not there is no loss of data
        return NoSuchBlob(f"there is no blob {digest}")
