"""What is asked of a bucket."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple

import requests
from google.api_core import exceptions
from google.auth.credentials import Credentials, Signing
from google.auth.exceptions import GoogleAuthError
from google.cloud import storage
from requests.adapters import HTTPAdapter

from podium_server.blobs.gcs_calls import TIMEOUT, Calls, checked, failure

CONNECTIONS = 64  # kept open: more than all threads that transfer use at once


class Stored(NamedTuple):
    """One generation of an object. `crc32c` is that of all of its bytes, in base64, as Cloud Storage writes it."""

    name: str
    generation: int
    size: int
    crc32c: str


class Body:
    """What a request sends, piece by piece and without a copy; again from the start if it is sent again."""

    def __init__(self, pieces: Sequence[memoryview]) -> None:
        self._pieces = pieces

    def __len__(self) -> int:
        return sum(len(piece) for piece in self._pieces)

    def __iter__(self) -> Iterator[Any]:  # the stubs of requests want bytes
        return iter(self._pieces)


class GcsBucket:
    """A bucket. Any method raises StoreUnavailable; those that replace a generation (0: none) let PreconditionFailed through."""

    def __init__(self, name: str) -> None:
        self.call = Calls(
            f"the bucket {name}",
            refused="refuses this server: give its account the role Storage Object User there",
            missing="is not there: create it, or start the server with another --blobs",
        )
        # Otherwise the library asks for the bucket's metadata beside every call, in threads and with retries of its own.
        os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
        try:
            self._client = storage.Client(project=None)
        except GoogleAuthError as error:
            raise self.call.unavailable(error) from None
        self._bucket = self._client.bucket(name)
        self._http: requests.Session = self._client._http  # noqa: SLF001 - the one way to its session, by the library's own samples
        if not getattr(self._http, "is_mtls", False):
            for scheme in ("https://", "http://"):
                self._http.mount(scheme, HTTPAdapter(pool_maxsize=CONNECTIONS))

    def request(
        self, method: str, uri: str, headers: Mapping[str, str], body: Body | None = None, *, stream: bool = False
    ) -> requests.Response:
        """One request within a `call`; a stream is to be closed. An answer that may pass is raised."""
        return checked(self._http.request(method, uri, data=body, headers=headers, timeout=TIMEOUT, stream=stream))

    def check(self, *, patience: float | None = None) -> None:
        """StoreUnavailable if the bucket is not there or does not let this server in."""
        self.call(partial(self._page, "", None, 1), patience=patience)

    def stat(self, name: str) -> Stored | None:
        """The object of that name, if there is one."""
        blob = self.call(lambda: self._bucket.get_blob(name, retry=None, timeout=TIMEOUT))
        return blob and _stored(blob)

    def names(self, prefix: str) -> Iterator[str]:
        """The names of all objects that begin so."""
        token = None
        while True:
            names, token = self.call(partial(self._page, prefix, token, 1000))
            yield from names
            if token is None:
                return

    def read(self, name: str, start: int, stop: int, *, patience: float | None = None) -> tuple[bytes, int] | None:
        """The bytes of a range, as far as there are some, and the size of the object; None if there is none."""
        return self.call(lambda: self._read(name, start, stop), patience=patience)

    def put(self, name: str, data: bytes, generation: int, *, patience: float | None = None) -> Stored:
        """Makes an object at once, in place of that generation; Cloud Storage checks the CRC32C."""

        def once() -> Stored:
            blob = self._bucket.blob(name)
            blob.upload_from_string(
                data, "application/octet-stream", if_generation_match=generation, checksum="crc32c", retry=None, timeout=TIMEOUT
            )
            return _stored(blob)

        return self.call(once, patience=patience)

    def compose(self, parts: Iterable[Stored], name: str, generation: int) -> Stored | None:
        """Makes an object of others within Cloud Storage, in place of that generation; None if one of them is gone."""
        sources = [self._bucket.blob(part.name, generation=part.generation) for part in parts]

        def once() -> Stored | None:
            blob = self._bucket.blob(name)
            blob.content_type = "application/octet-stream"
            with suppress(exceptions.NotFound):
                blob.compose(sources, if_generation_match=generation, retry=None, timeout=TIMEOUT)
                return _stored(blob)
            return None

        made = self.call(once)
        if made is None:
            self.check()
        return made

    def delete(self, name: str, generation: int | None = None, *, patience: float | None = None) -> None:
        """Deletes an object, if it is there and has that generation."""
        blob = self._bucket.blob(name)

        def once() -> None:
            with suppress(exceptions.NotFound, exceptions.PreconditionFailed):
                blob.delete(if_generation_match=generation, retry=None, timeout=TIMEOUT)

        self.call(once, patience=patience)

    def start_upload(self, name: str) -> str:
        """Begins a resumable upload of a new object, and returns the URI of its session: a key to it, not to be shown."""
        blob = self._bucket.blob(name)
        uri: str = self.call(
            lambda: blob.create_resumable_upload_session(
                "application/octet-stream", if_generation_match=0, checksum=None, retry=None, timeout=TIMEOUT
            )
        )
        return uri

    @property
    def credentials(self) -> Credentials:
        """Those of the server's account."""
        credentials: Credentials = self._client._credentials  # noqa: SLF001 - the library reads them so to sign
        return credentials

    def sign(self, name: str, seconds: int, signer: Signing) -> str:
        """A URL by which anyone can read the object of that name for so long: a key to it, not to be shown.

        It names no generation, which would take a question for each: the name is a digest, so whatever takes the object's place
        has the same bytes, or is found out by who reads it.
        """
        url: str = self._bucket.blob(name).generate_signed_url(timedelta(seconds=seconds), version="v4", credentials=signer)
        return url

    def _page(self, prefix: str, token: str | None, size: int) -> tuple[list[str], str | None]:
        found = self._client.list_blobs(
            self._bucket,
            prefix=prefix,
            page_token=token,
            page_size=size,
            fields="items(name),nextPageToken",
            retry=None,
            timeout=TIMEOUT,
        )
        return [blob.name for blob in next(found.pages)], found.next_page_token

    def _read(self, name: str, start: int, stop: int) -> tuple[bytes, int] | None:
        uri = f"{self._client.api_endpoint}/download/storage/v1{self._bucket.blob(name).path}?alt=media"
        with self.request("GET", uri, {"Range": f"bytes={start}-{stop - 1}"}, stream=True) as response:
            match response.status_code:
                case 206:
                    size = int(response.headers["Content-Range"].rpartition("/")[2])
                    return response.raw.read(decode_content=False), size
                case 416:  # at the end, or past it
                    return b"", start
                case 404:
                    return None
            raise failure(response)


def _stored(blob: storage.Blob) -> Stored:
    return Stored(blob.name, blob.generation, blob.size, blob.crc32c)
